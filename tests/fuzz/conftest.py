"""The count of all cases comes last, and is said at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import cases

TOTAL = "test_total.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`test_total` needs what the others counted."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent == here and item.path.name == TOTAL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if cases.ran:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(cases.ran.items()))
        terminalreporter.write_line(
            f"fuzzing: {cases.ran.total():,} cases ({cases.outcomes['read']:,} read, "
            f"{cases.outcomes['refused']:,} refused), at most {cases.worst['seconds']:.1f} s and "
            f"{cases.worst['bytes'] / 1e6:.0f} MB each: {counts}"
        )
