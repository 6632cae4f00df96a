"""Text from data in the few places where Streamlit takes Markdown only."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """The text as Markdown that shows just it: no pictures from elsewhere, no links, no icons."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
