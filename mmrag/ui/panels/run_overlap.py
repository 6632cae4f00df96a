"""How alike two runs rank, without any labels, and the first hits that differ."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.templates import templated
from mmrag.images.thumbnails import data_url
from mmrag.metrics.summary import Estimate
from mmrag.runs.compare import Entry
from mmrag.runs.overlap import overlap_of
from mmrag.ui.navigation import show_error
from mmrag.ui.tables import guarded

SHOWN = 60


def overlap_panel(entries: list[Entry], eval_set: EvalSet | None) -> None:
    """Draw each entry against the first."""
    if len(entries) < 2:
        st.caption("Choose two runs, or one with reranking, to see how alike their rankings are.")
        return
    first, *others = entries
    for entry in others:
        try:
            found = overlap_of(first, entry)
        except MmragError as error:
            show_error(error)
            continue
        st.text(f"{entry.label} against {first.label}, {found.queries:,} queries")
        rows = {
            f"Rank-biased overlap (p = {found.persistence})": found.rbo,
            "Kendall's tau of the images that both rank": found.tau,
            "Same first hit": found.same_first,
        }
        st.dataframe(
            guarded([{"": name, "mean": _words(one)} for name, one in rows.items()]),
            hide_index=True,
            width="content",
        )
        if eval_set is not None and found.other_first:
            _firsts(first, entry, found.other_first, eval_set)


def _words(one: Estimate | None) -> str:
    if one is None:
        return "no query has two images in common"
    return f"{one.mean:.3f} ({one.ci95[0]:.3f} to {one.ci95[1]:.3f})"


def _firsts(a: Entry, b: Entry, pairs: list[tuple[str, str, str]], eval_set: EvalSet) -> None:
    """Draw the queries whose first hit differs, with the three pictures."""
    asked = {query.query_id: query for query in eval_set.queries}
    shown = [pair for pair in pairs if pair[0] in asked][:SHOWN]
    queries = templated([asked[query_id] for query_id, _, _ in shown], b.run.query_template)
    images = eval_set.present(one for _, *both in shown for one in both)
    pictures = {image_id: data_url(image.path, 96) for image_id, image in images.items()}
    st.caption(
        f"Another first hit: {len(pairs):,} queries"
        + (f", the first {SHOWN} of them" if len(pairs) > SHOWN else "")
    )
    frame = pd.DataFrame(
        {
            "picture": [data_url(q.image, 96) if q.image else None for q in queries],
            "query": [query.query_id for query in queries],
            "instruction": [query.text or "(picture alone)" for query in queries],
            f"first of {a.label}": [pictures.get(one) for _, one, _ in shown],
            f"first of {b.label}": [pictures.get(one) for _, _, one in shown],
        }
    )
    small = st.column_config.ImageColumn(width="small")
    drawn = [str(name) for name in frame if name not in ("query", "instruction")]
    st.dataframe(
        guarded(frame),
        hide_index=True,
        width="stretch",
        column_config=dict.fromkeys(drawn, small),
        row_height=64,
    )
