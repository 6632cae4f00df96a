"""Options of commands that can work over Ray, and what they set up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmrag.encoders import default_encoder_name

if TYPE_CHECKING:
    from mmrag.distributed.worker import EncoderSpec

Command = TypeVar("Command", bound=Callable[..., Any])


def engine_options(command: Command) -> Command:
    """Add --engine, --address and --workers."""
    for option in reversed(
        [
            click.option(
                "--engine",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help="This process, or workers of a Ray cluster.",
            ),
            click.option(
                "--address",
                metavar="HOST:PORT",
                help="Ray cluster, or auto. Default: RAY_ADDRESS, else one on this machine.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(1),
                help="With --engine ray: copies of the model. Default: one for each GPU or core.",
            ),
        ]
    ):
        command = option(command)
    return command


def check_engine(engine: str, **only_ray: object) -> None:
    """Refuse options that do nothing without --engine ray."""
    for name, value in only_ray.items():
        if engine != "ray" and value:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --engine ray.")


def encoder_spec(options: dict[str, Any]) -> EncoderSpec:
    """The encoder that the command line names, for workers."""
    from mmrag.distributed.worker import EncoderSpec

    named = {key: value for key, value in options.items() if key != "encoder"}
    return EncoderSpec(options["encoder"] or default_encoder_name(), **named)
