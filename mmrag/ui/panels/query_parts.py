"""Hits for the picture alone, for the words alone, and for both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.errors import MmragError
from mmrag.ui import resources
from mmrag.ui.navigation import show_error
from mmrag.ui.panels.search_side import Configuration, search
from mmrag.ui.picture_grid import picture_grid
from mmrag.ui.tiles import first_right, hit_tiles, judged

if TYPE_CHECKING:
    from mmrag.ui.panels.query_input import ChosenQuery

FREE = resources.RerankerChoice("no reranking", None)


def show_parts(side: str, configuration: Configuration, chosen: ChosenQuery) -> None:
    """Draw three rows of hits, judged by the labels of the whole query."""
    if configuration.reranker.costs_money:
        configuration = replace(configuration, reranker=FREE)
        st.caption("As retrieved: nothing is paid for here.")
    parts = {
        "Both": chosen,
        "The picture alone": replace(chosen, text=""),
        "The words alone": replace(chosen, image=None),
    }
    for name, part in parts.items():
        st.text(name)
        if not part.image and not part.text:
            st.caption("This query has none.")
            continue
        try:
            with st.spinner("Searching …"):
                result = search(configuration, part)
        except MmragError as error:
            show_error(error)
            continue
        query_id = chosen.eval_query.query_id if chosen.eval_query else None
        right = judged(result, chosen.eval_set, query_id)
        judgments = chosen.eval_set.qrels.get(query_id or "") if chosen.eval_set else None
        st.caption(first_right(result.hits, right))
        tiles = hit_tiles(result.hits[: configuration.k], right, judgments)
        picture_grid(tiles, key=f"{side}_{name}", tile_width=84)
