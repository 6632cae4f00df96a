"""Pictures beside each other, each a button; on a phone they wrap instead of shrinking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import streamlit as st

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Tile:
    """One picture. All texts are shown as text, whatever they hold.

    `src` is a `data:` URL; without one, the words in `missing` stand in its place. `label` is what
    a screen reader says; `moved` counts the ranks gained (or lost) by reranking.
    """

    id: str
    src: str | None
    label: str
    badge: str = ""
    score: str = ""
    mark: Literal["right", "wrong", "unjudged"] | None = None
    moved: int = 0
    caption: str = ""
    tip: str = ""
    missing: str = "cannot be read"


@cache
def _component() -> Any:
    return st.components.v2.component(
        "mmrag_picture_grid",
        html='<div class="grid"></div>',
        css=(_HERE / "picture_grid.css").read_text(encoding="utf-8"),
        js=(_HERE / "picture_grid.js").read_text(encoding="utf-8"),
    )


def picture_grid(tiles: Sequence[Tile], *, key: str, tile_width: int = 112) -> str | None:
    """Show tiles; returns the id of the one that was just clicked."""
    result = _component()(
        key=key,
        data={"items": [asdict(tile) for tile in tiles], "tile": tile_width},
        on_chosen_change=lambda: None,
    )
    chosen: str | None = result.chosen
    return chosen
