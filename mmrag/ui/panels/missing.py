"""Unavailable models: greyed, with the reason, and a button to fetch them."""

from __future__ import annotations

import streamlit as st

from mmrag.errors import MmragError
from mmrag.system.jobs import Job
from mmrag.ui import fetch_jobs
from mmrag.ui.doors import may_change
from mmrag.ui.markdown import escaped
from mmrag.ui.navigation import show_error


def missing_panel() -> None:
    """Draw what is missing, each with its reason, and what is being fetched."""
    found = fetch_jobs.missing()
    if not found:
        return
    busy = st.session_state.fetch_busy = fetch_jobs.is_busy()
    with st.container(key="missing", gap="xsmall"):
        st.caption("Not usable here:")
        st.fragment(_rows, run_every=1.0 if busy else None)(found)


def missing_expander() -> None:
    """Draw the same in an expander."""
    box = st.expander(
        "Models that are not offered", icon=":material/block:", key="absent", on_change="rerun"
    )
    if box.open:
        with box:
            missing_panel()


def _rows(found: list[fetch_jobs.Missing]) -> None:
    if fetch_jobs.is_busy() != st.session_state.fetch_busy:
        # What has arrived is offered once the page is redrawn.
        st.rerun()
    for one in found:
        job = fetch_jobs.job_of(one.name)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"{escaped(one.name)}: {escaped(one.why)}")
            if one.fetches and (job is None or job.is_over):
                _fetch_button(one)
        if job is not None:
            _show(job)


def _fetch_button(one: fetch_jobs.Missing) -> None:
    if st.button(
        f"Fetch ({one.fetches})",
        key=f"fetch_{one.name}",
        icon=":material/download:",
        disabled=not may_change(),
        help=None if may_change() else "Only the owner of this dashboard can do this.",
    ):
        try:
            fetch_jobs.submit(one.name)
        except MmragError as error:
            show_error(error)
        else:
            st.rerun()


def _show(job: Job) -> None:
    if job.error:
        show_error(MmragError(job.error))
    if job.is_over:
        return
    progress = job.progress
    done, total = (progress.done, progress.total) if progress else (0, 0)
    words = "Asking the hub …" if job.state == "running" else "Waiting for the other one …"
    if progress:
        of = f" of {total / 1e6:,.0f}" if total else ""
        words = f"{progress.stage}: {done / 1e6:,.0f}{of} MB"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(min(1.0, done / total) if total else 0.0, text=escaped(words))
        st.button(
            "Cancel",
            key=f"stop_{job.job_id}",
            icon=":material/stop:",
            on_click=fetch_jobs.queue().cancel,
            args=(job.job_id,),
        )
