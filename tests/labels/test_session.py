"""Judging in the terminal, and what a judge is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmrag import EvalSet
from mmrag.labels.judgments import Judgment, JudgmentLog, grades_of
from mmrag.labels.report import judge_report
from mmrag.labels.session import JudgingSession, System

FIRST = {"q0": ["i1", "i5", "i6"], "q2": ["i7", "i8", "gone"], "unknown": ["i1"]}
SECOND = {"q0": ["i5", "i1", "i9"], "q2": ["i7", "i8", "i9"]}


@pytest.fixture
def systems() -> list[System]:
    return [System("first", FIRST), System("second", SECOND)]


def test_a_judge_is_asked_what_nobody_has_judged(own_set: EvalSet, systems: list[System]) -> None:
    session = JudgingSession(own_set, systems, 3, "Ada")
    # i1 of q0 was labelled before; what both rank alike (i7, i8) comes last.
    pending = session.pending()
    assert {image for query, image in pending if query == "q0"} == {"i5", "i6", "i9"}
    assert {image for query, image in pending if query == "q2"} == {"i7", "i8", "i9"}
    log = JudgmentLog(own_set.folder)
    log.add([Judgment("q0", "i5", 2, "Ben")])
    assert ("q0", "i5") not in session.pending(), "one person is enough"
    both = JudgingSession(own_set, systems, 3, "Ada", again=True)
    assert ("q0", "i5") in both.pending(), "unless agreement is wanted"
    log.add([Judgment("q0", "i5", 0, "Ada")])
    assert ("q0", "i5") not in both.pending()
    assert both.own_grades() == {("q0", "i5"): 0}


def test_the_difference_is_decided_before_everything_is_judged(
    own_set: EvalSet, systems: list[System]
) -> None:
    session = JudgingSession(own_set, systems, 1, "Ada")
    assert session.verdicts()[0].startswith("Open: second minus first in DCG@1 is ")
    JudgmentLog(own_set.folder).add([Judgment("q0", "i5", 2, "Ada")])
    left = session.pending()
    assert left == [("q2", "i7")]
    assert session.verdicts() == ["Decided: second is ahead in DCG@1, whatever the rest may be."]


def test_two_judges_are_compared_and_their_conflicts_listed(own_set: EvalSet) -> None:
    log = JudgmentLog(own_set.folder)
    for image, ada, ben, model in (
        ("i4", 2, 2, 2),
        ("i5", 0, 0, 1),
        ("i6", 1, 2, 1),
        ("i7", 0, 0, 0),
    ):
        log.add([Judgment("q2", image, ada, "Ada"), Judgment("q2", image, ben, "Ben")])
        log.add([Judgment("q2", image, model, "some-model", "model")])
    report = judge_report(own_set.folder)
    assert report.counts == {"imported": 3, "Ada": 4, "Ben": 4, "some-model": 4}
    assert [(p.first, p.second, p.agreement.items) for p in report.pairs] == [
        ("Ada", "Ben", 4),
        ("people", "some-model", 4),
    ]
    assert [(c.image_id, c.grades) for c in report.conflicts] == [("i6", {"Ada": 1, "Ben": 2})]
    assert report.sentence.startswith("8 judgments by people, 3 imported, 4 by some-model, kappa ")


def _mmrag(*arguments: str, keys: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmrag", *arguments]
    return subprocess.run(command, input=keys, capture_output=True, text=True, timeout=120)


def test_judging_and_editing_from_the_command_line(own_set: EvalSet, tmp_path: Path) -> None:
    run = tmp_path / "first.trec"
    run.write_text(
        "".join(
            f"{query} Q0 {image} {rank} {9 - rank} first\n"
            for query, images in (("q0", ["i1", "i5"]), ("q2", ["i7", "i8"]))
            for rank, image in enumerate(images, start=1)
        )
    )
    done = _mmrag("import-run", str(run), "--eval-set", str(own_set.folder), "--name", "first")
    assert done.returncode == 0, done.stderr
    done = _mmrag(
        "eval-set",
        "judge",
        str(own_set.folder),
        "--run",
        "first",
        "--judge",
        "Ada",
        keys="3\nu\n1\n\nq\n",
    )
    assert done.returncode == 0, done.stderr
    assert "1 judged; 2 are left." in done.stdout
    grades = grades_of(JudgmentLog(own_set.folder).rows(), "Ada")
    assert list(grades.values()) == [0], "the first word was taken back"

    done = _mmrag("eval-set", "agreement", str(own_set.folder), "--json")
    assert json.loads(done.stdout)["counts"] == {"imported": 3, "Ada": 1}
    parts = str(tmp_path / "parts")
    done = _mmrag(
        "eval-set",
        "split",
        str(own_set.folder),
        "--part",
        "a=0.5",
        "--part",
        "b=0.5",
        "--out",
        parts,
    )
    assert done.returncode == 0, done.stderr
    assert [len(EvalSet.load(f"{parts}/{one}").queries) for one in "ab"] == [2, 2]
    for wrong, status in (
        (["split", str(own_set.folder), "--part", "../a=1", "--out", parts], 2),
        (["split", str(own_set.folder), "--part", "a=x", "--out", parts], 2),
        (["sample", str(own_set.folder), "--queries", "99", "--out", f"{parts}/s"], 1),
        (["merge", str(own_set.folder), "--out", f"{parts}/m"], 1),
        (["dedupe", str(own_set.folder), "--out", f"{parts}/a"], 1),
    ):
        refused = _mmrag("eval-set", *wrong)
        assert refused.returncode == status, wrong
        assert "Traceback" not in refused.stderr
