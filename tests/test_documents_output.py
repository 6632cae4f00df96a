"""What the documents show after a command is what it prints.

A block marked `console` has commands behind "$ " and what they print on standard output. "…" stands
for what differs from one machine or run to the next: within a line for any characters, on a line
of its own for any lines. The blocks of a document are followed from top to bottom in a folder with
the eval sets that ship, and the photographs sorted by product in `photos`.
"""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmrag.cli import main
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import PHOTOS
from mmrag.eval_sets.validate import validate

from .documents import CONSOLE, DOCUMENTS
from .helpers import ROOT


def sessions(document: Path) -> list[tuple[str, str]]:
    """Commands of a document with the output that it shows below each."""
    found = []
    for block in CONSOLE.findall(document.read_text("utf-8")):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.M)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """What fits the shown output, blanks at the ends of lines left out."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", ".*") + "\n"
        for line in shown.splitlines()
    ]
    return re.compile("".join(lines))


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command writes on standard output, without blanks at the ends of lines."""
    program, *words = shlex.split(command)
    if program == "mmrag":
        done = CliRunner().invoke(main, words, input="3\n1\nq\n", standalone_mode=False)
        assert done.exception is None, f"{command}: {done.exception!r} {done.output[-500:]}"
        out = done.stdout
    else:
        assert (program, words[0]) == ("python", "-m"), command
        assert importlib.import_module(words[1]).main(words[2:]) == 0
        out = capsys.readouterr().out
    return "".join(line.rstrip() + "\n" for line in out.splitlines())


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "eval_sets").symlink_to(ROOT / "eval_sets")
    for picture in sorted((PHOTOS / "images").iterdir()):
        product, _, number = picture.name.rpartition("_")
        (folder / "photos" / product).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / "photos" / product / number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MMRAG_HOME", str(folder / ".mmrag"))
        patch.setenv("MMRAG_STORE_LINGER", "10")
        yield folder


SHOWN = {
    path.relative_to(ROOT).as_posix(): found for path in DOCUMENTS if (found := sessions(path))
}


@pytest.mark.parametrize("document", SHOWN)
def test_commands_print_what_is_shown(
    document: str,
    newcomer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MMRAG_HOME", str(newcomer / ".mmrag"))
    monkeypatch.setenv("COLUMNS", "100")
    # Scores are shown as float32 gives them, whatever this processor multiplies in.
    monkeypatch.setattr("mmrag.encoders.device.multiplies_bf16", lambda device: False)
    for command, shown in SHOWN[document]:
        out = printed(command, capsys)
        assert pattern(shown).fullmatch(out), f"$ {command}\n{out}\nis shown as\n{shown}"


def test_newcomers_see_what_they_get() -> None:
    assert {"docs/newcomers-hour.md", "docs/eval-sets.md"} <= set(SHOWN)


def test_what_varies_is_left_open() -> None:
    shown = pattern("a … b\n…\nend\n")
    assert shown.fullmatch("a 12.5 s b\none\ntwo\nend\n")
    assert shown.fullmatch("a x b\nend\n")
    assert not shown.fullmatch("a x b\nends\n")
    assert not shown.fullmatch("a x\ny b\nend\n")


def test_examples_of_docstrings(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything behind ">>>", in the same folder."""
    monkeypatch.setenv("MMRAG_HOME", str(newcomer / ".mmrag"))
    finder, seen = doctest.DocTestFinder(exclude_empty=True), 0
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with_examples = [
        path for path in (ROOT / "mmrag").rglob("*.py") if ">>> " in path.read_text("utf-8")
    ]
    said: list[str] = []
    for path in with_examples:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for one in finder.find(importlib.import_module(name), name):
            if one.examples:
                seen += 1
                runner.run(one, out=said.append)
    assert not runner.failures, "".join(said)
    assert seen > 3


def test_the_eval_set_of_the_page_on_file_formats(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "file-formats.md").read_text("utf-8")
    head, corpus, queries = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    (qrels,) = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "images").mkdir()
    (tmp_path / "qrels").mkdir()
    for name, content in {
        "eval_set.json": head,
        "corpus.jsonl": corpus,
        "queries.jsonl": queries,
        "qrels/test.tsv": qrels,
    }.items():
        (tmp_path / name).write_text(content)
    for name in ("s1.jpg", "s2.jpg"):
        shutil.copy(
            ROOT / "eval_sets/grocery/pictures/Golden-Delicious.webp", tmp_path / "images" / name
        )
    assert validate(tmp_path).problems == []
    eval_set = EvalSet.load(tmp_path)
    assert eval_set.relevant("q1") == {"s2"}
    assert eval_set.queries[1].answers == ("80 dollars",)
