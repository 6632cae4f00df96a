"""The shipped set that a page begins with: photographs if indexed, else drawings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.demo import SHOWS, Show

if TYPE_CHECKING:
    from mmrag.index.collections import CollectionInfo


def readable(collection: str) -> str:
    """Readable name of a collection: an eval set's own by the set's name, any other by its own."""
    match = re.fullmatch(r"eval_(.+)_[0-9a-f]{12}(_[a-z]+)?", collection)
    return match[1] + (match[2] or "").replace("_", ", ") if match else collection


def collections_of(show: Show, found: Mapping[str, CollectionInfo]) -> dict[str, str]:
    """A show's collections by encoder; empty unless there is one for each of its encoders."""
    of_set = {i.encoder: n for n, i in found.items() if readable(n) == show.folder.name}
    return of_set if of_set.keys() >= set(show.encoders) else {}


def of_set(eval_set: str | None) -> Show | None:
    """The show that an eval set belongs to."""
    return next((show for show in SHOWS if show.folder.name == eval_set), None)


def first(found: Mapping[str, CollectionInfo]) -> Show | None:
    """The show that a page begins with."""
    return next((show for show in SHOWS if collections_of(show, found)), None)


def other_button(found: Mapping[str, CollectionInfo]) -> None:
    """Draw a button that switches from one show's queries and pictures to the other's."""
    now = of_set(st.session_state.get("set"))
    other = next((s for s in SHOWS if s is not now and collections_of(s, found)), None)
    if now is None or other is None:
        return

    def go() -> None:
        forget_sides()
        st.session_state.set = other.folder.name
        st.session_state.pop("query", None)
        st.session_state.text_of = None

    st.button(
        f"Search the {other.title} instead", icon=":material/swap_horiz:", on_click=go, key="other"
    )


def forget_sides() -> None:
    """Reset the compared sides, which belong to other pictures."""
    for side in ("left", "right"):
        for part in ("collection", "rerank"):
            st.session_state.pop(f"{side}_{part}", None)
