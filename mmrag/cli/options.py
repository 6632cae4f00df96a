"""Options and output that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmrag import config
from mmrag.encoders.device import DEVICES, PRECISIONS
from mmrag.encoders.fusion import FUSIONS

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class Numbers(click.ParamType[list[float]]):
    """Comma-separated numbers, as a list."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[float]:
        """The value that the command gets."""
        try:
            return list(dict.fromkeys(float(one) for one in str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a number, or numbers with commas between them", param, ctx)


def encoder_options(command: Command, weights: click.ParamType[Any] = click.FLOAT) -> Command:
    """Add --encoder and related options; `weights` is the type of --image-weight."""
    for option in reversed(
        [
            click.option(
                "--encoder",
                metavar="E",
                help="A name that `mmrag encoders` lists, clip:ARCH/PRETRAINED, "
                "st:NAME_OR_FOLDER, or a folder that `mmrag train` wrote. "
                "Default: MMRAG_ENCODER, else demo.",
            ),
            click.option("--checkpoint", metavar="FILE", help="Weights file, or hub name."),
            click.option(
                "--text-model", metavar="DIR", help="Configuration and tokenizer, or hub name."
            ),
            click.option(
                "--image-weight",
                type=weights,
                metavar=None if weights is click.FLOAT else "W[,W...]",
                help="CLIP: the image's share in a composed query, 0 to 1."
                + ("" if weights is click.FLOAT else " Several: one run each, compared."),
            ),
            click.option(
                "--preprocess",
                metavar="KEYS",
                help="open_clip, if its configuration is unknown or unwanted: mean=0.5,"
                "std=0.5,resize=shortest|longest|squash,interpolation=bicubic|bilinear,fill=0.",
            ),
            click.option(
                "--fusion",
                type=click.Choice(sorted(FUSIONS)),
                help="How models that encode picture and text separately compose them.",
            ),
            click.option(
                "--query-instruction",
                metavar="TEXT",
                help="st: text before every query. Default: the model's own.",
            ),
            click.option(
                "--document-instruction",
                metavar="TEXT",
                help="st: text before everything indexed. Default: the model's own.",
            ),
            click.option(
                "--dim",
                type=click.IntRange(1),
                help="st: cut vectors to this many values, for models trained for that.",
            ),
            click.option(
                "--max-picture-tokens",
                type=click.IntRange(1),
                help="st: shrink pictures that would become more tokens than this.",
            ),
            click.option("--revision", metavar="R", help="st: branch, tag or commit on the hub."),
            click.option(
                "--trust-remote-code",
                is_flag=True,
                default=None,
                help="st: run Python code that the model brings, with all your rights.",
            ),
            click.option(
                "--embedding-max-cost",
                type=click.FloatRange(0),
                metavar="USD",
                help="api: stop before embeddings cost more. Default: MMRAG_EMBEDDING_MAX_COST.",
            ),
            click.option(
                "--embedding-concurrency",
                type=click.IntRange(1, 256),
                metavar="N",
                help="api: requests under way at once. Default: MMRAG_EMBEDDING_CONCURRENCY, "
                "else 4.",
            ),
            click.option(
                "--embedding-timeout",
                type=click.FloatRange(0, min_open=True),
                metavar="S",
                help="api: seconds that one answer may take. Default: 60.",
            ),
            click.option("--device", default="auto", help=f"{', '.join(DEVICES)}."),
            click.option(
                "--precision",
                default="auto",
                type=click.Choice(PRECISIONS),
                help="Precision of the model; auto takes the fastest on this hardware.",
            ),
        ]
    ):
        command = option(command)
    return command


def store_options(command: Command) -> Command:
    """Add --uri and --collection."""
    for option in reversed(
        [
            click.option(
                "--uri",
                metavar="U",
                help="Path of a local store, or http://host:port of a Milvus server. "
                "Default: MMRAG_URI, else .mmrag/gallery.db.",
            ),
            click.option(
                "--collection",
                metavar="C",
                default=config.DEFAULT_COLLECTION,
                show_default=True,
                help="Collection in the store.",
            ),
        ]
    ):
        command = option(command)
    return command


def open_encoder(encoder: str | None, *, one_query: bool = False, **options: Any) -> Encoder:
    """The encoder that the options name; see `encoders.load_for_one_query`."""
    from mmrag.encoders import load_encoder, load_for_one_query

    return (load_for_one_query if one_query else load_encoder)(encoder, **options)


def warn_of_other_pictures(encoder: str, paths: Iterable[str]) -> None:
    """Warn on standard error when a shipped model meets pictures it does not know."""
    from mmrag.demo import knows_only

    note = knows_only(encoder, paths)
    if note:
        click.echo(note, err=True)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=1, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A file name that is not UTF-8: JSON's escapes can express it.
        text = json.dumps(_plain(value), indent=1, allow_nan=False)
    sys.stdout.write(text + "\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def printable(text: str) -> str:
    """Text from data without control characters, so that it cannot steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
