"""Runs: numbers with intervals, what differs by more than chance, and for which queries."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import altair as alt
import pandas as pd
import streamlit as st

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.metrics.statistics import smallest_p
from mmrag.metrics.table import find_metric, leading_metrics
from mmrag.runs import frames
from mmrag.runs.ablation_tables import ablation_tables
from mmrag.runs.compare import Entry, RunTable, run_table, told_apart
from mmrag.runs.provenance import open_eval_set
from mmrag.runs.published import beside
from mmrag.runs.run import Run
from mmrag.system.words import counted
from mmrag.ui import resources, run_charts, url
from mmrag.ui.comparison_report import comparison_report
from mmrag.ui.markdown import escaped
from mmrag.ui.navigation import show_error
from mmrag.ui.panels.run_choice import chosen_entries
from mmrag.ui.panels.run_files import export_panel, import_panel, list_panel
from mmrag.ui.panels.run_notes import note_panel
from mmrag.ui.panels.run_overlap import overlap_panel
from mmrag.ui.panels.run_queries import queries_panel
from mmrag.ui.spent import spent
from mmrag.ui.tables import guarded

SHOWN_METRICS = 3
# Notes shown at once; warnings come first.
NOTES = 3
TABS = {
    "curves": "Hit rate over k",
    "categories": "Categories",
    "cost": "Gain and cost",
    "queries": "Queries",
    "ablations": "Ablations",
    "overlap": "Overlap",
}
Chart = alt.Chart | alt.LayerChart


@st.cache_resource(max_entries=24, show_spinner="Reading the run …")
def _load(run_id: str, finished: str | None, notes: tuple[str, ...]) -> Run:
    return resources.runs().load(run_id)


@st.cache_resource(max_entries=24, show_spinner="Comparing …")
def _table(key: tuple[str, ...], _entries: list[Entry], metrics: tuple[str, ...]) -> RunTable:
    return run_table(_entries, metrics)


@st.cache_data(max_entries=24, show_spinner="Drawing the curves …")
def _curves(key: tuple[str, ...], _entries: list[Entry], _eval_set: EvalSet) -> pd.DataFrame:
    return frames.curves(_entries, _eval_set)


def main() -> None:
    """Draw the page."""
    runs = resources.runs().runs()
    if runs:
        chosen = _choose(runs)
        if chosen:
            try:
                _compare(chosen)
            except MmragError as error:
                show_error(error)
        note_panel(chosen)
        list_panel(runs)
    else:
        st.info("No runs yet. Start one on the Evaluate page, or run `mmrag demo`.")
    import_panel(runs)


def _choose(runs: list[Run]) -> list[Run]:
    sets = list(dict.fromkeys(run.eval_set.name for run in runs))
    by_id = {run.run_id: run for run in runs}
    linked = [by_id[i].eval_set.name for i in st.query_params.get_all("runs") if i in by_id]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Eval set",
            sets,
            index=sets.index(linked[0]) if linked else 0,
            key="runs_set",
            width=260,
        )
        of_set = {run.run_id: run for run in runs if run.eval_set.name == name and run.summaries}
        suggested = _suggested(list(of_set.values()))
        chosen = url.before_many("runs", list(of_set), suggested)
        if "next_runs" in st.session_state:
            added = st.session_state.pop("next_runs")
            chosen = st.session_state.runs = [i for i in added if i in of_set]
        st.multiselect(
            "Runs to compare",
            list(of_set),
            default=chosen,
            format_func=_titles(list(of_set.values())).__getitem__,
            key="runs",
            wrap=True,
            help="The first one is what the others are compared with.",
        )
        ids = url.after_many("runs", suggested, changing=True)
    return [_load(i, of_set[i].finished, tuple(of_set[i].notes)) for i in ids]


def _titles(runs: list[Run]) -> dict[str, str]:
    """Each run's label in the field, all distinct, each with its date."""
    titles = {}
    for entry in told_apart([Entry(run, run.stage) for run in runs]):
        date = entry.run.created[:16].replace("T", " ")
        titles[entry.run.run_id] = entry.label if date in entry.label else f"{entry.label} · {date}"
    return titles


def _suggested(runs: list[Run]) -> list[str]:
    """The latest run of each configuration, at most four, in the order they were made."""
    latest: dict[tuple[object, ...], Run] = {}
    for run in runs:
        configuration = run.name, *(run.config.get(part) for part in ("k", "rerank_k", "limit"))
        latest.setdefault(configuration, run)
    return [run.run_id for run in sorted(latest.values(), key=lambda r: r.created)][:4]


