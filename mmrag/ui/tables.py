"""Data of tables and charts on the pages, whose toolbar offers it as CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

# "-5", "+0.021 (p = 0.004)", "-0.010 [-0.082, +0.062]": begins with a sign but is just a number.
_NUMBER = re.compile(
    r"[+-]?\d[\d.]*([eE][+-]?\d+)?( \[[+-]?[\d.]+, [+-]?[\d.]+\])?( \(p ([<=] [\d.]+|unknown)\))?"
)


def guarded(rows: pd.DataFrame | Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The rows for a table or chart, with no text that is a formula.

    Streamlit writes its input into the CSV. A text that a spreadsheet would take for a formula gets
    an apostrophe in front, on the page too; all others are unchanged.
    """
    shown = pd.DataFrame(rows).copy()
    for name in shown.select_dtypes(exclude=["number", "bool", "datetime", "datetimetz"]):
        shown[name] = shown[name].map(_cell)
    return shown


def _cell(value: object) -> object:
    from mmrag.system.spreadsheet import spreadsheet_cell

    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return value
    return spreadsheet_cell(value)
