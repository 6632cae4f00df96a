"""Asking a question about the best match."""

from __future__ import annotations

from mmrag.types import SearchResult


def ask_panel(shown: dict[str, SearchResult]) -> None:
    """Draw the question field and stream the answer."""
