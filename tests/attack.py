"""`make attack`: the tests that attack, longer, with a seed, and a table of what was tried.

    python -m tests.attack [--times 4] [--seed 1] [--only kills] [--out docs/attack.md]

Each group is a run of pytest whose rounds are multiplied. The table says how much was tried, what
survived, what was lost, and of which day and commit that is. With `--out` the file is written after
each group, and keeps the rows of groups that are not attacked this time, and the remarks below.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = "| attack | tried | what | survived | lost | minutes | day | commit | seed |"
SINGLE = "Single cases, each in one of these groups:"


@dataclass(frozen=True)
class Group:
    """Tests that attack in one way: what one try is, and which tests they are."""

    name: str
    unit: str
    tests: tuple[str, ...]


GROUPS = (
    Group("kills", "kills of commands, and tests", ("tests/faults/test_killed.py",)),
    Group("stops", "tests", ("tests/faults/test_interrupt.py", "tests/faults/test_measuring.py")),
    Group("servers", "tests", ("tests/faults/test_servers.py",)),
    Group(
        "damage",
        "damages, and tests",
        (
            "tests/faults/test_every_file.py",
            "tests/faults/test_damage.py",
            "tests/faults/test_caches.py",
        ),
    ),
    Group("disks and power", "tests", ("tests/faults/test_disk.py", "tests/faults/test_power.py")),
    Group("together", "tests", ("tests/faults/test_together.py", "tests/test_removal.py")),
    Group("fuzz", "inputs, and tests", ("tests/fuzz",)),
    Group("doors", "tests", ("tests/security", "tests/test_uploads.py", "tests/test_runs.py")),
    Group("workers", "tests", ("tests/test_distributed.py::test_a_killed_worker_loses_nothing",)),
    Group("visitors", "tests", ("tests/browser/test_load.py",)),
)

# Single cases that are easily overlooked, and where they are.
CASES = {
    "upload limits": "tests/test_uploads.py",
    "timing of passwords": "tests/security/test_dashboard.py"
    "::test_wrong_passwords_are_refused_and_slowed_down",
    "stored markup on the pages, in a browser": "tests/security/test_dashboard.py"
    "::test_hostile_texts_are_texts_and_secrets_stay_on_the_server",
    "stored markup in the report, in a browser": "tests/security/test_text.py"
    "::test_the_report_in_a_browser_runs_nothing",
    "formulas in CSV": "tests/security/test_text.py::test_tables_hold_no_formula",
    "traversal at media addresses": "tests/security/test_dashboard.py"
    "::test_media_addresses_lead_to_media_alone",
    "the clock going back": "tests/faults/test_together.py::test_a_clock_that_goes_back",
    "Ray workers killed": "tests/test_distributed.py::test_a_killed_worker_loses_nothing",
    "every file of a state folder in every way": "tests/faults/test_every_file.py",
    "tabs without end": "tests/security/test_doors.py"
    "::test_tabs_are_limited_and_closed_ones_make_room",
}


@dataclass(frozen=True)
class Outcome:
    """How much a group tried; `lost` names the tests that failed."""

    group: Group
    tried: int
    survived: int
    lost: tuple[str, ...]
    seconds: float


def attack(group: Group, times: int, seed: int) -> Outcome:
    """Run a group with `times` as many rounds; reproducible as far as a clock can be."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *group.tests]
        environment = {
            **os.environ,
            "MMRAG_TEST_ROUNDS": str(30 * times),
            "MMRAG_TEST_FUZZ": str(times),
            "MMRAG_TEST_SEED": str(seed),
            "MMRAG_TEST_VISITORS": "64",
        }
        subprocess.run([*command, "--timeout", str(3600 * times)], cwd=ROOT, env=environment)
        return read(group, report, time.monotonic() - started)


def read(group: Group, report: Path, seconds: float) -> Outcome:
    """Count what pytest reports; a test that says how often it tried counts as often."""
    tried = survived = 0
    lost = []
    for case in ET.parse(report).iter("testcase"):
        if case.find("skipped") is not None:
            continue
        said = [p.get("value") for p in case.iter("property") if p.get("name") == "tried"]
        times = sum(int(value or 1) for value in said) or 1
        tried += times
        if case.find("failure") is None and case.find("error") is None:
            survived += times
        else:
            lost.append(str(case.get("name")))
    return Outcome(group, tried, survived, tuple(lost), seconds)


def row(one: Outcome, seed: int, commit: str) -> str:
    """The outcome as a row of the table."""
    lost = ", ".join(f"`{name}`" for name in one.lost) or "nothing"
    cells = [one.group.name, f"{one.tried:,}", one.group.unit, f"{one.survived:,}", lost]
    day = datetime.now(UTC).date().isoformat()
    cells += [f"{one.seconds / 60:.0f}", day, commit, str(seed)]
    return f"| {' | '.join(cells)} |"


def earlier(path: Path | None) -> dict[str, str]:
    """Group to the row that it has in a file written before."""
    if path is None or not path.exists():
        return {}
    head = len(HEAD.split("|"))
    lines = [line for line in path.read_text().splitlines() if len(line.split("|")) == head]
    rows = {line.split("|")[1].strip(): line for line in lines}
    return {group.name: rows[group.name] for group in GROUPS if group.name in rows}


def remarks(path: Path | None) -> list[str]:
    """What somebody has written below the table of a file written before."""
    if path is None or not path.exists():
        return []
    lines = path.read_text().splitlines()
    end = max((n for n, line in enumerate(lines) if line == SINGLE), default=0)
    begin = max((n for n, line in enumerate(lines[:end]) if line.startswith("|")), default=end)
    return "\n".join(lines[begin + 1 : end]).strip("\n").splitlines()


def page(rows: Mapping[str, str], remarks: Sequence[str]) -> str:
    """The table by group, remarks, and the single cases, as Markdown."""
    lines = [
        "# Attack",
        "",
        "`make attack` kills, damages, fills, fuzzes and crowds, longer than the tests do.",
        'The latest run of each group; `make attack ARGS="--only kills --seed 7"` runs one, and',
        "keeps the rows of the others:",
        "",
        HEAD,
        "| --- " * (HEAD.count("|") - 1) + "|",
        *(rows[group.name] for group in GROUPS if group.name in rows),
        "",
        *([*remarks, ""] if remarks else []),
        SINGLE,
        "",
        "| case | test |",
        "| --- | --- |",
        *(f"| {case} | `{test}` |" for case, test in CASES.items()),
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    """Attack; 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--times", type=int, default=4, help="as many rounds as the tests make")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 10**9))
    parser.add_argument("--only", nargs="+", choices=[group.name for group in GROUPS])
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    rows, said, lost = earlier(options.out), remarks(options.out), False
    for group in GROUPS:
        if not options.only or group.name in options.only:
            one = attack(group, options.times, options.seed)
            lost |= bool(one.lost)
            rows[group.name] = row(one, options.seed, commit or "unknown")
            if options.out:
                options.out.write_text(page(rows, said))
    print(page(rows, said))
    return int(lost)


if __name__ == "__main__":
    sys.exit(main())
