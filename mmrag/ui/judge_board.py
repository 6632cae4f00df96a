"""Judging by key, click or thumb; the browser continues while the server stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class BoardImage:
    """A picture to judge: `src` is a `data:` URL, None if unreadable."""

    id: str
    src: str | None
    label: str
    grade: int | None


@dataclass(frozen=True)
class BoardQuery:
    """A query with its pooled pictures. All texts are shown as plain text.

    `picture` is a `data:` URL, "" if unreadable, None if the query has none.
    """

    id: str
    text: str
    note: str
    picture: str | None
    images: tuple[BoardImage, ...]


@dataclass(frozen=True)
class Word:
    """A judgment from the browser, numbered from 1; `grade` is None if withdrawn."""

    number: int
    query_id: str
    image_id: str
    grade: int | None


@cache
def _component() -> Any:
    return st.components.v2.component(
        "mmrag_judge_board",
        html='<div class="judge"></div>',
        css=(_HERE / "judge_board.css").read_text(encoding="utf-8"),
        js=(_HERE / "judge_board.js").read_text(encoding="utf-8"),
    )


def judge_board(
    queries: Sequence[BoardQuery], *, session: str, stored: int, left: int, key: str
) -> None:
    """Show the next queries; judgments arrive in `words_said` before the page runs again.

    Args:
        queries: the next ones, each with all its pictures.
        session: a new value starts afresh.
        stored: the number of the last word stored.
        left: pictures left to judge when the files were read.
        key: of the component.
    """
    _component()(
        key=key,
        data={
            "queries": [asdict(query) for query in queries],
            "session": session,
            "stored": stored,
            "left": left,
        },
        on_words_change=lambda: None,
    )


def words_said(key: str) -> list[Word]:
    """The judgments that the browser has sent; malformed ones are left out."""
    state = st.session_state.get(key)
    sent = state.get("words") if state is not None else None
    words = []
    for one in sent if isinstance(sent, list) else ():
        if not isinstance(one, dict):
            continue
        number, grade = one.get("n"), one.get("grade")
        names = (one.get("query"), one.get("image"))
        if (
            type(number) is int
            and all(isinstance(name, str) for name in names)
            and (grade is None or type(grade) is int)
        ):
            words.append(Word(number, str(names[0]), str(names[1]), grade))
    return sorted(words, key=lambda word: word.number)
