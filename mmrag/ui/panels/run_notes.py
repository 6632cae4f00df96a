"""The visitor's own note on a run."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mmrag.errors import MmragError
from mmrag.runs.run import Run
from mmrag.runs.store import OWN_NOTE
from mmrag.ui import resources
from mmrag.ui.doors import may_change
from mmrag.ui.navigation import show_error


def note_panel(runs: Sequence[Run]) -> None:
    """Draw the note on one of the compared runs."""
    if not runs or not may_change():
        return
    with st.expander("Note on a run", icon=":material/edit_note:", key="run_note"):
        by_id = {run.run_id: run for run in runs}
        run_id = st.selectbox(
            "Run", list(by_id), format_func=lambda i: f"{by_id[i].name} · {i}", key="noted_run"
        )
        notes = by_id[run_id].notes
        now = next((one.removeprefix(OWN_NOTE) for one in notes if one.startswith(OWN_NOTE)), "")
        text = st.text_area(
            "Note",
            now,
            key=f"run_note_{run_id}",
            height=68,
            max_chars=2000,
            help="It is shown wherever the run is, and a search for its words finds the run.",
        )
        if st.button("Save note", icon=":material/save:", key="save_run_note"):
            try:
                resources.runs().annotate(run_id, text)
            except MmragError as error:
                show_error(error)
                return
            st.rerun()
