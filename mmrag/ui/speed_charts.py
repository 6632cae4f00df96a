"""The charts of the Speed page."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from mmrag.ui.tables import guarded

NO_RESULT = "no result yet"
# In one column: two machine names side by side are cut off on a phone.
_LEGEND = alt.Legend(orient="top", symbolOpacity=1, labelLimit=320, columns=1)
# Height of axis with title, and of a legend row, in pixels.
_AXIS, _ROW = 70, 22


def how(row: pd.Series) -> str:
    """How something was encoded, in words: "bf16, in batches"."""
    if row["group"] == "tutorial":
        return f"{row['precision']}, the tutorials' loop"
    batch = "one by one" if row.get("batch_size") == 1 else "in batches"
    compiled = ", compiled" if row.get("compiled") == "yes" else ""
    if isinstance(path := row.get("path"), str):
        batch = f"{path}, batches of {row['batch_size']:.0f}"
    return f"{row['precision']}{compiled}, {batch}"


def readable(name: str) -> str:
    """A benchmark's name in words: "encode[demo-cpu]" is "Encode (demo-cpu)"."""
    what, _, parameters = name.partition("[")
    words = what.replace("_", " ").capitalize()
    return f"{words} ({parameters.rstrip(']')})" if parameters else words


def percent(value: object) -> str:
    """ "85%", or "" if unknown."""
    return f"{value:.0%}" if isinstance(value, float) and value == value else ""


def times(value: object) -> str:
    """ "2.60", or "" if unknown."""
    return f"{value:.2f}" if isinstance(value, float) and value == value else ""


def encoding(rows: pd.DataFrame, unit: str) -> alt.LayerChart:
    """Rates by way of encoding, a bar for each machine and device; unmeasured ones keep a place.

    Args:
        rows: with `place` (machine and device), `how`, `value` and `said`.
        unit: of the values.
    """
    shown = guarded(rows)
    ways, places = list(dict.fromkeys(shown["how"])), shown["place"].nunique()
    base = alt.Chart(shown).encode(
        y=alt.Y(
            "how:N",
            title=None,
            sort=ways,
            axis=alt.Axis(labelLimit=260, labelOverlap=False),
            scale=alt.Scale(paddingInner=0.2),
        ),
        yOffset=alt.YOffset("place:N", sort=None),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        x=alt.X("value:Q", title=unit),
        color=alt.Color("place:N", title=None, sort=None, legend=_LEGEND),
        tooltip=["place:N", "how:N", alt.Tooltip("value:Q", format=",.2f"), "said:N"],
    )
    words = base.mark_text(align="left", dx=4, fontSize=11, color="#808890").encode(
        x="value:Q", text="said:N"
    )
    return (bars + words).properties(
        height=len(ways) * (20 * places + 8) + _AXIS + _ROW * places,
        description=f"{unit} by way, machine and device, a bar for each",
    )


def history(rows: pd.DataFrame, unit: str) -> alt.Chart:
    """Rates over time, a line for each machine, device and way."""
    return (
        alt.Chart(guarded(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("datetime:T", title=None),
            y=alt.Y("value:Q", title=unit),
            color=alt.Color("line:N", title=None, legend=_LEGEND),
            tooltip=["line:N", "commit:N", "datetime:T", alt.Tooltip("value:Q", format=",.2f")],
        )
        .properties(
            height=260 + _ROW * rows["line"].nunique(),
            description=f"{unit} by commit, a line for each way of encoding",
        )
    )


def searching(rows: pd.DataFrame, size: str) -> alt.Chart:
    """Milliseconds per search over the number of images, a line for each index and place."""
    return (
        alt.Chart(guarded(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X(f"{size}:Q", title="images", scale=alt.Scale(type="log")),
            y=alt.Y("value:Q", title="milliseconds", scale=alt.Scale(type="log")),
            color=alt.Color("kind:N", title=None, legend=_LEGEND),
            tooltip=["kind:N", f"{size}:Q", alt.Tooltip("value:Q", format=".1f")],
        )
        .properties(
            height=300 + _ROW * rows["kind"].nunique(),
            description="Milliseconds of a search over the number of images, a line for each index",
        )
    )


def under_load(rows: pd.DataFrame) -> alt.Chart:
    """Searches per second over the number of clients, a line for each store."""
    clients = alt.X("clients:Q", title="clients at once", scale=alt.Scale(type="log", nice=False))
    return _lines(rows, clients, alt.Y("value:Q", title="searches a second"), "clients:Q")


def recall(rows: pd.DataFrame) -> alt.Chart:
    """95th percentile of milliseconds per search over recall, a line for each store."""
    share = alt.X("recall:Q", title="recall against exact search", scale=alt.Scale(zero=False))
    return _lines(rows, share, alt.Y("p95_ms:Q", title="milliseconds, p95"), "ef:Q")


def _lines(rows: pd.DataFrame, x: alt.X, y: alt.Y, order: str) -> alt.Chart:
    tips = ["kind:N", "clients:Q", "ef:Q", "recall:Q", "value:Q", "p50_ms:Q", "p95_ms:Q"]
    return (
        alt.Chart(guarded(rows))
        .mark_line(point=True)
        .encode(
            x=x,
            y=y,
            order=order,
            color=alt.Color("kind:N", title=None, legend=_LEGEND),
            tooltip=tips,
        )
        .properties(
            height=260 + _ROW * rows["kind"].nunique(),
            description=f"{y['title']} over {x['title']}, a line for each store",
        )
    )


def bars(rows: pd.DataFrame, unit: str, **encodings: Any) -> alt.Chart:
    """A bar for each row's rate, beside its `how`."""
    count = len(rows) if "yOffset" in encodings else rows["how"].nunique()
    return (
        alt.Chart(guarded(rows))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y(
                "how:N", title=None, sort="-x", axis=alt.Axis(labelLimit=260, labelOverlap=False)
            ),
            x=alt.X("value:Q", title=unit),
            **encodings,
        )
        .properties(height=24 * count + _AXIS + _ROW, description=f"{unit}, a bar for each way")
    )
