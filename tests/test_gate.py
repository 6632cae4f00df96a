"""A gate for continuous integration: conditions, status 3, its formats, a baseline as a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from mmrag.cli import main
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.runs.gate import parse_condition
from mmrag.runs.importing import import_run
from mmrag.runs.store import RunStore
from mmrag.runs.transfer import export_baseline, import_baseline

from .published_forms import picture, write

QUERIES = 40


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalSet:
    """A set of `QUERIES` queries, each with one right image, and MMRAG_HOME beside it."""
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MMRAG_RUNS_URL", raising=False)
    source = tmp_path / "source"
    for i in range(4):
        picture(source / "images" / f"{i}.png")
    write(source / "topics.tsv", "".join(f"q{i}\ttext {i}\n" for i in range(QUERIES)))
    write(source / "qrels.txt", "".join(f"q{i} 0 0 1\n" for i in range(QUERIES)))
    return import_eval_set("trec", source, tmp_path / "set")


def keep(labelled: EvalSet, store: RunStore, name: str, right: int) -> str:
    """A run that finds the right image first for `right` queries and second for the others."""
    orders = [("0", "1") if i < right else ("1", "0") for i in range(QUERIES)]
    lines = [
        f"q{i} Q0 {image} {rank} {2 - rank} {name}\n"
        for i, order in enumerate(orders)
        for rank, image in enumerate(order)
    ]
    file = write(labelled.folder.parent / f"{name}.trec", "".join(lines))
    return import_run(file, labelled, store, name=name).run_id


@pytest.fixture
def stored(labelled: EvalSet) -> EvalSet:
    with RunStore() as store:
        keep(labelled, store, "base", 30)
        keep(labelled, store, "worse|<b>", 20)
        keep(labelled, store, "same", 30)
    return labelled


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments], standalone_mode=False)


@pytest.mark.parametrize(
    ("condition", "fails"),
    [
        ("hit_rate@1 < -0.01", True),
        ("hit_rate@1 < -0.25", False),
        ("hit_rate@1 <= -0.25", True),
        ("hit_rate@1 high < 0", True),
        ("hit_rate@1 low > -0.1", False),
        ("hit_rate@1 p < 0.05", True),
        ("hit_rate@1 new < 0.6", True),
        ("hit_rate@1 < -0.01 and hit_rate@1 holm < 0.0000001", False),
        ("hit_rate@1 > 0", False),
    ],
)
def test_a_condition_decides_the_status(stored: EvalSet, condition: str, fails: bool) -> None:
    done = compare("base", "worse|<b>", "--fail-if", condition)
    assert done.return_value == (3 if fails else 0), done.output
    assert ("FAILED: " if fails else "passed: ") + condition in done.output


def test_what_did_not_change_passes_and_nonsense_is_refused(stored: EvalSet) -> None:
    assert compare("base", "same", "--fail-if", "hit_rate@1 < -0.01").return_value == 0
    unknown = compare("base", "same", "--fail-if", "R_subset@1 < 0")
    assert "share no metric 'R_subset@1'; they have hit_rate" in str(unknown.exception)
    for text in ("", "hit_rate@1", "hit_rate@1 < x", "hit_rate@1 < 1 or p", "< 3 and"):
        with pytest.raises(MmragError, match="no condition"):
            parse_condition(text)


def test_markdown_and_junit_say_what_failed(stored: EvalSet, tmp_path: Path) -> None:
    gate = ["--fail-if", "hit_rate@1 < -0.01", "--fail-if", "hit_rate@1 < -0.5"]
    out = tmp_path / "gate.xml"
    done = compare("base", "worse|<b>", *gate, "--format", "junit", "--out", str(out))
    assert done.return_value == 3
    suite = ElementTree.parse(out).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failed, passed = suite.findall("testcase")
    assert "-0.2500" in failed.findall("failure")[0].get("message", "")
    assert passed.findall("failure") == []
    page = compare("base", "worse|<b>", *gate, "--format", "markdown").output
    assert "❌ FAILED: hit\\_rate@1 &lt; -0.01" in page
    assert "| Hit rate@1 | 0.750 | 0.500 | -0.250 |" in page
    assert "worse\\|&lt;b>" in page
    answer = compare("base", "worse|<b>", *gate, "--json")
    assert answer.return_value == 3
    assert [one["failed"] for one in json.loads(answer.stdout)["gate"]] == [True, False]


def test_a_baseline_travels_as_one_file(
    stored: EvalSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "baseline.run.gz"
    done = CliRunner().invoke(main, ["runs", "export", "base", "--out", str(file)])
    assert done.exit_code == 0, done.output
    assert str(tmp_path) not in gzip.decompress(file.read_bytes()).decode()
    with RunStore() as store:
        before = store.load("base")
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path / "elsewhere"))
    command = ["runs", "import", str(file), "--eval-set", str(stored.folder)]
    assert "Imported run" in CliRunner().invoke(main, command).output
    assert "Already here" in CliRunner().invoke(main, command).output
    with RunStore() as store:
        after = store.load("base")
        keep(stored, store, "worse", 20)
    assert (after.rankings, after.summaries, after.eval_set) == (
        before.rankings,
        before.summaries,
        before.eval_set,
    )
    assert compare("base", "worse", "--fail-if", "hit_rate@1 < -0.01").return_value == 3
    assert "base" in CliRunner().invoke(main, ["runs"]).output


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip", "is no run"),
        (gzip.compress(b"[]"), "is no run"),
        (gzip.compress(b'{"kind": "mmrag run", "version": 1}'), "KeyError"),
        (gzip.compress(b'{"kind": "mmrag run", "version": 9}'), "newer mmrag"),
    ],
    ids=["not packed", "a list", "nothing in it", "of a later version"],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "x.gz"
    file.write_bytes(content)
    with RunStore("sqlite://") as store, pytest.raises(MmragError, match=reason):
        import_baseline(file, store)


def test_the_same_run_gives_the_same_file(stored: EvalSet, tmp_path: Path) -> None:
    with RunStore() as store:
        run = store.load("base")
    first, second = (export_baseline(run, tmp_path / name).read_bytes() for name in "ab")
    assert first == second
