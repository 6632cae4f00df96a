# ruff: noqa: PT017
"""What all fuzzing shares: cases that are counted, timed and weighed, and ways to spoil data.

In CI the cases are the same each time. `MMRAG_TEST_FUZZ=20 pytest tests/fuzz` draws others, and
twenty times as many.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mmrag.errors import MmragError

RANDOM = int(os.environ.get("MMRAG_TEST_FUZZ", "0"))
LEAST_CASES = 10_000
MOST_SECONDS = 10.0
MOST_BYTES = 1_000_000_000

# Cases by the test file they ran in, and by what became of them: "read" or "refused".
ran: Counter[str] = Counter()
outcomes: Counter[str] = Counter()
worst = {"seconds": 0.0, "bytes": 0.0}


def fuzz(examples: int) -> settings:
    """So many cases of a test."""
    return settings(
        max_examples=examples * max(1, RANDOM),
        derandomize=not RANDOM,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def case(file: str, refused: str | None = None) -> Iterator[None]:
    """One case: what is inside may succeed or raise an `MmragError` that is a clear sentence.

    Any other exception is passed on and fails the test, and so do more than 10 seconds or 1 GB.
    With `refused`, a pattern, there must be an error that it is found in.
    """
    ran[Path(file).name] += 1
    before, started = _reset_peak(), time.monotonic()
    outcome = "read"
    try:
        yield
    except MmragError as error:
        outcome = "refused"
        said = str(error)
        assert said.strip(), f"{type(error).__name__} says nothing"
        assert "Traceback" not in said
        assert " object at 0x" not in said
        assert refused is None or re.search(refused, said), said
    finally:
        seconds, grown = time.monotonic() - started, _peak() - before
        worst["seconds"] = max(worst["seconds"], seconds)
        worst["bytes"] = max(worst["bytes"], grown)
    outcomes[outcome] += 1
    assert refused is None or outcome == "refused", "was not refused"
    assert seconds <= MOST_SECONDS, f"took {seconds:.1f} s"
    assert grown <= MOST_BYTES, f"took {grown / 1e6:.0f} MB"


def _reset_peak() -> float:
    """Bytes in memory now; from here on `_peak` counts anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float(_most_ever())
    return float(psutil.Process().memory_info().rss)


def _peak() -> float:
    """The most bytes in memory since `_reset_peak` (where that cannot be told: ever)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return float(_most_ever())


def _most_ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, -(10**9)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["", " ", "\0", "../../../etc/passwd", "/etc/passwd", "=1+1", "\x1b[2J", "NaN"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=6,
)
# What parsers of text stumble over, beside what `st.text` draws.
ODD_TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Co"]), max_size=30),
    st.sampled_from(
        [
            "",
            "\0",
            "\ufeff",
            "\ud800",
            "\x1b]0;title\x07",
            "\u202egnp.exe",
            "a" * 100_000,
            "[" * 3000,
            '{"a":' * 3000,
            "(" * 3000,
            "9" * 5000,
            "-" * 3000,
            "../" * 300 + "etc/passwd",
        ]
    ),
)


def spoil_bytes(draw: Callable[[st.SearchStrategy[Any]], Any], whole: bytes) -> bytes:
    """Some bytes replaced, cut out or put in, or the end cut off; several times over."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(whole)))
        if draw(st.integers(0, 5)) == 0:
            whole = whole[:start]
            continue
        end = draw(st.integers(start, min(len(whole), start + 20)))
        whole = whole[:start] + draw(st.binary(max_size=8)) + whole[end:]
    return whole


def spoil_value(draw: Callable[[st.SearchStrategy[Any]], Any], value: Any) -> Any:
    """A JSON value with one value somewhere in it replaced, left out or put in."""
    if not value or not isinstance(value, dict | list) or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw(st.sampled_from(keys))
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    if draw(st.integers(0, 7)) == 0:
        del changed[key]
    else:
        changed[key] = spoil_value(draw, value[key])
    return changed
