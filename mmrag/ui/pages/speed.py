"""Speed: how fast encoding, search and queries are, on which machine, and at what cost."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from mmrag.errors import MmragError
from mmrag.measurements import BenchFile, read_folder, results_frame
from mmrag.ui import speed_charts, url
from mmrag.ui.markdown import command
from mmrag.ui.navigation import show_error
from mmrag.ui.panels.measuring import measuring_panel, upload_panel, uploads
from mmrag.ui.tables import guarded

SOURCES = {
    "files": "Pictures from files",
    "arrays": "Pictures in memory",
    "composed": "Picture and words",
    "texts": "Words alone",
}
UNITS = {"img/s": "images a second", "pairs/s": "pairs a second", "texts/s": "texts a second"}
# A device not yet measured keeps a place, with the command that fills it.
DEVICES = {"cuda": "GPU", "cpu": "CPU"}
WHEN = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")
GROUPS = {
    "query": "A query",
    "rerank": "Reranking",
    "evaluate": "Evaluation",
    "index": "Indexing",
    "ray": "Several processes",
    "quality": "What a lower precision costs",
}


@st.cache_data(ttl=30, show_spinner=False)
def _frame() -> tuple[pd.DataFrame, list[str], list[str]]:
    found, unreadable = read_folder()
    if uploads().is_dir():
        more, problems = read_folder(uploads())
        found += [file for file in more if file.path not in {one.path for one in found}]
        unreadable += [problem for problem in problems if problem not in unreadable]
    files = [file for file in found if not file.quick]
    return results_frame(files), [_title(file) for file in files], unreadable


def main() -> None:
    """Draw the page."""
    frame, titles, unreadable = _frame()
    for problem in unreadable:
        show_error(MmragError(f"Left out: {problem}"))
    if frame.empty:
        st.info(
            "No results are kept yet. `mmrag bench --save` measures this machine "
            "(an hour or two; with --encoder demo about 15 minutes) and keeps the result under "
            "bench/results."
        )
    else:
        _tabs(frame)
    measuring_panel()
    if upload_panel():
        _frame.clear()
        st.rerun()
    if titles:
        with st.expander(f"Kept results ({len(titles)})", icon=":material/list:", key="kept"):
            st.text("\n".join(titles))


def _tabs(frame: pd.DataFrame) -> None:
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
        _load(latest)
    with query:
        _query(latest)
    with history:
        _history(frame)


def _title(file: BenchFile) -> str:
    changed = " with changes" if file.dirty else ""
    return f"{file.machine_name}, {file.commit[:8]}{changed}, {file.datetime[:10]}"


def _encoding(latest: pd.DataFrame) -> None:
    rows = latest[latest["group"].isin(["encode", "tutorial"])].copy()
    if rows.empty:
        st.caption("No encoding was measured.")
        return
    encoders = list(rows["encoder"].value_counts().index)
    sources = [s for s in SOURCES if s in set(rows.get("source", []))]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = url.before("encoder", encoders, encoders[0])
        st.selectbox("Encoder", encoders, index=first, key="encoder", width=300)
        encoder = url.after("encoder", encoders[0])
        st.segmented_control(
            "Input",
            sources,
            default=sources[url.before("input", sources, sources[0])],
            required=True,
            format_func=SOURCES.__getitem__,
            key="input",
        )
        source = url.after("input", sources[0])
    rows = rows[rows["encoder"] == encoder]
    pictures = source in ("files", "arrays")
    rows = rows[(rows["source"] == source) | ((rows["group"] == "tutorial") & pictures)]
    rows["how"] = rows.apply(speed_charts.how, axis=1)
    rows["place"] = rows["machine"] + ", " + rows["device"]
    rows["said"] = rows.apply(_said, axis=1)
    absent = [
        device for device in DEVICES if not rows["device"].astype(str).str.startswith(device).any()
    ]
    place = rows["place"].iloc[0] if len(rows) else ""
    empty = [
        {"place": place, "how": f"{DEVICES[d]}: {speed_charts.NO_RESULT}", "value": 0.0, "said": ""}
        for d in absent
    ]
    unit = UNITS.get(str(rows["unit"].iloc[0]), "a second") if len(rows) else "a second"
    rows = rows.sort_values("value", ascending=False)
    st.altair_chart(
        speed_charts.encoding(pd.concat([rows, pd.DataFrame(empty)]), unit), width="stretch"
    )
    st.caption(
        "× is against the tutorials' loop of the same run; the share is of what the hardware can "
        "compute. Newest result of each machine."
    )
    for device in absent:
        st.text(f"No {DEVICES[device]} was measured with {encoder} yet. On a machine with one:")
        command(f"mmrag bench --save --encoder {encoder} --device {device} --only encode")
    columns = ["machine", "device", "how", "value", "unit", "limit_share", "times_tutorial"]
    columns += ["peak_memory_mb", "commit", "datetime"]
    st.dataframe(
        guarded(_dated(rows[[c for c in columns if c in rows]])),
        hide_index=True,
        width="stretch",
        column_config={
            "datetime": WHEN,
            "value": st.column_config.NumberColumn(format="%.2f"),
            "limit_share": st.column_config.ProgressColumn(
                "of the hardware's limit", min_value=0, max_value=1, format="percent"
            ),
            "times_tutorial": st.column_config.NumberColumn("× tutorial", format="%.2f"),
            "peak_memory_mb": st.column_config.NumberColumn("peak MB", format="%.0f"),
        },
    )


def _said(row: pd.Series) -> str:
    """A bar's number, and how it compares."""
    parts = [f"{row['value']:,.1f}"]
    if (times := speed_charts.times(row.get("times_tutorial"))) != "":
        parts.append(f"× {times}")
    if (share := speed_charts.percent(row.get("limit_share"))) != "":
        parts.append(f"{share} of the limit")
    return " · ".join(parts)


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
        st.text(str(picture))
        chart = speed_charts.bars(
            own, "images a second", color=colour, tooltip=tips, yOffset=offset
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
    rows = latest[latest["group"] == "search"].dropna(axis=1, how="all").copy()
    if rows.empty:
        st.caption("No search was measured.")
        return
    sizes = [c for c in rows.columns if c in ("rows", "size", "n")]
    if sizes:
        told = [c for c in ("index", "where") if c in rows] or ["name"]
        rows["kind"] = rows[told].astype(str).agg(", ".join, axis=1)
        if rows["machine"].nunique() > 1:
            rows["kind"] += ", " + rows["machine"]
        st.altair_chart(speed_charts.searching(rows, sizes[0]), width="stretch")
    columns = ["machine", "index", "where", *sizes, "value", "unit", "recall", "build_s"]
    st.dataframe(
        guarded(rows[[c for c in dict.fromkeys(columns) if c in rows]]),
        hide_index=True,
        width="stretch",
    )


def _load(latest: pd.DataFrame) -> None:
    """Draw concurrent searches and the cost of recall, if measured."""
    rows = latest[latest["group"] == "load"].dropna(axis=1, how="all").copy()
    if rows.empty:
        st.caption("No search under load was measured: `mmrag bench --save --only load` does.")
        return
    rows["kind"] = rows["where"] + ", " + rows["index"] + ", " + rows["machine"]
    many = rows.sort_values("clients").iloc[-1]
    usual = rows["ef"] == many["ef"]
    st.header("Searches at once", anchor=False)
    st.altair_chart(speed_charts.under_load(rows[usual]), width="stretch")
    st.header("What recall costs", anchor=False)
    st.altair_chart(speed_charts.recall(rows[rows["clients"] == 1]), width="stretch")
    columns = ["machine", "where", "index", "size", "clients", "ef", "value", "p50_ms", "p95_ms"]
    st.dataframe(
        guarded(rows[[*columns, "recall"]].sort_values(["where", "ef", "clients"])),
        hide_index=True,
        width="stretch",
        column_config={"value": st.column_config.NumberColumn("queries/s", format="%.0f")},
    )


def _query(latest: pd.DataFrame) -> None:
    shown = False
    for group, title in GROUPS.items():
        rows = latest[latest["group"] == group].dropna(axis=1, how="all")
        if rows.empty:
            continue
        shown = True
        st.header(title, anchor=False)
        technical = {"commit", "dirty", "datetime", "group", "seconds", "spread", "rounds"}
        rows = rows[[c for c in rows if c not in technical]]
        rows = rows.assign(name=[speed_charts.readable(name) for name in rows["name"]]).map(_cell)
        rows.columns = [str(name).replace("_", " ") for name in rows.columns]
        st.dataframe(guarded(rows), hide_index=True, width="stretch")
    if not shown:
        st.caption("No query was measured.")


def _cell(value: object) -> str:
    """A cell of a table with rows of different kinds; empty if there is no value."""
    if isinstance(value, float):
        return "" if value != value else f"{value:,.4g}"
    return "" if value is None else str(value)


def _history(frame: pd.DataFrame) -> None:
    rows = frame[frame["group"].isin(["encode", "tutorial"])].copy()
    if rows.empty:
        st.caption("No encoding was measured.")
        return
    encoders = list(rows["encoder"].value_counts().index)
    encoder = st.selectbox("Encoder", encoders, key="history_of", width=300)
    rows = rows[(rows["encoder"] == encoder) & (rows.get("source", "files") != "texts")]
    rows = rows[(rows["source"] == "files") | (rows["group"] == "tutorial")]
    rows["how"] = rows.apply(speed_charts.how, axis=1)
    told = [c for c in ("machine", "device") if rows[c].nunique() > 1]
    rows["line"] = rows[[*told, "how"]].agg(", ".join, axis=1)
    st.altair_chart(speed_charts.history(rows, "images a second"), width="stretch")
    columns = ["machine", "device", "how", "commit", "datetime", "value", "unit", "spread"]
    st.dataframe(
        guarded(_dated(rows[columns])),
        hide_index=True,
        width="stretch",
        column_config={"datetime": WHEN},
    )


def _dated(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(datetime=pd.to_datetime(rows["datetime"], utc=True, format="ISO8601"))


url.run_page("speed", main)
