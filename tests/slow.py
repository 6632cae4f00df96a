"""Which tests take longer than 0.7 s, for `make test-quick`: those that `tests/slow.txt` names.

    make test ARGS="-n 2 --junitxml=times.xml" && python -m tests.slow times.xml

A test is named without its parameters: if one of them is slow, all are left out. Rooms that are
left out as wholes are not listed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

NAMES = Path(__file__).with_suffix(".txt")
SECONDS = 0.7
ROOMS = ("browser", "faults", "fuzz", "security")


def slow_tests() -> frozenset[str]:
    """As `tests/test_cli.py::test_help`."""
    return frozenset(NAMES.read_text().split())


def main(times: str) -> None:
    """Write the names from a JUnit file of pytest's."""
    found = set()
    for case in ElementTree.parse(times).iter("testcase"):
        module, name = case.attrib["classname"], case.attrib["name"].partition("[")[0]
        if float(case.get("time", 0)) > SECONDS and module.split(".")[1] not in ROOMS:
            found.add(f"{module.replace('.', '/')}.py::{name}")
    NAMES.write_text("".join(f"{name}\n" for name in sorted(found)))


if __name__ == "__main__":
    main(sys.argv[1])
