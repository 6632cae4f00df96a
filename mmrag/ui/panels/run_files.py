"""Export, import and removal of runs and judgments."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from mmrag.errors import MmragError
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.galleries.uploads import safe_name
from mmrag.labels.trust import note_labels
from mmrag.runs import frames
from mmrag.runs.exports import FORMATS, export_run
from mmrag.runs.importing import import_run
from mmrag.runs.judgments import (
    import_qrels,
    is_from_elsewhere,
    remove_judgments,
    rescore,
    uploaded_judgments,
)
from mmrag.runs.run import Run
from mmrag.ui import resources
from mmrag.ui.doors import not_read_only, only_owners
from mmrag.ui.navigation import show_error
from mmrag.ui.tables import guarded


def export_panel(
    runs: list[Run],
    table: Callable[[], str],
    charts: Callable[[], bytes],
    report: Callable[[], bytes],
) -> None:
    """Draw the downloads: the comparison, its table and charts, and one run in any format."""
    with st.expander("Export", icon=":material/download:", key="export_panel"):
        with st.container(horizontal=True):
            st.download_button(
                "Comparison as HTML",
                report,
                "comparison.html",
                "text/html",
                on_click="ignore",
                key="comparison_html",
                help="Table, charts, categories and the queries that changed most, on one page.",
            )
            st.download_button(
                "Table as CSV", table, "runs.csv", "text/csv", on_click="ignore", key="table_csv"
            )
            st.download_button(
                "Charts as SVG",
                charts,
                "charts.zip",
                "application/zip",
                on_click="ignore",
                key="charts_zip",
                help="All charts of this page, each as SVG and as Vega-Lite specification.",
            )
        labels = [f"{run.name} · {run.run_id}" for run in runs]
        with st.container(horizontal=True, vertical_alignment="bottom"):
            at = st.selectbox(
                "Run", range(len(runs)), format_func=labels.__getitem__, key="export_run"
            )
            kind = st.selectbox("Format", FORMATS, index=FORMATS.index("html"), key="export_as")
            if st.button("Prepare", icon=":material/build:"):
                with st.spinner("Writing …"):
                    st.session_state.export = _exported(runs[at], kind)
        for file, data in st.session_state.get("export", []):
            st.download_button(f"Download {file}", data, file, on_click="ignore")


def _exported(run: Run, kind: str) -> list[tuple[str, bytes]]:
    try:
        return export_run(run, kind)
    except MmragError as error:
        show_error(error)
        return []


def list_panel(runs: list[Run]) -> None:
    """Draw all runs in a table that can be narrowed, and the buttons to remove some."""
    with st.expander(f"All runs ({len(runs)})", icon=":material/list:", key="all_runs"):
        _table(runs)
        removable = {
            f"run/{run.run_id}": f"{run.name} · {run.eval_set.name} · {run.run_id}"
            for run in runs
            if is_from_elsewhere(run)
        } | {f"set/{name}": f"Judgments {name}" for name in uploaded_judgments()}
        if not removable:
            return
        with st.container(horizontal=True, vertical_alignment="bottom"):
            doomed = st.selectbox(
                "Remove what was uploaded",
                list(removable),
                index=None,
                format_func=lambda key: removable.get(key, key),
                placeholder="a run or judgments",
                key="remove",
                width=420,
            )
            if st.button("Remove", icon=":material/delete:", disabled=doomed is None) and doomed:
                _remove_dialog(doomed, removable[doomed], runs)


@st.fragment
def _table(runs: list[Run]) -> None:
    chosen, words = _filters(frames.facets(runs))
    found = frames.narrow(runs, chosen, words)
    if not found:
        st.info("No matching runs. Remove a filter or a search word.", icon=":material/search_off:")
        return
    if len(found) < len(runs):
        st.caption(f"{len(found):,} of {len(runs):,}")
    st.dataframe(
        guarded(frames.overview(found)),
        hide_index=True,
        width="stretch",
        column_config={
            "created": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            "value": st.column_config.ProgressColumn(format="%.3f", min_value=0, max_value=1),
            "low": st.column_config.NumberColumn(format="%.3f"),
            "high": st.column_config.NumberColumn(format="%.3f"),
            "p50 ms": st.column_config.NumberColumn(format="%.1f"),
            "p95 ms": st.column_config.NumberColumn(format="%.1f"),
            "cost USD": st.column_config.NumberColumn(format="%.4f"),
        },
    )


def _filters(facets: dict[str, list[str]]) -> tuple[dict[str, str | None], str]:
    """Draw the filters in a row; return the value of each facet, and the words."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Find",
            key="list_find",
            bind="query-params",
            icon=":material/search:",
            placeholder="words in names and notes",
            max_chars=200,
            width=260,
        )
        chosen = {
            name: st.selectbox(
                name.capitalize(),
                values,
                index=None,
                placeholder="any",
                key=f"list_{name.replace(' ', '_')}",
                bind="query-params",
                width=150,
            )
            for name, values in facets.items()
        }
    return chosen, words or ""


