"""What the documents show is there: commands and their options, settings, files and links."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
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


def test_every_command_and_option_has_help() -> None:
    def walk(command: click.Command, name: str) -> Iterator[str]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for part in command.list_commands(context):
                found = command.get_command(context, part)
                assert found is not None
                yield from walk(found, f"{name} {part}")
        if not command.help:
            yield name
        for one in command.params:
            if isinstance(one, click.Option) and not one.help:
                yield f"{name} {one.opts[0]}"

    assert list(walk(main, "mmrag")) == []


def test_the_readme_is_two_screens() -> None:
    """One picture, one table, one's own pictures in five lines, three links to go on."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert list(parts) == ["See it", "Your own pictures", "Go on"]
    assert text.count("<picture>") == 1
    assert len(re.findall(r"(?:^\|.*\n)+", text, re.M)) == 1
    assert len(re.findall(r"^    make ", parts["See it"], re.M)) == 2
    assert len(re.findall(r"^    \S", parts["Your own pictures"], re.M)) == 5
    assert len(LINK.findall(parts["Go on"])) == 3
    assert len(text.splitlines()) <= 60
    assert len(text) <= 3000


def test_every_page_is_linked_to() -> None:
    pages = {path.resolve() for path in (ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "index.md"}
    linked = set()
    for path in pages | {ROOT / "README.md", ROOT / "docs" / "index.md"}:
        links = LINK.findall(path.read_text(encoding="utf-8"))
        linked |= {(path.parent / unquote(one.partition("#")[0])).resolve() for one in links} - {
            path
        }
    assert sorted(path.name for path in pages - linked) == []


def test_commands_in_docstrings_are_there() -> None:
    """Of all modules: `mmrag …` as click takes it, `python -m …` of a module that exists."""
    wrong, seen = [], 0
    for path in [
        p for room in ("mmrag", "bench", "eval_sets") for p in ROOT.glob(f"{room}/**/*.py")
    ]:
        if path.is_relative_to(ROOT / "mmrag" / "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            for line in commands(ast.get_docstring(node) or ""):
                line = re.sub(r"^python3? -m mmrag ", "mmrag ", line)
                if module := re.match(r"python3? -m ([\w.]+)", line):
                    seen += 1
                    if importlib.util.find_spec(module[1]) is None:
                        wrong.append(f"{path.name}: {line}")
                elif (words := words_of(line)) and len(words) > 1:
                    seen += 1
                    try:
                        parse(words)
                    except click.ClickException as error:
                        wrong.append(f"{path.name}: {line}: {error}")
    assert wrong == []
    assert seen > 10
