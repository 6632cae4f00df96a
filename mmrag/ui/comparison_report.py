"""A comparison of several runs, as the Runs page shows it, in one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import altair as alt
import jinja2

from mmrag.metrics.table import higher_is_better, metric_title
from mmrag.runs import frames
from mmrag.runs.compare import Entry, RunTable
from mmrag.ui import run_charts

_QUERIES = 20


def comparison_report(
    entries: list[Entry],
    found: RunTable,
    metrics: list[str],
    caption: str,
    charts: Mapping[str, alt.Chart | alt.LayerChart],
) -> bytes:
    """The report, as UTF-8.

    Args:
        entries: the compared runs, the first against each other one.
        found: their table.
        metrics: to show; the first decides which queries are listed.
        caption: explains the table's numbers.
        charts: by title.
    """
    metric = metrics[0]
    queries = {}
    for entry in entries[1:]:
        frame = frames.query_differences(entries[0], entry, metric)
        gain = (1 if higher_is_better(metric) else -1) * frame["change"]
        for words, rows in (
            ("Lost most", frame[gain < 0].iloc[::-1]),
            ("Gained most", frame[gain > 0]),
        ):
            if not rows.empty:
                title = f"{words} in {metric_title(metric)} by {entry.label}"
                queries[title] = rows.head(_QUERIES).round(3)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("comparison_report.html.j2").render(
        labels=[entry.label for entry in entries],
        ids=list(dict.fromkeys(entry.run.run_id for entry in entries)),
        eval_set=entries[0].run.eval_set,
        notes=found.notes,
        metrics=frames.table(found, metrics),
        caption=caption,
        charts={
            title: "data:image/svg+xml;base64,"
            + base64.b64encode(run_charts.as_svg(chart).encode()).decode()
            for title, chart in charts.items()
        },
        categories=frames.category_table(entries, metric),
        queries=queries,
    )
    return page.encode()
