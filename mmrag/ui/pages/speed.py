"""Speed: how quick encoding, search and queries are, on which machine, and what that costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from mmrag.errors import MmragError
from mmrag.measurements import BenchFile, read_folder, results_frame
from mmrag.ui.navigation import show_error
from mmrag.ui.tables import guarded

QUICK = ["--quick", "--encoder", "demo", "--only", "encode or query", "--json"]
LIMIT_SECONDS = 900


@st.cache_data(ttl=30, show_spinner=False)
def _frame() -> tuple[pd.DataFrame, list[str], list[str]]:
    found, unreadable = read_folder()
    files = [file for file in found if not file.quick]
    return results_frame(files), [_title(file) for file in files], unreadable


def main() -> None:
    """The page."""
    frame, titles, unreadable = _frame()
    for problem in unreadable:
        show_error(MmragError(f"Left out: {problem}"))
    _measure_here()
    if frame.empty:
        st.info(
            "No results are kept yet. `mmrag bench --save` measures this machine "
            "(an hour or two, --encoder demo a quarter of one) and keeps the result under "
            "bench/results."
        )
        return
    st.text("Kept results: " + " · ".join(titles))
    latest = frame.sort_values("datetime").drop_duplicates(
        ["machine", "group", "name"], keep="last"
    )
    encode, decode, cost, search, query, history = st.tabs(
        ["Encoding", "Decoding", "Hours and money", "Search", "A query", "History"]
    )
    with encode:
        _encoding(latest)
    with decode:
        _decoding(latest)
    with cost:
        _cost(latest)
    with search:
        _search(latest)
    with query:
        _query(latest)
    with history:
        _history(frame)


def _title(file: BenchFile) -> str:
    changed = " with changes" if file.dirty else ""
    return f"{file.machine_name}, {file.commit[:8]}{changed}, {file.datetime[:10]}"


def _measure_here() -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        clicked = st.button("Measure this machine", icon=":material/speed:", type="primary")
        st.caption("The demo encoder, a minute or two; leave the machine alone meanwhile.")
    if clicked:
        try:
            with st.spinner("Measuring …", show_time=True):
                st.session_state.measured = _run_quick()
        except MmragError as error:
            show_error(error)
    rows = st.session_state.get("measured")
    if rows:
        shown = pd.DataFrame(
            [
                {
                    "what": row["name"],
                    "value": round(row["value"], 1),
                    "unit": row["unit"],
                    "spread": f"{row['spread']:.0%}",
                    "of the limit": _share(row["figures"].get("limit_share")),
                    "× tutorial": _times(row["figures"].get("times_tutorial")),
                }
                for row in rows
            ]
        )
        st.dataframe(guarded(shown), hide_index=True, width="stretch")


def _run_quick() -> list[dict[str, object]]:
    command = [sys.executable, "-m", "mmrag", "bench", *QUICK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        rows: list[dict[str, object]] = json.loads(done.stdout)["rows"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise MmragError(
            "The measurement did not finish; run `mmrag bench --quick` to see why."
        ) from error
    return rows


def _encoding(latest: pd.DataFrame) -> None:
    rows = latest[latest["group"].isin(["encode", "tutorial"])].copy()
    if rows.empty:
        st.caption("No encoding was measured.")
        return
    sources = [
        s for s in ("files", "arrays", "composed", "texts") if s in set(rows.get("source", []))
    ]
    source = st.segmented_control(
        "Input", sources, default=sources[0], required=True, key="input", bind="query-params"
    )
    rows = rows[(rows["source"] == source) | (rows["group"] == "tutorial")]
    rows["how"] = rows.apply(_how, axis=1)
    several = rows["device"].nunique() > 1
    for encoder, own in rows.groupby("encoder"):
        legend = alt.Legend(orient="top") if several else None
        colour = alt.Color("device:N", title=None, legend=legend)
        tips = ["encoder:N", "how:N", alt.Tooltip("value:Q", format=".2f"), "unit:N"]
        _bars(str(encoder), own, "per second", color=colour, tooltip=tips)
    columns = ["machine", "encoder", "device", "precision", "batch_size", "value", "unit"]
    extra = [c for c in ("limit_share", "times_tutorial", "peak_memory_mb") if c in rows]
    st.dataframe(
        guarded(rows[[c for c in columns if c in rows] + extra]),
        hide_index=True,
        width="stretch",
        column_config={
            "value": st.column_config.NumberColumn(format="%.2f"),
            "limit_share": st.column_config.ProgressColumn(
                "of the hardware's limit", min_value=0, max_value=1, format="percent"
            ),
            "times_tutorial": st.column_config.NumberColumn("× tutorial", format="%.2f"),
            "peak_memory_mb": st.column_config.NumberColumn("peak MB", format="%.0f"),
        },
    )


def _how(row: pd.Series) -> str:
    if row["group"] == "tutorial":
        return f"tutorial's loop, {row['device']}"
    batch = "one by one" if row.get("batch_size") == 1 else "in batches"
    compiled = ", compiled" if row.get("compiled") == "yes" else ""
    return f"{row['precision']}{compiled}, {batch}, {row['device']}"


def _decoding(latest: pd.DataFrame) -> None:
    rows = latest[latest["group"] == "decode"].copy()
    if rows.empty:
        st.caption("No decoding was measured.")
        return
    st.caption("From files to the 224 × 224 pixels that a model takes.")
    rows["picture"] = [f"{w:.0f} × {h:.0f}" for w, h in zip(rows.width, rows.height, strict=True)]
    rows["how"] = rows["format"] + ", " + rows["machine"]
    rows["threads"] = rows["workers"].astype(int).astype(str)
    for picture, own in rows.sort_values("width").groupby("picture", sort=False):
        colour = alt.Color("threads:N", title="threads", legend=alt.Legend(orient="top"))
        tips = ["how:N", "threads:N", alt.Tooltip("value:Q", format=",.0f")]
        offset = "threads:N"
        _bars(str(picture), own, "images per second", color=colour, tooltip=tips, yOffset=offset)


def _bars(title: str, rows: pd.DataFrame, unit: str, **encodings: Any) -> None:
    """A bar for each row's rate, beside its `how`."""
    st.text(title)
    chart = (
        alt.Chart(guarded(rows))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y("how:N", title=None, sort="-x", axis=alt.Axis(labelLimit=190)),
            x=alt.X("value:Q", title=unit),
            **encodings,
        )
    )
    st.altair_chart(chart, width="stretch")


