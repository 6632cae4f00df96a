"""Read pytest-benchmark's result files: rows for tables and charts, and regressions.

A benchmark of the suite says in its `extra_info` what one round works on: `items` (how many) and
`unit` (of what), or that it is a latency; further figures are there by name.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system import shipped
from mmrag.system.durable import move_aside, write_file
from mmrag.system.text_files import read_text

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
# More bytes than a result of all benchmarks takes.
_ROOM = 2 << 20
SHIPPED_RESULTS = shipped.ROOT / "bench" / "results"


@dataclass(frozen=True)
class BenchRow:
    """One benchmark.

    `seconds`, `q1`, `q3` and `stddev` are of one round (median, quartiles, standard deviation).
    `value` is what a table shows: `items` per second in `unit` (such as "img/s"), or the median in
    milliseconds when the unit is "ms". `figures` holds further numbers, such as `times_tutorial`
    (ratio), `limit_share` (0 to 1) and `peak_memory_mb`.
    """

    group: str
    name: str
    params: dict[str, Any]
    value: float
    unit: str
    seconds: float
    q1: float
    q3: float
    stddev: float
    rounds: int
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        return (self.q3 - self.q1) / self.seconds if self.seconds else 0.0

    @property
    def key(self) -> tuple[str, str]:
        """The key that identifies the same benchmark in two files."""
        return self.group, self.name


@dataclass(frozen=True)
class BenchFile:
    """The results of one machine at one commit; `dirty` if files differed from the commit."""

    path: Path
    machine: dict[str, Any]
    machine_name: str
    commit: str
    dirty: bool
    datetime: str
    quick: bool
    rows: list[BenchRow]


@dataclass(frozen=True)
class Change:
    """One benchmark in two files: `ratio` is new time over old time; above 1 is slower.

    `file` is the older one, which holds `before`.
    """

    row: BenchRow
    before: BenchRow
    file: BenchFile
    ratio: float
    regressed: bool


def read_results(path: Path) -> BenchFile:
    """Read one result file.

    Raises:
        MmragError: it is absent or not a result of this suite.
    """
    try:
        document = json.loads(read_text(path))
        machine = dict(document["machine_info"])
        commit = document["commit_info"]
        return BenchFile(
            path=path,
            machine=machine,
            machine_name=machine_name(machine),
            commit=str(commit.get("id") or "unknown"),
            dirty=bool(commit.get("dirty")),
            datetime=str(document["datetime"]),
            quick=bool(machine.get("quick")),
            rows=[_row(benchmark) for benchmark in document["benchmarks"]],
        )
    except FileNotFoundError:
        raise MmragError(f"No result file at {path}; `mmrag bench --save` writes one.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MmragError(f"{path} is not a result of `mmrag bench`: {error}") from error


def merged(new: Path, old: Path) -> str:
    """The JSON of `new`, plus what only `old` measured; `old` need not exist.

    This lets a long suite be measured in parts, at one commit.
    """
    content = json.loads(new.read_text(encoding="utf-8"))
    if old.is_file():
        again = {one["fullname"] for one in content["benchmarks"]}
        before = json.loads(old.read_text(encoding="utf-8"))
        content["benchmarks"] += [
            one for one in before["benchmarks"] if one["fullname"] not in again
        ]
        # A part measured later does not make its commit newer.
        content["datetime"] = before["datetime"]
    return json.dumps(content, indent=1) + "\n"


def results_folder() -> Path:
    """The folder for new results: beside the suite in a clone, else under `MMRAG_HOME`."""
    return SHIPPED_RESULTS if shipped.IS_CLONE else config.home() / "bench"


def check_folder(folder: Path) -> None:
    """Check, before hours of measuring, that the result can be stored; unreadable files are named.

    Raises:
        MmragError: the folder cannot be written, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
    except OSError as error:
        raise MmragError(
            f"The result could not be saved in {folder} ({error.strerror or error}); make room, "
            "or measure without --save."
        ) from error
    list_results(folder)


def save_result(result: BenchFile, folder: Path | None = None) -> Path:
    """Store a result with earlier ones of its commit, whole or not at all.

    An unreadable earlier file of that name is moved aside. If the folder cannot be written, the
    result stays in the system's folder for temporary files.

    Raises:
        MmragError: it could not be stored; says where it is.
    """
    kind = "-quick" if result.quick else ""
    saved = (folder or results_folder()) / f"{result.machine_name}-{result.commit[:8]}{kind}.json"
    try:
        if saved.is_file() and _problem(saved):
            _log.warning("%s could not be read; it is now %s.", saved, move_aside(saved).name)
        write_file(saved, merged(result.path, saved))
        return saved
    except OSError as error:
        with tempfile.NamedTemporaryFile(
            prefix=f"{saved.stem}-", suffix=".json", delete=False
        ) as kept:
            kept.write(result.path.read_bytes())
        raise MmragError(
            f"{saved} cannot be written ({error.strerror or error}); the result is {kept.name}: "
            "make room and copy it there."
        ) from error


