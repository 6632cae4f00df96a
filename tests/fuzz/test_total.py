"""Comes last: how many cases the other files of this folder ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import cases


def test_ten_thousand_cases_were_run(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """Only meant for a run of the whole folder."""
    # What Atheris tries comes on top.
    others = {"test_total.py", "test_targets.py"}
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")} - others
    if files - cases.ran.keys() or request.config.getoption("keyword"):
        pytest.skip("not all of tests/fuzz ran")
    record_property("tried", cases.ran.total())
    assert cases.ran.total() >= cases.LEAST_CASES, dict(cases.ran)
    assert cases.outcomes["refused"] > 1000
    assert cases.outcomes["read"] > 1000
