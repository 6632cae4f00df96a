"""Judgments as given: one row each, with judge, grade and time.

They are kept in `qrels/judgments.jsonl` beside `qrels/test.tsv`. Rows are only ever added, so no
judge's last word is lost; `test.tsv` holds the resulting judgments, for tools that read BEIR.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import orjson

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import read_qrels
from mmrag.eval_sets.records import Qrels, RecordError, is_plain_id
from mmrag.system.durable import replacing

Kind = Literal["imported", "model", "person", "settled", "repeat"]
# A later kind overrules an earlier one. A model's second judgment of a pair is no label: it
# measures how far the model agrees with itself.
LABELS: tuple[Kind, ...] = ("model", "imported", "person", "settled")
KINDS: tuple[Kind, ...] = ("repeat", *LABELS)
GRADES = {"wrong": 0, "partly": 1, "right": 2}
IMPORTED = "imported"
MAX_JUDGE, MAX_REASON = 100, 2000


@dataclass(frozen=True)
class Judgment:
    """One judgment by one judge; `grade` is None where it withdraws an earlier one.

    `judge` is a person's or a model's name, `time` ISO 8601 in UTC, `reason` the judge's own words.
    """

    query_id: str
    image_id: str
    grade: int | None
    judge: str
    kind: Kind = "person"
    time: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Conflict:
    """People who graded one image differently: judge to grade."""

    query_id: str
    image_id: str
    grades: dict[str, int]


class JudgmentLog:
    """The judgments of one eval set; several processes may add to it at once.

    Args:
        folder: of the eval set.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._qrels = Path(folder) / "qrels"
        self.path = self._qrels / "judgments.jsonl"
        self.table = self._qrels / "test.tsv"

    def rows(self) -> list[Judgment]:
        """All rows, oldest first; judgments only in `test.tsv` count as imported.

        Raises:
            EvalSetError: a row is damaged; names file and line. A last line cut off in writing is
                skipped.
        """
        return self._read()[0]

    def add(self, judgments: Iterable[Judgment]) -> None:
        """Add rows and update `test.tsv`; both are on disk on return.

        Raises:
            EvalSetError: a grade or a name that cannot be stored, or files that cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        new = [_checked(one, now) for one in judgments]
        if not new:
            return
        try:
            with self._locked():
                rows, missing, cut = self._read()
                self._append([*missing, *new], cut)
                self._write_table(current([*rows, *new]))
        except OSError as error:
            raise EvalSetError(
                f"The judgments in {self._qrels} cannot be written: {error.strerror or error}."
            ) from error

    def _read(self) -> tuple[list[Judgment], list[Judgment], bool]:
        """Rows, the rows not yet in the file, and whether its last line is cut off."""
        data = self.path.read_bytes() if self.path.exists() else b""
        lines = data.split(b"\n")
        cut = bool(lines[-1])
        rows = [
            _parse(self.path, number, line)
            for number, line in enumerate(lines[:-1], start=1)
            if line.strip()
        ]
        standing = read_qrels(self.table) if self.table.exists() else {}
        known = current(rows)
        missing = [
            Judgment(query_id, image_id, grade, IMPORTED, "imported")
            for query_id, grades in standing.items()
            for image_id, grade in grades.items()
            if known.get(query_id, {}).get(image_id) != grade
        ]
        # A table edited by hand since: its present content is somebody's last word.
        if rows and missing:
            missing = [
                Judgment(m.query_id, m.image_id, m.grade, IMPORTED, "settled") for m in missing
            ]
        return [*rows, *missing], missing, cut

    def _append(self, judgments: Sequence[Judgment], cut: bool) -> None:
        if cut:
            data = self.path.read_bytes()
            os.truncate(self.path, data.rfind(b"\n") + 1)
        with self.path.open("ab") as out:
            out.writelines(
                orjson.dumps(_record(one), option=orjson.OPT_APPEND_NEWLINE) for one in judgments
            )
            out.flush()
            os.fsync(out.fileno())

    def _write_table(self, qrels: Qrels) -> None:
        with replacing(self.table) as part, part.open("wb") as out:
            out.write(b"query-id\tcorpus-id\tscore\n")
            for query_id, grades in qrels.items():
                for image_id, grade in grades.items():
                    out.write(f"{query_id}\t{image_id}\t{grade}\n".encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._qrels.mkdir(parents=True, exist_ok=True)
        with (self._qrels / ".judgments.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def current(rows: Iterable[Judgment]) -> Qrels:
    """The judgments that result from the rows: query id to image id to grade.

    A settled conflict overrules people, people overrule imported labels, and these a model's.
    Within a kind each judge's last word counts, and among several judges the latest.
    """
    qrels: Qrels = {}
    for (query_id, image_id), word in deciding(rows).items():
        if word.grade is not None:
            qrels.setdefault(query_id, {})[image_id] = word.grade
    return qrels


def deciding(rows: Iterable[Judgment]) -> dict[tuple[str, str], Judgment]:
    """(query id, image id) to the judgment that stands; see `current`."""
    found = {}
    for pair, words in _last_words(rows).items():
        for kind in reversed(LABELS):
            said = [o for o in words.values() if o.kind == kind and o.grade is not None]
            if said:
                found[pair] = said[-1]
                break
    return found


def conflicts(rows: Iterable[Judgment]) -> list[Conflict]:
    """Images that people graded differently, not settled since."""
    found = []
    for (query_id, image_id), words in _last_words(rows).items():
        if any(one.kind == "settled" and one.grade is not None for one in words.values()):
            continue
        grades = {
            one.judge: one.grade
            for one in words.values()
            if one.kind == "person" and one.grade is not None
        }
        if len(set(grades.values())) > 1:
            found.append(Conflict(query_id, image_id, grades))
    return found


def grades_of(
    rows: Iterable[Judgment], judge: str, second_pass: bool = False
) -> dict[tuple[str, str], int]:
    """(query id, image id) to one judge's last grade, without a model's second pass."""
    return {
        pair: one.grade
        for pair, words in _last_words(rows).items()
        for one in words.values()
        if one.judge == judge and one.grade is not None and (one.kind == "repeat") is second_pass
    }


def judges(rows: Iterable[Judgment]) -> dict[str, Kind]:
    """Judge to kind, in order of their first judgment."""
    found: dict[str, Kind] = {}
    for one in rows:
        if one.kind == "repeat":
            continue
        found.setdefault(one.judge, one.kind)
    return found


def _last_words(
    rows: Iterable[Judgment],
) -> dict[tuple[str, str], dict[tuple[str, Kind], Judgment]]:
    """Each judge's last row per query and image, in the order given."""
    words: dict[tuple[str, str], dict[tuple[str, Kind], Judgment]] = {}
    for one in rows:
        said = words.setdefault((one.query_id, one.image_id), {})
        said.pop((one.judge, one.kind), None)
        said[one.judge, one.kind] = one
    return words