def read_folder(folder: Path | None = None) -> tuple[list[BenchFile], list[str]]:
    """The result files of a folder, oldest first, and a sentence on each that cannot be read.

    Without a folder: all that ship and all kept here.
    """
    folders = [folder] if folder else dict.fromkeys([SHIPPED_RESULTS, results_folder()])
    files, problems = [], []
    for path in [path for one in folders for path in sorted(one.glob("*.json"))]:
        problem = _problem(path)
        if problem:
            problems.append(problem)
        else:
            files.append(read_results(path))
    return sorted(files, key=lambda file: file.datetime), problems


def list_results(folder: Path | None = None) -> list[BenchFile]:
    """The result files of a folder, oldest first; the log names unreadable ones."""
    files, problems = read_folder(folder)
    for problem in problems:
        _log.warning("Left out: %s", problem)
    return files


def _problem(path: Path) -> str | None:
    try:
        read_results(path)
    except MmragError as error:
        return str(error)
    return None


def results_frame(files: Iterable[BenchFile]) -> pd.DataFrame:
    """One line per benchmark and file, parameters and figures as columns of their own.

    Columns: machine, commit, dirty, datetime, group, name, value, unit, seconds, spread, rounds,
    and those of `params` and of the plain numbers in `figures`.
    """
    import pandas as pd

    lines = []
    for file in files:
        for row in file.rows:
            plain = {k: v for k, v in row.figures.items() if isinstance(v, int | float | str)}
            lines.append(
                {
                    "machine": file.machine_name,
                    "commit": file.commit[:8],
                    "dirty": file.dirty,
                    "datetime": file.datetime,
                    "group": row.group,
                    "name": row.name,
                    "value": row.value,
                    "unit": row.unit,
                    "seconds": row.seconds,
                    "spread": row.spread,
                    "rounds": row.rounds,
                    **row.params,
                    **plain,
                }
            )
    return pd.DataFrame(lines)


def compare_results(new: BenchFile, *earlier: BenchFile, threshold: float = 0.1) -> list[Change]:
    """Benchmarks that became slower or quicker, the slowest first.

    A benchmark has regressed if its median grew by more than `threshold` (a share) and its
    quartiles lie wholly above the old ones, so that mere noise does not count. If a row keeps its
    ratio to the tutorial's loop of the same run, as it does if the machine was disturbed, the
    medians still decide: look at `times_tutorial` before blaming the code.

    Args:
        earlier: files; each benchmark is compared with the first that has it.
    """
    before: dict[tuple[str, str], tuple[BenchRow, BenchFile]] = {}
    for file in earlier:
        for row in file.rows:
            if row.seconds:
                before.setdefault(row.key, (row, file))
    changes = []
    for row in new.rows:
        if row.key not in before:
            continue
        past, file = before[row.key]
        ratio = row.seconds / past.seconds
        regressed = ratio > 1 + threshold and row.q1 > past.q3
        changes.append(Change(row, past, file, ratio, regressed))
    return sorted(changes, key=lambda change: -change.ratio)


def newest_and_before(files: Sequence[BenchFile]) -> tuple[BenchFile, list[BenchFile]]:
    """The newest file, and earlier ones of the same machine and kind of run, newest first.

    Raises:
        MmragError: there are fewer than two.
    """
    for new in reversed(files):
        alike = [
            file
            for file in reversed(files)
            if (file.machine_name, file.quick) == (new.machine_name, new.quick)
            and file.datetime < new.datetime
        ]
        if alike:
            return new, alike
    raise MmragError(
        "There are no two results of one machine to compare; `mmrag bench --save` "
        "after a change writes the next one."
    )


def _row(benchmark: dict[str, Any]) -> BenchRow:
    stats, extra = benchmark["stats"], dict(benchmark["extra_info"])
    seconds = float(stats["median"])
    unit, items = str(extra.pop("unit", "ms")), extra.pop("items", None)
    params = dict(extra.pop("params", {}))
    value = 1000 * seconds if items is None else float(items) / seconds
    return BenchRow(
        group=str(benchmark["group"]),
        name=str(benchmark["name"]).removeprefix("test_"),
        params=params,
        value=value,
        unit=unit,
        seconds=seconds,
        q1=float(stats["q1"]),
        q3=float(stats["q3"]),
        stddev=float(stats["stddev"]),
        rounds=int(stats["rounds"]),
        figures=extra,
    )


def machine_name(machine: dict[str, Any]) -> str:
    """A short name for a machine of this kind, such as `amd-epyc-2-cores`, for file names."""
    parts = [*sorted(set(machine.get("gpus", []))), str(machine.get("cpu", "unknown"))]
    words = " ".join(parts[:1] if machine.get("gpus") else parts)
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(.*?\)|@.*", "", words.lower())).strip("-")
    return f"{slug or 'unknown'}-{machine.get('cores', 0)}-cores"
