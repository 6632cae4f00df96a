"""Files and values with something in them replaced."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=6)


def spoil_bytes(data: st.DataObject, whole: bytes) -> bytes:
    """Some bytes replaced, cut out or put in."""
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 20)))
    return whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:]


def spoil_value(data: st.DataObject, value: Any) -> Any:
    """A JSON value with one value somewhere in it replaced."""
    if data.draw(st.integers(0, 3)) == 0 or not value or not isinstance(value, dict | list):
        return data.draw(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = data.draw(st.sampled_from(keys))
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = spoil_value(data, value[key])
    return changed