def _compare(runs: list[Run]) -> None:
    entries = chosen_entries(runs)
    if not any(run.summary.queries for run in runs):
        st.caption("No query is judged, so there are no metrics.")
        overlap_panel(entries, _eval_set(runs[0]))
        return
    key = tuple(one.key for one in entries)
    shared = [m for m in entries[0].scores.values if all(m in e.scores.values for e in entries)]
    first = _first_metrics(runs[0].eval_set.primary_metric, shared)
    metrics = (
        st.multiselect(
            "Metrics",
            shared,
            default=first,
            key=f"metrics_{runs[0].eval_set.name}",
            help="The charts show the first one.",
        )
        or first[:1]
    )
    found = _table(key, entries, tuple(metrics))
    shown = list(dict.fromkeys([*metrics, *found.metrics]))
    for run in runs:
        if run.warning:
            with st.container(border=True):
                st.markdown(":material/error: **Not to be relied on**")
                st.text(f"{run.name}: {run.warning}")
    milliseconds = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(
        guarded(frames.table(found, shown)),
        hide_index=True,
        width="stretch",
        column_config={
            "p50 ms": milliseconds,
            "p95 ms": milliseconds,
            "USD per query": st.column_config.NumberColumn(format="%.5f"),
            **{
                name: st.column_config.TextColumn(help=entry.help)
                for name in shown
                if (entry := find_metric(name))
            },
        },
    )
    words = "Mean with 95 % bootstrap interval."
    if found.tests:
        over = f"{found.tests} differences" if found.tests > 1 else "one difference"
        words = (
            "Mean with 95 % bootstrap interval; Δ against the first run, p by paired randomisation "
            f"test, corrected by Holm's method over the {over} shown. {smallest_p(found.tests)}"
        )
    st.caption(words)
    notes = [f"{run.name}: protocol {run.protocol.title}." for run in runs if run.protocol]
    notes += [f"{run.name}: {run.rewriting}." for run in runs if run.rewriting]
    notes += [*found.notes, *(f"{run.name}: {note}" for run in runs for note in run.notes)]
    notes += [f"{run.name}: {one.sentence}." for run in runs for one in beside(run)]
    notes += [f"{run.name}: {spent(run.usage)}" for run in runs if run.usage.requests]
    if notes:
        st.text("\n".join(notes[:NOTES]))
    if notes[NOTES:]:
        with st.expander(counted(len(notes) - NOTES, "more note"), icon=":material/notes:"):
            st.text("\n".join(notes[NOTES:]))
    metric = metrics[0]
    eval_set = _eval_set(runs[0])
    curves, categories, cost, queries, ablations, overlap = url.tabs("show", TABS)
    if curves.open:
        with curves:
            _draw(_hit_rates(key, entries, eval_set), "No query was scored.")
    if categories.open:
        with categories:
            _draw(_by_category(entries, metric), "The queries have no categories.")
            table = frames.category_table(entries, metric)
            if not table.empty:
                st.dataframe(guarded(table), hide_index=True, width="content")
    if cost.open:
        with cost:
            _draw(_trade_off(found, metric), "None of these runs was timed here.")
    if queries.open:
        with queries:
            queries_panel(entries, metric, eval_set)
    if ablations.open:
        with ablations:
            _ablations(entries, metrics)
    if overlap.open:
        with overlap:
            overlap_panel(entries, eval_set)
    charts = partial(_all_charts, key, entries, found, metric, eval_set)
    export_panel(
        runs,
        partial(_as_csv, found, shown),
        lambda: run_charts.as_zip(charts()),
        lambda: comparison_report(entries, found, shown, words, charts()),
    )


def _as_csv(found: RunTable, metrics: list[str]) -> str:
    return frames.as_csv(frames.numbers(found, metrics))


def _draw(chart: Chart | None, otherwise: str) -> None:
    if chart is None:
        st.caption(otherwise)
    else:
        st.altair_chart(chart, width="stretch")


def _hit_rates(
    key: tuple[str, ...], entries: list[Entry], eval_set: EvalSet | None
) -> Chart | None:
    if eval_set is None:
        return None
    frame = _curves(key, entries, eval_set)
    return None if frame.empty else run_charts.hit_rates(frame)


def _by_category(entries: list[Entry], metric: str) -> Chart | None:
    frame = frames.categories(entries, metric)
    return None if frame.empty else run_charts.category_bars(frame, metric)


def _trade_off(found: RunTable, metric: str) -> Chart | None:
    frame = frames.trade_off(found, metric)
    return None if frame.empty else run_charts.trade_off(frame, metric)


def _all_charts(
    key: tuple[str, ...],
    entries: list[Entry],
    found: RunTable,
    metric: str,
    eval_set: EvalSet | None,
) -> dict[str, Chart]:
    """All charts of the tabs; for queries, the changes from the first run to each other one."""
    charts: dict[str, Chart | None] = {
        "hit rate over k": _hit_rates(key, entries, eval_set),
        f"{metric} by category": _by_category(entries, metric),
        f"{metric} and cost": _trade_off(found, metric),
    }
    for number, entry in enumerate(entries[1:], start=2):
        frame = frames.query_differences(entries[0], entry, metric)
        changed = frame[frame["change"] != 0]
        if not changed.empty:
            charts[f"{metric} query by query 1 to {number}"] = run_charts.query_changes(
                changed, metric
            )
    return {title: chart for title, chart in charts.items() if chart}


def _first_metrics(primary: str, shared: list[str]) -> list[str]:
    wanted = [primary, *leading_metrics(), *shared]
    return [m for m in dict.fromkeys(wanted) if m in shared][:SHOWN_METRICS]


def _eval_set(run: Run) -> EvalSet | None:
    known = known_eval_sets().get(Path(run.eval_set.folder).name)
    try:
        if known is not None and str(known.absolute()) == run.eval_set.folder:
            return resources.eval_set(known.name)
        return open_eval_set(run)
    except MmragError as error:
        show_error(error)
        return None


def _ablations(entries: list[Entry], metrics: list[str]) -> None:
    shown = False
    for entry in {one.run.run_id: one for one in entries}.values():
        for title, sentence, table in ablation_tables(entry.run, metrics):
            shown = True
            st.text(f"{entry.label}: {title}")
            if sentence:
                st.caption(escaped(sentence))
            if not table.empty:
                number = st.column_config.NumberColumn(format="%.3f")
                columns = table.select_dtypes("number").columns
                st.dataframe(
                    guarded(table),
                    hide_index=True,
                    width="content",
                    column_config=dict.fromkeys(columns, number),
                )
                chart = run_charts.ablation_bars(table, title)
                if chart is not None:
                    st.altair_chart(chart, width="stretch")
    if not shown:
        st.caption("These runs have none; choose them under “Also measure” on the Evaluate page.")


url.run_page("runs", main)
