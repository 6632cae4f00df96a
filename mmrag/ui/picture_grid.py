"""Pictures side by side, each a button; on a phone they wrap instead of shrinking."""

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
    """One picture. All texts are shown as plain text.

    `src` is a `data:` URL; without one, the words in `missing` are shown instead. `label` is for
    screen readers; `moved` counts the ranks gained (or lost) by reranking.
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
    """A visitor's judgment of a picture, numbered from 1; None withdraws it, `undo` the last one.

    `of` names what the grid showed at the time.
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
    """Show tiles; return the id of the one just clicked.

    Args:
        tiles: the pictures.
        key: of the component.
        tile_width: minimum, in pixels.
        judging: if pictures can be judged: what is shown, and the number of the last word
            processed; words are in `grid_words` before the page runs again.
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
    """The words that the browser has sent from a grid, in order; malformed ones are left out."""
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