def _cost(latest: pd.DataFrame) -> None:
    rows = latest[latest["group"] == "encode"]
    if rows.empty or "source" not in rows:
        st.caption("No encoding was measured.")
        return
    price = st.number_input(
        "Price of the machine, USD an hour", 0.0, 1000.0, 1.0, 0.1, key="price", width=260
    )
    rows = rows[rows["source"] == "files"]
    shown = pd.DataFrame(
        {
            "machine": rows["machine"],
            "encoder": rows["encoder"],
            "device": rows["device"],
            "precision": rows["precision"],
            "images an hour": (3600 * rows["value"]).round(-1),
            "hours for a million": 1e6 / rows["value"] / 3600,
            "USD for a million": price * 1e6 / rows["value"] / 3600,
        }
    ).sort_values("USD for a million")
    st.dataframe(
        guarded(shown),
        hide_index=True,
        width="stretch",
        column_config={
            "images an hour": st.column_config.NumberColumn(format="localized"),
            "hours for a million": st.column_config.NumberColumn(format="%.1f"),
            "USD for a million": st.column_config.NumberColumn(format="%.2f"),
        },
    )


def _search(latest: pd.DataFrame) -> None:
    rows = latest[latest["group"] == "search"]
    if rows.empty:
        st.caption("No search was measured.")
        return
    numbers = [c for c in rows.columns if c in ("rows", "size", "n")]
    if numbers:
        size = numbers[0]
        chart = (
            alt.Chart(guarded(rows))
            .mark_line(point=True)
            .encode(
                x=alt.X(f"{size}:Q", title="images", scale=alt.Scale(type="log")),
                y=alt.Y("value:Q", title="milliseconds", scale=alt.Scale(type="log")),
                color=alt.Color("name:N", title=None),
                tooltip=["name:N", alt.Tooltip("value:Q", format=".1f")],
            )
        )
        st.altair_chart(chart.properties(height=320), width="stretch")
    _plain(rows)


def _query(latest: pd.DataFrame) -> None:
    rows = latest[~latest["group"].isin(["encode", "tutorial", "search", "decode"])]
    if rows.empty:
        st.caption("No query was measured.")
        return
    _plain(rows)


def _history(frame: pd.DataFrame) -> None:
    names = sorted(frame["name"].unique())
    name = st.selectbox("Benchmark", names, key="benchmark", bind="query-params")
    rows = frame[frame["name"] == name]
    chart = (
        alt.Chart(guarded(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("datetime:T", title=None),
            y=alt.Y("value:Q", title=str(rows["unit"].iloc[0])),
            color=alt.Color("machine:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["machine:N", "commit:N", alt.Tooltip("value:Q", format=".2f")],
        )
    )
    st.altair_chart(chart.properties(height=280), width="stretch")
    _plain(rows[["machine", "commit", "datetime", "value", "unit", "spread"]])


def _plain(rows: pd.DataFrame) -> None:
    st.dataframe(guarded(rows.dropna(axis=1, how="all")), hide_index=True, width="stretch")


def _share(value: object) -> str:
    return f"{value:.0%}" if isinstance(value, float) else ""


def _times(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else ""


main()
