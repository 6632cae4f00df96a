"""One query's metrics on one side, and the right pictures that its hits miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mmrag.metrics.metrics import score_rankings
from mmrag.metrics.table import metric_title
from mmrag.ui import resources
from mmrag.ui.picture_grid import picture_grid
from mmrag.ui.tiles import hit_tiles

if TYPE_CHECKING:
    from mmrag.index.collections import CollectionInfo
    from mmrag.types import SearchResult
    from mmrag.ui.panels.query_input import ChosenQuery

# Depth of the search for missed pictures.
DEEPEST = 1000
MISSED = 12


def query_numbers(
    side: str,
    collection: CollectionInfo,
    k: int,
    result: SearchResult,
    chosen: ChosenQuery,
    right: set[str],
) -> None:
    """Draw average precision, nDCG and recall of the shown hits, and what is missing in them."""
    eval_set, query = chosen.eval_set, chosen.eval_query
    if eval_set is None or query is None or not right:
        return
    shown = [hit.image_id for hit in result.hits[:k]]
    names = [f"mAP@{k}", f"nDCG@{k}", f"R@{k}"]
    scores = score_rankings({query.query_id: shown}, eval_set, names, query_ids=[query.query_id])
    # No mean over a single query.
    values = [
        f"{metric_title(name).removeprefix('m')} {float(scores.values[name][0]):.3f}"
        for name in names
    ]
    found = len(right & set(shown))
    images = "image" if len(right) == 1 else "images"
    st.caption(f"{found} of {len(right)} right {images} shown · " + " · ".join(values))
    missed = right - set(shown)
    if not missed:
        return
    box = st.expander(
        f"Right images that are missing here ({len(missed)})",
        icon=":material/search_off:",
        key=f"{side}_missed",
        on_change="rerun",
    )
    if box.open:
        with box:
            _missed(side, collection, chosen, missed)


def _missed(side: str, info: CollectionInfo, chosen: ChosenQuery, missed: set[str]) -> None:
    """Draw the ranks of missed pictures in retrieval."""
    from mmrag.search.searcher import Searcher

    index = resources.index(resources.uri(), info.name)
    searcher = Searcher(index, resources.encoder(info.encoder))
    query = chosen.query()
    with resources.model_turn():
        vectors = searcher.encode([query])
    [hits] = searcher.search_vectors(
        [query],
        vectors,
        min(DEEPEST, info.rows),
        exclude_query_image=chosen.exclude_query_image,
    )
    found = [hit for hit in hits if hit.image_id in missed]
    picture_grid(hit_tiles(found[:MISSED], missed), key=f"{side}_missed_grid")
    beyond = len(missed) - len(found)
    words = "Their ranks are those of retrieval, before any reranking."
    if beyond:
        words += f" {beyond} more not among the first {len(hits):,}."
    st.caption(words)
