"""Options for comparing the chosen runs: runs of one name as one, queries of one label only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from mmrag.runs.compare import Entry, stage_entries, told_apart
from mmrag.runs.labels import LABELS, labels_of
from mmrag.runs.run import Run
from mmrag.runs.together import groups, together
from mmrag.ui import url

ALL_QUERIES = "all"


def chosen_entries(runs: Sequence[Run]) -> list[Entry]:
    """The chosen runs as entries to compare; a single run is compared with its own retrieval."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = _together(runs)
        labels = next((found for run in runs if (found := labels_of(run))), {})
        label = _label(labels) if labels else None
    if len(shown) == 1:
        entries = stage_entries(shown[0])
    else:
        entries = told_apart([Entry(run, run.stage) for run in shown])
    if label is None:
        return entries
    only = frozenset(query_id for query_id, one in labels.items() if one == label)
    st.caption(f"Only the {len(only):,} queries that are labelled “{label}”.")
    return [replace(entry, only=only) for entry in entries]


def _together(runs: Sequence[Run]) -> list[Run]:
    parts = [part for part in groups(runs) if len(part) > 1]
    if not parts:
        return list(runs)
    wanted = st.toggle(
        "Runs of one name as one entry",
        key="together",
        help="Seeds of one model, or folds of one set: each query's metrics are means over them.",
    )
    if not wanted:
        return list(runs)
    joined = {run.run_id: part for part in parts for run in part}
    shown: list[Run] = []
    for run in runs:
        part = joined.get(run.run_id, [run])
        if run is part[0]:
            shown.append(together(part) if len(part) > 1 else run)
    return shown


def _label(labels: dict[str, str]) -> str | None:
    there = [label for label in LABELS if label in set(labels.values())]
    options = [ALL_QUERIES, *there]
    st.selectbox(
        "Which queries",
        options,
        index=url.before("needs", options, ALL_QUERIES),
        key="needs",
        format_func=lambda label: "All queries" if label == ALL_QUERIES else label.capitalize(),
        help="What a composed query needs, as the ablation of picture and text has found it.",
        width=260,
    )
    label = url.after("needs", ALL_QUERIES)
    return None if label == ALL_QUERIES else label
