"""Jobs kept in the run store until they are over, and offered again after a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import streamlit as st

from mmrag.errors import MmragError
from mmrag.runs.job_rows import JobRows, LeftJob
from mmrag.system.jobs import JobQueue, State, Work
from mmrag.ui import resources
from mmrag.ui.doors import may_change, only_owners
from mmrag.ui.navigation import show_error


def submit(queue: JobQueue, kind: str, plan: Any, work: Work) -> int:
    """Put a plan (a dataclass with a `title`) into a queue; an equal plan only once.

    Returns:
        The job's number.
    """

    def keep() -> Callable[[State], None]:
        try:
            rows = _rows()
            row_id = rows.add(kind, plan.title(), asdict(plan))
        except MmragError as error:
            logging.getLogger(__name__).warning("A job will not outlive this process: %s", error)
            return lambda state: None
        return lambda state: rows.running(row_id) if state == "running" else rows.over(row_id)

    return queue.submit(plan.title(), work, (kind, plan), keep)


def offer_left(kind: str, again: Callable[[dict[str, Any]], object]) -> None:
    """Draw the jobs of a kind that an ended dashboard left.

    Args:
        kind: as for `submit`.
        again: submits a plan anew.
    """
    try:
        left = [job for job in _left() if job.kind == kind]
    except MmragError as error:
        show_error(error)
        return
    for job in left:
        with st.container(border=True):
            was = "was waiting" if job.state == "waiting" else "was running"
            st.markdown(f":material/restart_alt: Left when the dashboard ended; it {was}")
            st.text(job.title)
            if not may_change():
                continue
            with st.container(horizontal=True):
                st.button(
                    "Go on",
                    icon=":material/play_arrow:",
                    key=f"again_{job.row_id}",
                    on_click=_go_on,
                    args=(job, again),
                )
                st.button("Forget it", key=f"forget_{job.row_id}", on_click=_forget, args=(job,))


@st.cache_data(ttl=5, show_spinner=False)
def _left() -> list[LeftJob]:
    return _rows().left()


def _rows() -> JobRows:
    return JobRows(resources.runs().database)


def _go_on(job: LeftJob, again: Callable[[dict[str, Any]], object]) -> None:
    try:
        again(job.plan)
    # A plan of another version, or one that this visitor may not make.
    except (MmragError, TypeError, KeyError) as error:
        show_error(error)
        return
    _forget(job)


def _forget(job: LeftJob) -> None:
    only_owners("Forgetting a job")
    _rows().over(job.row_id)
    _left.clear()
