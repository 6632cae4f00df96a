"""Gallery: the collections, what is in them, and how to make one."""

from __future__ import annotations

import streamlit as st

from mmrag import demo
from mmrag.index.collections import CollectionInfo
from mmrag.index.odd_pictures import WORDS
from mmrag.ui import gallery_data, resources, shows, url
from mmrag.ui.first_run import ensure_something_to_search, usable_collections
from mmrag.ui.panels.browse import browse_panel
from mmrag.ui.panels.duplicates import duplicates_panel
from mmrag.ui.panels.indexing import EMBEDS, indexing_panel, vectors_bytes
from mmrag.ui.panels.map import map_panel
from mmrag.ui.shows import readable

TABS = {
    "browse": "Browse",
    "map": "Map",
    "duplicates": "Near-duplicates",
    "collections": "Collections",
}


def main() -> None:
    """Draw the page."""
    if not usable_collections() and demo.possible():
        ensure_something_to_search()
    found = {info.name: info for info in resources.collections(resources.uri())}
    if not found:
        st.info("There is no collection yet. Index some pictures to begin.")
        indexing_panel(found, None)
        return
    chosen = _choose(found)
    browse, map_, duplicates, collections = url.tabs("tab", TABS)
    if browse.open:
        with browse:
            browse_panel(chosen)
    if map_.open:
        with map_:
            map_panel(chosen)
    if duplicates.open:
        with duplicates:
            duplicates_panel(chosen)
    if collections.open:
        with collections:
            indexing_panel(found, chosen)


def _choose(found: dict[str, CollectionInfo]) -> CollectionInfo:
    titles = _titles(found)
    show = shows.first(found)
    first = shows.collections_of(show, found)[show.encoder] if show else next(iter(found))
    at = url.before("collection", list(found), first)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.selectbox(
            "Collection",
            list(found),
            index=at,
            format_func=titles.__getitem__,
            key="collection",
            on_change=_begin_again,
            label_visibility="collapsed",
            width=380,
        )
        info = found[url.after("collection", first)]
        st.text(
            f"{info.rows:,} images, {info.encoder}, {info.dim} dimensions, "
            f"{_size(vectors_bytes(info))} of vectors of {EMBEDS.get(info.embed, info.embed)}"
        )
        st.button("Add pictures", icon=":material/add_photo_alternate:", on_click=_show_form)
    odd = gallery_data.odd_pictures(resources.uri(), info.name, gallery_data.state(info))
    if odd:
        st.caption(", ".join(f"{n:,} {WORDS[what]}" for what, n in odd.items()).capitalize() + ".")
    return info


def _titles(found: dict[str, CollectionInfo]) -> dict[str, str]:
    """Each collection's label in the field, all distinct."""
    titles: dict[str, str] = {}
    for name, info in found.items():
        plain = readable(name)
        title = name if plain == name else f"{plain} · {info.encoder}"
        titles[name] = name if title in titles.values() or title in found else title
    return titles


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def _show_form() -> None:
    st.session_state.tab = TABS["collections"]


def _begin_again() -> None:
    """Reset pages and choices, which belong to the former collection."""
    st.session_state.pop("cosine", None)
    st.session_state.page = st.session_state.pair_page = 1
    st.session_state.narrow = []


url.run_page("gallery", main)