def _checked(one: Judgment, now: str) -> Judgment:
    if not (is_plain_id(one.query_id) and is_plain_id(one.image_id)):
        raise EvalSetError(
            f"The judgment of {one.image_id!r} for {one.query_id!r} cannot be stored: an id is "
            "empty or holds a tab or a line break."
        )
    if one.grade is not None and not 0 <= one.grade <= 9:
        raise EvalSetError(f"A grade is a whole number from 0 to 9, not {one.grade}.")
    judge = " ".join(one.judge.split())
    if not judge or len(judge) > MAX_JUDGE or not judge.isprintable():
        raise EvalSetError(f"A judge's name has 1 to {MAX_JUDGE} printable characters.")
    reason = one.reason[:MAX_REASON]
    return Judgment(one.query_id, one.image_id, one.grade, judge, one.kind, one.time or now, reason)


def _record(one: Judgment) -> dict[str, Any]:
    record = asdict(one)
    return {key: value for key, value in record.items() if value != "" or key == "judge"}


def _parse(path: Path, number: int, line: bytes) -> Judgment:
    try:
        values = orjson.loads(line)
        one = Judgment(
            values["query_id"],
            values["image_id"],
            values["grade"],
            values["judge"],
            cast(Kind, values.get("kind", "person")),
            values.get("time", ""),
            values.get("reason", ""),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(path, number, f"not a judgment ({type(error).__name__})") from None
    texts = (one.query_id, one.image_id, one.judge, one.time, one.reason)
    grade_fits = one.grade is None or type(one.grade) is int
    if not all(isinstance(text, str) for text in texts) or not grade_fits or one.kind not in KINDS:
        raise RecordError(path, number, "not a judgment")
    return one
