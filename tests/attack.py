"""`make attack`: the tests that attack, longer, with a seed, and a table of what was tried.

    python -m tests.attack [--times 4] [--seed 1] [--only kills] [--out docs/attack.md]

Each group is a run of pytest whose rounds are multiplied. The table says how much was tried, what
survived, and what was lost; its date and commit stand below it.
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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
    Group("damage", "damages", ("tests/faults/test_damage.py", "tests/faults/test_caches.py")),
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
    "::test_its_server_gives_out_no_files",
    "the clock going back": "tests/faults/test_together.py::test_a_clock_that_goes_back",
    "Ray workers killed": "tests/test_distributed.py::test_a_killed_worker_loses_nothing",
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


def table(outcomes: Sequence[Outcome], seed: int, commit: str) -> str:
    """The outcomes as Markdown."""
    lines = [
        "# Attack",
        "",
        "`make attack` kills, damages, fills, fuzzes and crowds, longer than the tests do.",
        "Its latest run:",
        "",
        "| attack | tried | what | survived | lost | minutes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        lost = ", ".join(f"`{name}`" for name in one.lost) or "nothing"
        lines.append(
            f"| {one.group.name} | {one.tried:,} | {one.group.unit} | {one.survived:,} | {lost} | "
            f"{one.seconds / 60:.0f} |"
        )
    day = datetime.now(UTC).date().isoformat()
    lines += ["", f"{day}, commit {commit}, seed {seed}.", ""]
    lines += ["Single cases, each in one of these groups:", "", "| case | test |", "| --- | --- |"]
    lines += [f"| {case} | `{test}` |" for case, test in CASES.items()]
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
    chosen = [group for group in GROUPS if not options.only or group.name in options.only]
    outcomes = [attack(group, options.times, options.seed) for group in chosen]
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    written = table(outcomes, options.seed, commit or "unknown")
    print(written)
    if options.out:
        options.out.write_text(written)
    return 1 if any(one.lost for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