@st.dialog("Remove for good?")
def _remove_dialog(doomed: str, title: str, runs: list[Run]) -> None:
    kind, _, name = doomed.partition("/")
    st.text(title)
    scored = [run for run in runs if kind == "set" and run.eval_set.name == name]
    with_it = [run for run in scored if is_from_elsewhere(run)]
    if with_it:
        st.text(f"The {len(with_it)} uploaded or re-scored runs that were scored with it go too.")
    if len(scored) > len(with_it):
        st.text(
            f"{len(scored) - len(with_it)} evaluations stay, but their queries cannot be shown "
            "any more."
        )
    if st.button("Remove it", type="primary", icon=":material/delete:"):
        try:
            only_owners("Deleting")
            if kind == "set":
                remove_judgments(name, resources.runs())
            else:
                resources.runs().delete(name)
        except MmragError as error:
            show_error(error)
            return
        st.rerun()


def import_panel(runs: list[Run]) -> None:
    """Draw the forms that add a run or judgments."""
    known = known_eval_sets()
    sets = list(known)
    if not sets:
        return
    # An addition most likely belongs to the runs shown.
    shown = runs[0].eval_set.folder if runs else ""
    first = next((n for n, name in enumerate(sets) if str(known[name].absolute()) == shown), 0)
    with st.expander("Add a run from elsewhere", icon=":material/upload:", key="add_run"):
        with st.form("import_run", border=False):
            name = st.selectbox("Eval set", sets, first, key="import_set")
            file = st.file_uploader("TREC run file, or a submission as JSON", key="import_file")
            sent = st.form_submit_button("Add", icon=":material/add:")
        if sent and file is not None:
            _add("run", partial(_add_run, name, file))
        _say_added("run")
    with st.expander("Add judgments (qrels)", icon=":material/fact_check:", key="add_judgments"):
        st.caption(
            "They become an eval set of their own, with the same pictures and queries, and the "
            "runs chosen here are scored with them."
        )
        name = st.selectbox("Eval set", sets, first, key="judged_set")
        folder = str(known[name].absolute())
        scorable = {
            run.run_id: f"{run.name} · {run.created[:16].replace('T', ' ')}"
            for run in runs
            if run.eval_set.folder == folder and run.summaries
        }
        with st.form("import_qrels", border=False):
            file = st.file_uploader("TREC or BEIR qrels file", key="qrels_file")
            title = st.text_input(
                "Name of the judgments",
                placeholder="second-assessor",
                max_chars=60,
                key="judgments_name",
            )
            chosen = st.multiselect(
                "Runs to score with them",
                list(scorable),
                default=list(scorable)[:4],
                format_func=lambda run_id: scorable.get(run_id, run_id),
            )
            sent = st.form_submit_button("Add judgments", icon=":material/add:")
        if sent and file is not None:
            _add("judgments", partial(_add_judgments, name, file, title, chosen))
        _say_added("judgments")


def _add(what: str, add: Callable[[], str]) -> None:
    """Add a file, and redraw the page with it."""
    try:
        not_read_only("Adding")
        with st.spinner("Scoring …"):
            st.session_state.added = what, add()
    except MmragError as error:
        show_error(error)
        return
    st.rerun()


def _say_added(what: str) -> None:
    """Confirm below the button, once: nobody looks further up the page."""
    if st.session_state.get("added", ("", ""))[0] == what:
        with st.container(border=True):
            st.text(st.session_state.pop("added")[1])


def _add_run(name: str, file: UploadedFile) -> str:
    with _as_file(file) as path:
        run = import_run(path, resources.eval_set(name), resources.runs())
        note_labels(run, resources.eval_set(name))
        resources.runs().save(run)
    # The page shows it beside the chosen runs.
    if "runs" in st.session_state and run.eval_set.name == st.session_state.get("runs_set"):
        st.session_state.next_runs = [*st.session_state.runs, run.run_id]
    return f"Added as run {run.run_id}."


def _add_judgments(name: str, file: UploadedFile, title: str, chosen: list[str]) -> str:
    with _as_file(file) as path:
        judged, notes = import_qrels(path, resources.eval_set(name), title)
    store = resources.runs()
    for run_id in sorted(chosen):
        rescore(store.load(run_id), judged, store)
    count = "1 run is" if len(chosen) == 1 else f"{len(chosen)} runs are"
    scored = f"; {count} scored with them" if chosen else ""
    return " ".join([f"Added as eval set {judged.name}{scored}.", *notes])


@contextmanager
def _as_file(file: UploadedFile) -> Iterator[Path]:
    """Give the upload as a temporary file; errors name it as its owner does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / safe_name(file.name)
        path.write_bytes(file.getbuffer())
        try:
            yield path
        except MmragError as error:
            raise MmragError(str(error).replace(f"{folder}/", "")) from error
