"""Measuring this machine, and uploading results of others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from mmrag import config
from mmrag.errors import MmragError
from mmrag.measurements import read_results, save_result
from mmrag.system.jobs import Job
from mmrag.ui import speed_charts, speed_jobs
from mmrag.ui.doors import may_change, only_owners
from mmrag.ui.navigation import show_error
from mmrag.ui.tables import guarded


def uploads() -> Path:
    """The folder for results of other machines."""
    return config.home() / "bench"


def measuring_panel() -> None:
    """Draw the button, the measurement in progress, and the last one."""
    st.header("Measure this machine", anchor=False)
    st.caption(
        "A short measurement with the encoder demo; it takes a few minutes. Leave the machine "
        "alone meanwhile. It continues when you leave this page, and its result stays here."
    )
    busy = st.session_state.speed_busy = speed_jobs.is_busy()
    st.button(
        "Measure this machine",
        icon=":material/speed:",
        disabled=busy or not may_change(),
        on_click=speed_jobs.submit,
    )
    st.fragment(_watch, run_every=1.0 if busy else 10.0)()
    found = speed_jobs.last()
    if found is None:
        return
    when = found["when"][:16].replace("T", " ")
    st.caption(f"Measured {when} UTC, as a quick check that it works.")
    rows = [
        {
            "what": speed_charts.readable(row["name"]),
            "value": round(row["value"], 1),
            "unit": row["unit"],
            "of the limit": speed_charts.percent(row["figures"].get("limit_share")),
            "× tutorial": speed_charts.times(row["figures"].get("times_tutorial")),
        }
        for row in found["rows"]
    ]
    st.dataframe(guarded(rows), hide_index=True, width="content")


def _watch() -> None:
    if speed_jobs.is_busy() != st.session_state.speed_busy:
        # The interval of a fragment is set where the page draws it.
        st.rerun()
    jobs = speed_jobs.queue().jobs()
    if jobs:
        _show(jobs[0])


def _show(job: Job) -> None:
    if job.state == "done":
        return
    with st.container(border=True):
        st.text(f"{job.title}: {job.state}")
        if job.progress is not None and not job.is_over:
            st.progress(job.progress.done / job.progress.total, text=job.progress.stage)
        if job.error:
            show_error(MmragError(job.error))
        if not job.is_over:
            st.button(
                "Cancel",
                key=f"cancel_{job.job_id}",
                icon=":material/stop:",
                on_click=speed_jobs.queue().cancel,
                args=(job.job_id,),
            )


def upload_panel() -> bool:
    """Draw the form for results of other machines; return whether one was added."""
    with st.expander("Add a result of another machine", icon=":material/upload:", key="add"):
        st.caption("`mmrag bench --save` writes such a file there; it says where.")
        with st.form("add_result", border=False):
            file = st.file_uploader("Result file (JSON)", type=["json"], key="result_file")
            sent = st.form_submit_button("Add", icon=":material/add:")
        if sent and file is not None:
            try:
                only_owners("Adding results")
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "result.json"
                    path.write_bytes(file.getbuffer())
                    result = read_results(path)
                    uploads().mkdir(parents=True, exist_ok=True)
                    save_result(result, uploads())
            except MmragError as error:
                show_error(MmragError(str(error).replace(f"{path}", "The file")))
                return False
            return True
    return False
