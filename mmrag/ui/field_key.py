"""A key that leads into a field of the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


@cache
def _component() -> Any:
    return st.components.v2.component(
        "mmrag_field_key",
        html='<div class="field-key" hidden></div>',
        js=(_HERE / "field_key.js").read_text(encoding="utf-8"),
    )


def field_key(field: str, letter: str, *, key: str) -> None:
    """Let a letter focus the field that a CSS selector names, and Escape leave it."""
    _component()(key=key, data={"field": field, "key": letter})
