"""A run as one self-contained HTML page: numbers, plots, example queries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.metrics.statistics import bootstrap_interval, generator, smallest_p
from mmrag.metrics.table import leading_metrics, metric_title
from mmrag.runs import svg
from mmrag.runs.compare import Entry, run_table, stage_entries
from mmrag.runs.examples import Example, changed_most, examples, sample
from mmrag.runs.frames import hits_by_depth
from mmrag.runs.labels import composition_rows
from mmrag.runs.provenance import open_eval_set
from mmrag.runs.published import beside
from mmrag.runs.run import RERANKED, RETRIEVAL, Run

_CURVE = 50
# A path on this machine, of which only the last part is shown.
_LOCAL = re.compile(r"(?<![\w/])/(?:[^/\s]+/)*([^/\s]+)")


def html_report(run: Run, seed: int = 0) -> str:
    """The report of a loaded run.

    Pictures and the curve over k come from the eval set; if that is gone or has changed, the
    page says so and shows the rest. No path of this machine is in it.

    Args:
        run: from `RunStore.load`.
        seed: draws the example queries.
    """
    notes = list(run.notes)
    shown: dict[str, list[Example]] = {}
    curve = None
    primary = _primary(run)
    try:
        eval_set = open_eval_set(run)
    except MmragError as error:
        notes.append(f"Without example queries and curve: {_without_paths(str(error), run)}")
    else:
        curve = _curve(run, eval_set)
        if primary:
            shown = _examples(run, eval_set, primary, seed)
    summary = run.summary
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["metric"] = metric_title
    environment.filters["smallest_p"] = smallest_p
    entries = stage_entries(run)
    # Shown in the tables of ablations; the JSON export has every metric.
    closely = {*filter(None, [primary]), *leading_metrics()}
    composed = run.ablations.get("modality", {}).get("composition")
    return environment.get_template("report.html.j2").render(
        run=run,
        primary=primary,
        summary=summary,
        table=run_table(entries) if entries else None,
        curve=curve,
        bars=_bars(run, primary),
        examples=shown,
        notes=notes,
        published=[one.sentence for one in beside(run)],
        closely=closely,
        composition=composition_rows(composed, closely) if composed else [],
        facts=_facts(run.config | {"environment": run.environment}),
    )


def _primary(run: Run) -> str | None:
    overall = run.summary.overall
    wanted = run.eval_set.primary_metric
    return wanted if wanted in overall else next(iter(overall), None)


def _curve(run: Run, eval_set: EvalSet) -> Any:
    """Hit rate over k, of every stage, with bands."""
    stages = [stage for stage in (RERANKED, RETRIEVAL) if stage in run.scores]
    lines = []
    for stage in stages:
        depth = min(_CURVE, int(run.config.get("k") or _CURVE))
        hits = hits_by_depth(Entry(run, stage), eval_set, depth)
        if not len(hits) or depth < 2:
            return None
        low, high = bootstrap_interval(hits, generator(0, "curve"), 500)
        lines.append(svg.Line(stage, hits.mean(axis=0).tolist(), low.tolist(), high.tolist()))
    return (
        {
            "plot": svg.curves(lines, "k, the number of results looked at", "Hit rate"),
            "names": [line.name for line in lines],
        }
        if lines
        else None
    )


def _bars(run: Run, primary: str | None) -> Any:
    if primary is None or not run.summary.categories:
        return None
    estimates = [("all queries", run.summary.overall[primary])]
    estimates += [
        (name, found[primary]) for name, found in run.summary.categories.items() if primary in found
    ]
    return svg.bars(estimates, metric_title(primary))


def _examples(run: Run, eval_set: EvalSet, primary: str, seed: int) -> dict[str, list[Example]]:
    groups: dict[str, list[str]] = {}
    if run.stage == RERANKED:
        groups["Helped most by reranking"], groups["Harmed most by reranking"] = changed_most(
            run, primary, 4
        )
    groups["Drawn at random"] = sample(run, 12, seed)
    return {title: examples(run, eval_set, ids, primary) for title, ids in groups.items() if ids}


def _facts(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines: ("encoder name", "demo")."""
    facts: list[tuple[str, str]] = []
    for name, value in values.items():
        label = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            facts += _facts(value, f"{label} ")
        elif value not in (None, "", [], False):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            facts.append((label, _LOCAL.sub(r"\1", shown)))
    return facts


def _without_paths(text: str, run: Run) -> str:
    return text.replace(run.eval_set.folder, run.eval_set.name)
