"""A gate for continuous integration: conditions, status 3, its formats, a baseline as a file."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from mmrag.cli import main
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.runs.compare import compare_runs
from mmrag.runs.gate import Term, judge, junit, markdown, parse_condition
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
        ("hit_rate@1 >= -0.25", True),
        ("hit_rate@1 > -0.25", False),
        ("hit_rate@1 new <= 0.5 and hit_rate@1 new >= .5", True),
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


def test_what_a_condition_says() -> None:
    found = parse_condition("  hit_rate@1<-0.01  and P(rel=2)@1  low >= +1e-3 ")
    assert found.text == "hit_rate@1<-0.01  and P(rel=2)@1  low >= +1e-3"
    assert found.terms == (
        Term("hit_rate@1", "delta", "<", -0.01),
        Term("P(rel=2)@1", "low", ">=", 0.001),
    )


def test_a_gate_through_the_library(stored: EvalSet) -> None:
    with RunStore() as store:
        runs = [store.load(name) for name in ("base", "worse|<b>", "same")]
    comparison = compare_runs(runs, metrics=["hit_rate@1", "RR"])
    verdicts = judge(comparison, [parse_condition("hit_rate@1 < -0.01 and RR new < 0.8")])
    assert [verdict.failed for verdict in verdicts] == [True, False]
    assert verdicts[0].sentence == (
        "FAILED: hit_rate@1 < -0.01 and RR new < 0.8 (hit_rate@1 -0.2500, RR new +0.7500) "
        "for worse|<b> against base"
    )
    assert verdicts[1].sentence.startswith("passed: ")
    assert verdicts[1].sentence.endswith(" for same against base")
    page = markdown(replace(comparison, notes=["one  *note*", "another"]), verdicts).split("\n")
    assert "worse\\|&lt;b> against base, 40 queries:" in page
    assert page[-5:-2] == ["", "> one \\*note\\*", "> another"]
    assert "40 queries find a difference of" in page[-2], "where the runs differ"
    assert page[-1] == ""
    assert markdown(comparison, []).startswith("worse")
    pair = comparison.pairs[0].metrics["RR"]
    low, high = pair.ci95
    row = f"| Reciprocal rank | 0.875 | 0.750 | -0.125 | {low:+.3f} to {high:+.3f} |"
    assert f"{row} {pair.p:.3f} | {pair.p_holm:.3f} |" in page
    suite = ElementTree.fromstring(junit(comparison, []))
    cases = [(case.get("classname"), case.get("name"), len(case)) for case in suite]
    assert cases == [
        (label, metric, 0) for label in ("worse|<b>", "same") for metric in ("hit_rate@1", "RR")
    ]
    counts = [suite.get(name) for name in ("name", "tests", "failures", "errors")]
    assert counts == ["mmrag compare", "4", "0", "0"]
    odd = ElementTree.fromstring(junit(comparison, [replace(verdicts[0], condition="a\x00b")]))
    assert [case.get("name") for case in odd] == ["a\N{REPLACEMENT CHARACTER}b"]


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


def test_a_baseline_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gone.gz"
    with RunStore("sqlite://") as store, pytest.raises(MmragError) as caught:
        import_baseline(file, store)
    assert str(caught.value) == f"{file} cannot be read: No such file or directory."


def test_the_same_run_gives_the_same_file(stored: EvalSet, tmp_path: Path) -> None:
    with RunStore() as store:
        run = store.load("base")
    first, second = (export_baseline(run, tmp_path / name).read_bytes() for name in "ab")
    assert first == second
