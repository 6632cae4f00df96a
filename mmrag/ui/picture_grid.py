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
    grade: int | None = None


@dataclass(frozen=True)
class GridWord:
    """What a visitor said of a picture, numbered from 1; None takes back, `undo` the last word.

    `of` names what the grid showed then.
    """

    number: int
    of: str
    image_id: str
    grade: int | None
    undo: bool = False


@cache
def _component() -> Any:
    return st.components.v2.component(
        "mmrag_picture_grid",
        html='<div class="grid"></div>',
        css=(_HERE / "picture_grid.css").read_text(encoding="utf-8"),
        js=(_HERE / "picture_grid.js").read_text(encoding="utf-8"),
    )


def picture_grid(
    tiles: Sequence[Tile],
    *,
    key: str,
    tile_width: int = 112,
    judging: tuple[str, int] | None = None,
) -> str | None:
    """Show tiles; returns the id of the one that was just clicked.

    Args:
        tiles: the pictures.
        key: of the component.
        tile_width: in pixels, at least.
        judging: where pictures can be judged: what is shown, and the number of the last word that
            was taken over; words are in `grid_words` before the page runs again.
    """
    about = None if judging is None else {"of": judging[0], "stored": judging[1]}
    result = _component()(
        key=key,
        data={
            "items": [asdict(tile) for tile in tiles],
            "tile": tile_width,
            "judging": about,
        },
        on_chosen_change=lambda: None,
        on_words_change=lambda: None,
    )
    chosen: str | None = result.chosen
    return chosen


def grid_words(key: str) -> list[GridWord]:
    """What the browser has sent from a grid, in order; anything malformed is left out."""
    state = st.session_state.get(key)
    sent = state.get("words") if state is not None else None
    words = []
    for one in sent if isinstance(sent, list) else ():
        if not isinstance(one, dict):
            continue
        number, of, image_id = one.get("n"), one.get("of"), one.get("image")
        grade, undo = one.get("grade"), one.get("undo") is True
        if (
            type(number) is int
            and isinstance(of, str)
            and isinstance(image_id, str)
            and (grade is None or (type(grade) is int and 0 <= grade <= 2))
        ):
            words.append(GridWord(number, of, image_id, grade, undo))
    return sorted(words, key=lambda word: word.number)
