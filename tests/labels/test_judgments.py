"""Judgments are kept as they were given, whoever gives them and whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrag import EvalSet
from mmrag.errors import EvalSetError
from mmrag.labels.judgments import Judgment, JudgmentLog, conflicts, current, grades_of, judges


def test_a_judgment_stands_in_the_table_and_remembers_its_judge(own_set: EvalSet) -> None:
    log = JudgmentLog(own_set.folder)
    log.add([Judgment("q2", "i5", 2, "Ada", reason="same shape")])
    assert EvalSet.load(own_set.folder).qrels == {**own_set.qrels, "q2": {"i5": 2}}
    last = log.rows()[-1]
    assert (last.judge, last.kind, last.reason) == ("Ada", "person", "same shape")
    assert last.time.startswith("20")
    assert last.time.endswith("+00:00")
    assert judges(log.rows()) == {"imported": "imported", "Ada": "person"}


def test_the_first_row_keeps_the_labels_that_were_there(own_set: EvalSet) -> None:
    log = JudgmentLog(own_set.folder)
    log.add([Judgment("q0", "i1", 0, "Ada")])
    assert EvalSet.load(own_set.folder).qrels["q0"] == {"i1": 0, "i2": 0}
    log.add([Judgment("q0", "i1", None, "Ada")])
    assert EvalSet.load(own_set.folder).qrels["q0"] == {"i1": 1, "i2": 0}, "cleared: as imported"


def test_people_overrule_models_and_a_settled_conflict_overrules_people() -> None:
    rows = [
        Judgment("q", "a", 2, "some-model", "model"),
        Judgment("q", "a", 0, "Ada"),
        Judgment("q", "b", 1, "some-model", "model"),
    ]
    assert current(rows) == {"q": {"a": 0, "b": 1}}
    rows.append(Judgment("q", "a", 2, "Ben"))
    assert [one.grades for one in conflicts(rows)] == [{"Ada": 0, "Ben": 2}]
    rows.append(Judgment("q", "a", 1, "Ada and Ben", "settled"))
    assert current(rows)["q"]["a"] == 1
    assert conflicts(rows) == []
    assert grades_of(rows, "Ada") == {("q", "a"): 0}


def test_a_later_word_of_a_model_changes_nothing_that_people_said() -> None:
    rows = [Judgment("q", "a", 0, "Ada"), Judgment("q", "a", 2, "some-model", "model")]
    assert current(rows) == {"q": {"a": 0}}


def test_labels_edited_by_hand_afterwards_count(own_set: EvalSet) -> None:
    log = JudgmentLog(own_set.folder)
    log.add([Judgment("q2", "i5", 2, "Ada")])
    text = log.table.read_text().replace("q2\ti5\t2", "q2\ti5\t0")
    log.table.write_text(text)
    log.add([Judgment("q3", "i5", 2, "Ada")])
    assert EvalSet.load(own_set.folder).qrels["q2"] == {"i5": 0}
    assert grades_of(log.rows(), "Ada")["q2", "i5"] == 2, "her own word is still there"


_WRITER = """
import sys
from mmrag.labels.judgments import Judgment, JudgmentLog
log = JudgmentLog(sys.argv[1])
for i in range(int(sys.argv[3])):
    log.add([Judgment("q0", f"x{sys.argv[2]}-{i}", 1, sys.argv[2])])
    print(i, flush=True)
"""


def _writer(own_set: EvalSet, judge: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(own_set.folder), judge, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_people_at_once_lose_nothing(own_set: EvalSet) -> None:
    both = [_writer(own_set, name, 40) for name in ("Ada", "Ben")]
    assert [one.wait(60) for one in both] == [0, 0]
    log = JudgmentLog(own_set.folder)
    for name in ("Ada", "Ben"):
        assert len(grades_of(log.rows(), name)) == 40
    assert len(EvalSet.load(own_set.folder).qrels["q0"]) == 82


def test_a_killed_writer_loses_nothing_that_it_had_stored(own_set: EvalSet) -> None:
    writer = _writer(own_set, "Ada", 10_000)
    assert writer.stdout is not None
    for _ in range(20):
        done = int(writer.stdout.readline())
    time.sleep(0.003)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    log = JudgmentLog(own_set.folder)
    assert len(grades_of(log.rows(), "Ada")) >= done + 1
    assert {"i1": 1, "i2": 0}.items() <= EvalSet.load(own_set.folder).qrels["q0"].items()


def test_a_line_that_was_cut_off_is_passed_over_and_mended(own_set: EvalSet) -> None:
    log = JudgmentLog(own_set.folder)
    log.add([Judgment("q2", "i5", 2, "Ada")])
    with log.path.open("ab") as out:
        out.write(b'{"query_id": "q2", "ima')
    assert len(grades_of(log.rows(), "Ada")) == 1
    log.add([Judgment("q2", "i6", 1, "Ada")])
    assert [json.loads(line)["image_id"] for line in log.path.read_text().splitlines()][-2:] == [
        "i5",
        "i6",
    ]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", '{"query_id": "q"}', '{"query_id":1,"image_id":"a","grade":1,"judge":"A"}'],
)
def test_a_damaged_line_is_named(own_set: EvalSet, line: str) -> None:
    log = JudgmentLog(own_set.folder)
    log.path.write_text(line + "\n")
    with pytest.raises(EvalSetError, match=r"judgments\.jsonl, line 1"):
        log.rows()


@pytest.mark.parametrize(
    "wrong",
    [
        Judgment("q\t1", "a", 1, "Ada"),
        Judgment("q", "a\nb", 1, "Ada"),
        Judgment("q", "a", 12, "Ada"),
        Judgment("q", "a", 1, "  "),
        Judgment("q", "a", 1, "A\x1b[31m"),
        Judgment("q", "a", 1, "A" * 101),
    ],
)
def test_what_cannot_be_stored_is_refused(own_set: EvalSet, wrong: Judgment) -> None:
    log = JudgmentLog(own_set.folder)
    with pytest.raises(EvalSetError):
        log.add([wrong])
    assert not log.path.exists()
    assert EvalSet.load(own_set.folder).qrels == own_set.qrels


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("a file, not a folder")
    with pytest.raises(EvalSetError, match="cannot be written"):
        JudgmentLog(tmp_path).add([Judgment("q", "a", 1, "Ada")])
    assert os.listdir(tmp_path) == ["qrels"]
