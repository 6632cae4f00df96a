"""Texts that are safe to open in a spreadsheet."""

from __future__ import annotations

import re
from typing import Any

_FORMULA = re.compile(r"[\t\r\n]|[\s'\"]*[=+\-@＝＋－＠]")


def spreadsheet_cell(value: Any) -> Any:
    """The value; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    # Some readers begin a new row at a lone carriage return, which the writer does not quote.
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    return "'" + value if _FORMULA.match(value) else value
