"""The visitor's own note on a query of an eval set."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.labels.queries import MAX_NOTE, NOTE, note_query
from mmrag.ui.navigation import show_error


def query_note_panel(eval_set: EvalSet, ahead: Sequence[str], here: str | None) -> None:
    """Draw the note on the query being judged; its next judge sees it too."""
    if not ahead:
        return
    by_id = {query.query_id: query for query in eval_set.queries}
    with st.expander("Note on a query", icon=":material/edit_note:", key="query_note"):
        query_id = st.selectbox(
            "Query",
            list(ahead),
            index=ahead.index(here) if here in ahead else 0,
            format_func=lambda i: f"{i} · {by_id[i].text or '(picture alone)'}",
            key="noted_query",
        )
        text = st.text_area(
            "Note",
            str(by_id[query_id].metadata.get(NOTE, "")),
            key=f"query_note_{query_id}",
            height=68,
            max_chars=MAX_NOTE,
        )
        if st.button("Save note", icon=":material/save:", key="save_query_note"):
            try:
                note_query(eval_set.folder, query_id, text)
            except MmragError as error:
                show_error(error)
                return
            st.rerun()
