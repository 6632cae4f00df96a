"""Something to look at on a fresh clone: the catalogue, indexed with the shipped encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mmrag.ui import resources

if TYPE_CHECKING:
    from mmrag.index.collections import CollectionInfo


def ensure_something_to_search() -> dict[str, CollectionInfo]:
    """Collections that an encoder at hand can search, by name; makes the demo when there is none.

    Stops the page with a sentence when there is nothing to search.
    """
    found = usable_collections()
    if found:
        return found
    from mmrag import demo

    if not demo.is_possible():
        st.info(
            "No collection to search yet. Index a folder on the Gallery page, or run "
            "`mmrag index FOLDER`."
        )
        st.stop()
    bar = st.progress(0.0, "Indexing the catalogue that ships with mmrag …")
    with resources.model_turn():
        if not usable_collections():
            demo.index_catalogue(lambda share, what: bar.progress(share, what))
    bar.empty()
    resources.collections.clear()
    return usable_collections()


def usable_collections() -> dict[str, CollectionInfo]:
    """Collections with rows."""
    return {c.name: c for c in resources.collections(resources.uri()) if c.rows}
