"""Which tests take longer than 0.7 s, and how long: `tests/slow.txt`, for `make test-quick`.

    make test ARGS="-n 2 --junitxml=times.xml" && python -m tests.slow times.xml

A test is named without its parameters: if one of them is slow, all are left out. One without
seconds was slow on another machine only. Rooms that are left out as wholes are not listed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

NAMES = Path(__file__).with_suffix(".txt")
SECONDS = 0.7
ROOMS = ("browser", "faults", "fuzz", "security")


def slow_tests() -> dict[str, float]:
    """Seconds of each, as `tests/test_cli.py::test_help`; of its slowest parameters."""
    rows = (line.partition(" ") for line in NAMES.read_text().splitlines())
    return {name: float(seconds or SECONDS) for name, _, seconds in rows}


def main(times: str) -> None:
    """Write the names from a JUnit file of pytest's."""
    found: dict[str, float] = {}
    for case in ElementTree.parse(times).iter("testcase"):
        module, name = case.attrib["classname"], case.attrib["name"].partition("[")[0]
        seconds = float(case.get("time", 0))
        if seconds > SECONDS and module.split(".")[1] not in ROOMS:
            test = f"{module.replace('.', '/')}.py::{name}"
            found[test] = max(seconds, found.get(test, 0))
    NAMES.write_text("".join(f"{name} {found[name]:.1f}\n" for name in sorted(found)))


if __name__ == "__main__":
    main(sys.argv[1])
