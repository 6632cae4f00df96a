"""Which queries differ between two runs, and one query's stored rankings side by side."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.images.thumbnails import data_url
from mmrag.runs import frames
from mmrag.runs.compare import Entry
from mmrag.ui import resources, run_charts
from mmrag.ui.picture_grid import Tile, picture_grid

SHOWN = 8


def queries_panel(entries: list[Entry], metric: str, eval_set: EvalSet | None) -> None:
    """Draw the differences between two of the entries, and one query."""
    if len(entries) < 2:
        st.caption("Choose two runs, or one with reranking, to see which queries it helped.")
        if eval_set is not None:
            _drill(entries, eval_set, entries[0].scores.query_ids)
        return
    labels = [entry.label for entry in entries]
    with st.container(horizontal=True):
        a = st.selectbox("From", range(len(labels)), format_func=labels.__getitem__, key="from")
        b = st.selectbox(
            "To", range(len(labels)), index=1, format_func=labels.__getitem__, key="to"
        )
    frame = frames.query_differences(entries[a], entries[b], metric)
    changed = frame[frame["change"] != 0]
    better, worse = int((frame["change"] > 0).sum()), int((frame["change"] < 0).sum())
    st.caption(f"{metric}: {better} queries gained, {worse} lost, {len(frame) - len(changed)} same")
    if not changed.empty:
        st.altair_chart(run_charts.query_changes(changed, metric), width="stretch")
    order = pd.concat([changed["query"], frame[frame["change"] == 0]["query"]])
    if eval_set is not None:
        _drill([entries[a], entries[b]], eval_set, list(order))


@st.fragment
def _drill(entries: list[Entry], eval_set: EvalSet, query_ids: list[str]) -> None:
    """One query's stored rankings, side by side."""
    queries = {query.query_id: query for query in eval_set.queries}
    ids = [i for i in query_ids if i in queries]
    if not ids:
        return
    query_id = st.selectbox(
        "Query",
        ids,
        format_func=lambda i: f"{i} · {queries[i].text or '(picture alone)'}",
        key="drill",
        help="In the order of the chart: most helped first.",
    )
    query = queries[query_id]
    with st.container(horizontal=True, vertical_alignment="center"):
        url = data_url(query.image, 160) if query.image else None
        if url:
            st.image(url, width=120, alt="the query picture")
        with st.container():
            st.text(query.text or "(picture alone)")
            _search_link(eval_set, query_id)
    stored = [entry.run.rankings[entry.stage].get(query_id) for entry in entries]
    paths = eval_set.present(i for one in stored if one for i in one.image_ids[:SHOWN])
    relevant = eval_set.relevant(query_id)
    for place, (entry, column) in enumerate(
        zip(entries, st.columns(len(entries), gap="medium"), strict=True)
    ):
        with column:
            st.text(entry.label)
            one = entry.run.rankings[entry.stage].get(query_id)
            tiles = [
                Tile(
                    id=image_id,
                    src=data_url(paths[image_id].path) if image_id in paths else None,
                    label=f"Rank {rank}: {image_id}",
                    badge=str(rank),
                    mark="right" if image_id in relevant else "wrong",
                    tip=paths[image_id].text if image_id in paths else image_id,
                )
                for rank, image_id in enumerate(one.image_ids[:SHOWN] if one else [], start=1)
            ]
            picture_grid(tiles, key=f"drill_{place}")
            if one and one.details.get("explanation"):
                st.text(str(one.details["explanation"]))


def _search_link(eval_set: EvalSet, query_id: str) -> None:
    name = Path(eval_set.folder).name
    if name in known_eval_sets():
        st.page_link(
            st.Page(resources.page("search"), url_path="search"),
            label="Search this query again",
            icon=":material/image_search:",
            query_params={"set": name, "query": query_id},
        )
