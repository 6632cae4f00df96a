"""What the documents show is there: commands and their options, settings, files and links."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

import mmrag
from mmrag.cli import main

from .documents import DOCUMENTS, FENCE, commands, words_of
from .helpers import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


def parse(words: list[str]) -> None:
    """As click does, without running anything; files need not be there."""
    command: click.Command = main
    context = click.Context(main, info_name="mmrag")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no command {words[0]!r}")
        command, words = found, words[1:]
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    if not {"-h", "--help", "--version"} & set(words):
        command.make_context(command.name, words, parent=context, max_content_width=80)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_and_links(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    wrong = []
    for line in commands(text):
        words = words_of(line)
        if words is not None:
            try:
                parse(words)
            except (click.ClickException, ValueError) as error:
                wrong.append(f"{line}: {error}")
    for link in LINK.findall(FENCE.sub("", text)):
        path = unquote(link.partition("#")[0])
        if path and "://" not in path and not (document.parent / path).exists():
            wrong.append(f"{link} leads nowhere")
    assert wrong == []


def test_commands_are_found() -> None:
    found = [
        words for line in commands((ROOT / "README.md").read_text()) if (words := words_of(line))
    ]
    assert len(found) > 3
    with pytest.raises(click.UsageError):
        parse(["search", "--no-such-option"])


def test_settings_are_those_of_the_code() -> None:
    """Every variable that the documents name is read somewhere."""
    name = re.compile(r"\bMMRAG_[A-Z_]+[A-Z]\b")
    files = [*ROOT.glob("mmrag/**/*.py"), ROOT / "compose.yaml"]
    code = {n for path in files for n in name.findall(path.read_text(encoding="utf-8"))}
    told = {n for path in DOCUMENTS for n in name.findall(path.read_text(encoding="utf-8"))}
    told = {n for n in told if not n.startswith("MMRAG_TEST_")}
    assert told - code == set()


def test_the_reference_has_every_public_object() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    told = {line.rpartition(".")[2] for line in text.splitlines() if line.startswith("::: ")}
    assert told == set(mmrag.__all__) - {"__version__"}
