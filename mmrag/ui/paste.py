"""A field that takes a picture from the clipboard."""

from __future__ import annotations

import base64
import binascii
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
_MAX_CHARACTERS = 28_000_000  # of base64: 20 MB of picture


@cache
def _component() -> Any:
    return st.components.v2.component(
        "mmrag_paste",
        html='<div class="paste" tabindex="0" role="button">Paste a picture here</div>',
        css=(_HERE / "paste.css").read_text(encoding="utf-8"),
        js=(_HERE / "paste.js").read_text(encoding="utf-8"),
    )


def pasted_picture(*, key: str) -> bytes | None:
    """The bytes of the picture just pasted."""
    pasted = _component()(key=key, on_pasted_change=lambda: None).pasted
    if not isinstance(pasted, str) or len(pasted) > _MAX_CHARACTERS:
        return None
    try:
        return base64.b64decode(pasted, validate=True)
    except binascii.Error:
        return None
