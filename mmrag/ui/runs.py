"""Runs: numbers with intervals, what differs by more than chance, and for which queries."""

from __future__ import annotations

import tempfile
from pathlib import Path

import altair as alt
import pandas as pd
import streamlit as st

from mmrag.errors import MmragError
from mmrag.evaluation.eval_set import EvalSet
from mmrag.evaluation.known_sets import known_eval_sets
from mmrag.runs import frames
from mmrag.runs.compare import Entry, RunTable, run_table, stage_entries
from mmrag.runs.exports import FORMATS, export_run, open_eval_set
from mmrag.runs.importing import import_run
from mmrag.runs.run import Run
from mmrag.thumbnails import data_url
from mmrag.ui import resources, url
from mmrag.ui.navigation import show_error
from mmrag.ui.picture_grid import Tile, picture_grid

SHOWN_METRICS = 4


@st.cache_resource(max_entries=24, show_spinner="Reading the run …")
def _load(run_id: str, finished: str | None) -> Run:
    return resources.runs().load(run_id)


def main() -> None:
    """The page."""
    runs = resources.runs().runs()
    if not runs:
        st.info("No runs yet. Start one on the Evaluate page, or run `make demo`.")
        _import()
        return
    chosen = _choose(runs)
    if chosen:
        try:
            _compare(chosen)
        except MmragError as error:
            show_error(error)
    with st.expander(f"All runs ({len(runs)})", icon=":material/list:"):
        _list(runs)
    _import()


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
        url.before_many("runs", list(of_set), _suggested(list(of_set.values())))
        st.multiselect(
            "Runs to compare",
            list(of_set),
            format_func=lambda i: f"{of_set[i].name} · {of_set[i].created[:16]}",
            key="runs",
            help="The first one is what the others are compared with.",
        )
        ids = url.after_many("runs")
    return [_load(i, of_set[i].finished) for i in ids]


def _suggested(runs: list[Run]) -> list[str]:
    """The latest run of each name, at most four, in the order they were made."""
    latest: dict[str, Run] = {}
    for run in runs:
        latest.setdefault(run.name, run)
    return [run.run_id for run in sorted(latest.values(), key=lambda r: r.created)][:4]


def _compare(runs: list[Run]) -> None:
    entries = [Entry(run, run.stage) for run in runs]
    if len(runs) == 1:
        entries = stage_entries(runs[0])
    found = run_table(entries)
    metrics = (
        st.pills(
            "Metrics",
            found.metrics,
            default=_first_metrics(found),
            selection_mode="multi",
            key=f"metrics_{runs[0].eval_set.name}",
        )
        or found.metrics[:1]
    )
    st.dataframe(frames.table(found, metrics), hide_index=True, width="stretch")
    st.caption(
        "Mean with 95 % bootstrap interval; Δ against the first run, p by paired randomisation "
        "test, corrected by Holm's method over everything in the table."
    )
    for note in [*found.notes, *(f"{run.name}: {note}" for run in runs for note in run.notes)]:
        st.text(note)
    metric = metrics[0]
    curve, by_category, cost, queries, ablations = st.tabs(
        ["Hit rate over k", "Categories", "Gain and cost", "Queries", "Ablations"]
    )
    eval_set = _eval_set(runs[0])
    with curve:
        _curves(entries, eval_set)
    with by_category:
        _categories(entries, metric)
    with cost:
        _trade_off(found, metric)
    with queries:
        _queries(entries, metric, eval_set)
    with ablations:
        _ablations(runs)
    _export(runs)


def _first_metrics(found: RunTable) -> list[str]:
    wanted = [found.primary_metric, "hit_rate@1", "hit_rate@10", "nDCG@10", "RR", "mAP@10"]
    return [m for m in dict.fromkeys(wanted) if m in found.metrics][:SHOWN_METRICS]


def _eval_set(run: Run) -> EvalSet | None:
    known = known_eval_sets().get(Path(run.eval_set.folder).name)
    try:
        if known is not None and str(known.absolute()) == run.eval_set.folder:
            return resources.eval_set(known.name)
        return open_eval_set(run)
    except MmragError as error:
        show_error(error)
        return None


