"""The charts of the Runs page, for the page and as files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from mmrag.metrics.table import metric_title
from mmrag.ui.tables import guarded

_GREEN, _RED = "#2a9d70", "#d1495b"
_WIDTH = 720
# As in `.streamlit/config.toml`, for exported charts.
_COLOURS = [
    "#2f6fde",
    "#e07a1f",
    "#2a9d70",
    "#b0489b",
    "#8a7a1f",
    "#5b6b7f",
    "#c2413b",
    "#13808f",
    "#7a55cf",
    "#7d4e2d",
]

# Opaque, whatever the marks are; in one column, so that no entry is cut off on a phone.
_LEGEND = alt.Legend(
    orient="top", symbolOpacity=1, symbolSize=90, rowPadding=3, labelLimit=320, columns=1
)
# Height of a legend row, in pixels.
_ROW = 22


def hit_rates(frame: pd.DataFrame) -> alt.LayerChart:
    """Hit rate over k with its band; takes `frames.curves`."""
    lines = alt.Chart(guarded(frame)).encode(
        x=alt.X(
            "k:Q",
            title="k, results looked at",
            axis=alt.Axis(tickMinStep=1),
            scale=alt.Scale(domain=[1, int(frame["k"].max())], nice=False),
        ),
        color=_by_run(),
    )
    scale = alt.Scale(zero=False, domainMax=1)
    band = lines.mark_area(opacity=0.15).encode(
        y=alt.Y("low:Q", scale=scale, title="hit rate"), y2="high:Q"
    )
    line = lines.mark_line().encode(
        y="hit rate:Q", tooltip=["run:N", "k:Q", alt.Tooltip("hit rate:Q", format=".3f")]
    )
    return (band + line).properties(
        height=330 + _ROW * frame["run"].nunique(),
        description="Hit rate over k, a line for each run",
    )


def _names(column: str) -> alt.Y:
    """An axis with every name, in the order of the table."""
    return alt.Y(
        f"{column}:N",
        title=None,
        sort=None,
        axis=alt.Axis(labelLimit=240, labelOverlap=False),
        scale=alt.Scale(paddingInner=0.25),
    )


def category_bars(frame: pd.DataFrame, metric: str) -> alt.LayerChart:
    """A metric by category with whiskers; takes `frames.categories`."""
    base = alt.Chart(guarded(frame)).encode(
        y=_names("category"),
        yOffset=alt.YOffset("run:N", sort=None),
        color=_by_run(),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        x=alt.X("value:Q", title=metric_title(metric), stack=None),
        tooltip=["run:N", "category:N", alt.Tooltip("value:Q", format=".3f")],
    )
    whiskers = base.mark_rule(strokeWidth=1.5).encode(
        x="low:Q", x2="high:Q", color=alt.value("#808080")
    )
    groups = frame["category"].nunique()
    return (bars + whiskers).properties(
        height=16 * len(frame) + 12 * groups + 70 + _ROW * frame["run"].nunique(),
        description=f"{metric_title(metric)} by category, a bar for each run",
    )


def ablation_bars(table: pd.DataFrame, title: str) -> alt.Chart | None:
    """Each metric by what was asked or measured; None if there is only one column to show.

    Args:
        table: with `metric`, and columns of numbers to compare; as made by `ablation_tables`.
        title: of the table.
    """
    ways = [str(name) for name in table.select_dtypes("number")]
    if len(ways) < 2:
        return None
    frame = table.melt("metric", ways, var_name="way").dropna()
    return (
        alt.Chart(guarded(frame))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=_names("metric"),
            yOffset=alt.YOffset("way:N", sort=None),
            x=alt.X("value:Q", title=None, stack=None),
            color=alt.Color("way:N", title=None, sort=None, legend=_LEGEND),
            tooltip=["metric:N", "way:N", alt.Tooltip("value:Q", format=".3f")],
        )
        .properties(
            height=16 * len(frame) + 12 * len(table) + 50 + _ROW * len(ways),
            description=f"{title}, a bar for each of: {', '.join(ways)}",
        )
    )


def trade_off(frame: pd.DataFrame, metric: str) -> alt.LayerChart:
    """A metric against latency, cost as size; takes `frames.trade_off`."""
    base = alt.Chart(guarded(frame)).encode(
        x=alt.X("p50 ms:Q", title="milliseconds per query (median)", scale=alt.Scale(type="log")),
        color=_by_run(),
    )
    size: Any = alt.value(260)
    if frame["USD per query"].any():
        size = alt.Size("USD per query:Q", title="USD per query", scale=alt.Scale(range=[120, 900]))
    points = base.mark_circle(opacity=0.9).encode(
        y=alt.Y("value:Q", title=metric_title(metric), scale=alt.Scale(zero=False)),
        size=size,
        tooltip=[
            "run:N",
            alt.Tooltip("value:Q", format=".3f"),
            alt.Tooltip("p50 ms:Q", format=".1f"),
            alt.Tooltip("USD per query:Q", format=".5f"),
        ],
    )
    bars = base.mark_rule().encode(y="low:Q", y2="high:Q")
    return (bars + points).properties(
        height=330 + _ROW * frame["run"].nunique(),
        description=f"{metric_title(metric)} against time per query, a point for each run",
    )


def query_changes(frame: pd.DataFrame, metric: str) -> alt.Chart:
    """Each query's gain or loss; takes `frames.query_differences`, without the unchanged."""
    placed = frame.reset_index(drop=True).assign(place=lambda f: f.index)
    return (
        alt.Chart(guarded(placed))
        .mark_bar()
        .encode(
            x=alt.X("place:O", title="queries, by change", axis=None),
            y=alt.Y("change:Q", title=f"change in {metric_title(metric)}"),
            color=alt.condition("datum.change > 0", alt.value(_GREEN), alt.value(_RED)),
            tooltip=["query:N", "category:N", alt.Tooltip("change:Q", format="+.3f")],
        )
        .properties(height=220, description="What each query gained or lost, a bar for each query")
    )


def as_svg(chart: alt.Chart | alt.LayerChart) -> str:
    """One chart as SVG, on white."""
    import vl_convert

    with alt.data_transformers.enable("default", max_rows=None):
        return str(vl_convert.vegalite_to_svg(_specification(chart)))


def _specification(chart: alt.Chart | alt.LayerChart) -> str:
    wide = chart.properties(width=_WIDTH, background="white", padding={"left": 24, "right": 24})
    return str(wide.configure_range(category=_COLOURS).to_json())


def as_zip(charts: Mapping[str, alt.Chart | alt.LayerChart]) -> bytes:
    """All charts as SVG and as Vega-Lite specifications with their data, in one archive."""
    import vl_convert

    out = io.BytesIO()
    with (
        alt.data_transformers.enable("default", max_rows=None),
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for title, chart in charts.items():
            spec = _specification(chart)
            name = re.sub(r"\W+", "-", title.lower()).strip("-")
            archive.writestr(f"{name}.vl.json", spec)
            archive.writestr(f"{name}.svg", vl_convert.vegalite_to_svg(spec))
    return out.getvalue()


def _by_run() -> alt.Color:
    return alt.Color("run:N", title=None, sort=None, legend=_LEGEND)