def _curves(entries: list[Entry], eval_set: EvalSet | None) -> None:
    if eval_set is None:
        return
    frame = frames.curves(entries, eval_set)
    if frame.empty:
        st.caption("No query was scored.")
        return
    lines = alt.Chart(frame).encode(
        x=alt.X("k:Q", title="k, results looked at", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("run:N", title=None, sort=None, legend=alt.Legend(orient="top")),
    )
    scale = alt.Scale(zero=False, domainMax=1)
    chart = lines.mark_area(opacity=0.15).encode(
        y=alt.Y("low:Q", scale=scale, title="hit rate"), y2="high:Q"
    ) + lines.mark_line().encode(
        y="hit rate:Q", tooltip=["run:N", "k:Q", alt.Tooltip("hit rate:Q", format=".3f")]
    )
    st.altair_chart(chart.properties(height=340), width="stretch")


def _categories(entries: list[Entry], metric: str) -> None:
    frame = frames.categories(entries, metric)
    if frame.empty:
        st.caption("The queries have no categories.")
        return
    base = alt.Chart(frame).encode(
        y=alt.Y("category:N", title=None, sort=None),
        yOffset=alt.YOffset("run:N", sort=None),
        color=alt.Color("run:N", title=None, sort=None, legend=alt.Legend(orient="top")),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        x=alt.X("value:Q", title=metric),
        tooltip=["run:N", "category:N", alt.Tooltip("value:Q", format=".3f")],
    )
    whiskers = base.mark_rule(color="#808080", strokeWidth=1.5).encode(
        x="low:Q", x2="high:Q", color=alt.value("#808080")
    )
    height = max(160, 18 * len(frame))
    st.altair_chart((bars + whiskers).properties(height=height), width="stretch")


def _trade_off(found: RunTable, metric: str) -> None:
    frame = frames.trade_off(found, metric)
    if frame.empty:
        st.caption("None of these runs was timed here.")
        return
    base = alt.Chart(frame).encode(
        x=alt.X("p50 ms:Q", title="milliseconds per query (median)", scale=alt.Scale(type="log")),
        color=alt.Color("run:N", title=None, sort=None, legend=alt.Legend(orient="top")),
    )
    points = base.mark_circle(opacity=0.9).encode(
        y=alt.Y("value:Q", title=metric, scale=alt.Scale(zero=False)),
        size=alt.Size("USD per query:Q", title="USD per query", scale=alt.Scale(range=[120, 900])),
        tooltip=[
            "run:N",
            alt.Tooltip("value:Q", format=".3f"),
            alt.Tooltip("p50 ms:Q", format=".1f"),
            alt.Tooltip("USD per query:Q", format=".5f"),
        ],
    )
    bars = base.mark_rule().encode(y="low:Q", y2="high:Q")
    st.altair_chart((bars + points).properties(height=340), width="stretch")


def _queries(entries: list[Entry], metric: str, eval_set: EvalSet | None) -> None:
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
        changed = changed.reset_index(drop=True).assign(place=lambda f: f.index)
        bars = (
            alt.Chart(changed)
            .mark_bar()
            .encode(
                x=alt.X("place:O", title="queries, by change", axis=None),
                y=alt.Y("change:Q", title=f"change in {metric}"),
                color=alt.condition("datum.change > 0", alt.value("#2a9d70"), alt.value("#d1495b")),
                tooltip=["query:N", "category:N", alt.Tooltip("change:Q", format="+.3f")],
            )
            .properties(height=220)
        )
        st.altair_chart(bars, width="stretch")
    order = pd.concat([changed["query"], frame[frame["change"] == 0]["query"]])
    if eval_set is not None:
        _drill([entries[a], entries[b]], eval_set, list(order))


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
        st.text(query.text or "")
    paths = {image.image_id: image for image in eval_set.images}
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
                for rank, image_id in enumerate(one.image_ids[:8] if one else [], start=1)
            ]
            picture_grid(tiles, key=f"drill_{place}")
            if one and one.details.get("explanation"):
                st.text(str(one.details["explanation"]))
    name = Path(eval_set.folder).name
    if name in known_eval_sets():
        st.page_link(
            st.Page(resources.page("search"), url_path="search"),
            label="Search this query again",
            icon=":material/image_search:",
            query_params={"set": name, "query": query_id},
        )


def _ablations(runs: list[Run]) -> None:
    shown = False
    for run in runs:
        for name, result in run.ablations.items():
            shown = True
            st.text(f"{run.name}: {name}")
            st.json(result, expanded=1)
    if not shown:
        st.caption("These runs have none; choose them under “Also measure” on the Evaluate page.")


def _export(runs: list[Run]) -> None:
    with st.expander("Export", icon=":material/download:"):
        labels = [f"{run.name} · {run.run_id}" for run in runs]
        with st.container(horizontal=True, vertical_alignment="bottom"):
            at = st.selectbox(
                "Run", range(len(runs)), format_func=labels.__getitem__, key="export_run"
            )
            kind = st.selectbox("Format", FORMATS, index=FORMATS.index("html"), key="export_as")
            if st.button("Prepare", icon=":material/build:"):
                with st.spinner("Writing …"):
                    st.session_state.export = export_run(runs[at], kind)
        for file, data in st.session_state.get("export", []):
            st.download_button(f"Download {file}", data, file, on_click="ignore")


def _list(runs: list[Run]) -> None:
    st.dataframe(
        frames.overview(runs),
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
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by_id = {run.run_id: run for run in runs}
        doomed = st.selectbox(
            "Remove",
            list(by_id),
            index=None,
            format_func=lambda i: f"{by_id[i].name} · {i}",
            key="remove_run",
            width=360,
        )
        if doomed and st.button("Remove for good", icon=":material/delete:"):
            resources.runs().delete(doomed)
            st.rerun()


def _import() -> None:
    with st.expander("Add a run from elsewhere", icon=":material/upload:"):
        sets = known_eval_sets()
        if not sets:
            st.caption("There is no eval set that it could answer.")
            return
        with st.form("import_run", border=False):
            name = st.selectbox("Eval set", list(sets), key="import_set")
            file = st.file_uploader("TREC run file, or a submission as JSON", key="import_file")
            sent = st.form_submit_button("Add", icon=":material/add:")
        if not sent or file is None:
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "run"
                path.write_bytes(file.getvalue())
                run = import_run(path, resources.eval_set(name), resources.runs())
        except MmragError as error:
            show_error(error)
            return
        st.success(f"Added as run {run.run_id}.")


main()
