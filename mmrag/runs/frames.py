"""Runs as data frames, one per chart or table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.metrics.paired import common_rows
from mmrag.metrics.statistics import bootstrap_interval, generator
from mmrag.runs.compare import Entry, RunTable
from mmrag.runs.run import Run
from mmrag.system.spreadsheet import spreadsheet_cell

DEPTH = 50
FACETS = ("eval set", "encoder", "reranker", "state")
# For a run imported from a file.
_UNKNOWN = "not known"


def facets(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Facets to narrow runs by: each of `FACETS` with its values in alphabetical order."""
    values = [_facets(run) for run in runs]
    return {name: sorted({one[name] for one in values}, key=str.casefold) for name in FACETS}


def narrow(
    runs: Sequence[Run], chosen: Mapping[str, str | None] | None = None, words: str = ""
) -> list[Run]:
    """The matching runs, in their order.

    Args:
        runs: all of them.
        chosen: facet to the value it must have; None for any.
        words: each must occur in the run's id, name or notes, in upper or lower case.
    """
    wanted = {name: value for name, value in (chosen or {}).items() if value is not None}
    found = words.casefold().split()
    return [
        run
        for run in runs
        if wanted.items() <= _facets(run).items() and all(word in _text(run) for word in found)
    ]


def _facets(run: Run) -> dict[str, str]:
    encoder = _short((run.config.get("encoder") or {}).get("name") or _UNKNOWN)
    reranker = _short((run.config.get("reranker") or {}).get("name") or "none")
    return {
        "eval set": run.eval_set.name,
        "encoder": encoder,
        "reranker": reranker if encoder != _UNKNOWN else _UNKNOWN,
        "state": run.state,
    }


def _short(name: str) -> str:
    """A model's name without its folder's path: "encoder:/home/me/tuned" is "encoder:tuned"."""
    kind, colon, rest = name.rpartition(":")
    return kind + colon + Path(rest).name if Path(rest).is_absolute() else name


def _text(run: Run) -> str:
    return "\n".join([run.run_id, run.name, *run.notes]).casefold()


def overview(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run: its description, primary metric with interval, latency and cost."""
    rows = []
    for run in runs:
        estimate = run.summary.overall.get(run.eval_set.primary_metric)
        total = run.timings_ms.get("total", {})
        rows.append(
            {
                "run": run.run_id,
                "name": run.name,
                "eval set": run.eval_set.name,
                "state": run.state,
                "created": pd.Timestamp(run.created),
                "metric": run.eval_set.primary_metric,
                "value": estimate.mean if estimate else np.nan,
                "low": estimate.ci95[0] if estimate else np.nan,
                "high": estimate.ci95[1] if estimate else np.nan,
                "queries": run.finished_queries,
                "labels": run.label_note or "no model's",
                "p50 ms": total.get("p50", np.nan),
                "p95 ms": total.get("p95", np.nan),
                "cost USD": np.nan if run.usage.cost_usd is None else run.usage.cost_usd,
            }
        )
    return pd.DataFrame(rows)


def table(found: RunTable, metrics: Sequence[str]) -> pd.DataFrame:
    """A `RunTable` in words: "0.912 [0.889, 0.934]", "+0.021 (p = 0.004)"."""
    rows = []
    for place, row in enumerate(found.rows):
        cells: dict[str, object] = {"run": row.label, "queries": row.queries}
        for name in metrics:
            estimate = row.metrics.get(name)
            if estimate is not None:
                low, high = estimate.ci95
                mark = "*" if row.warning else ""
                cells[name] = f"{estimate.mean:.3f}{mark} [{low:.3f}, {high:.3f}]"
            if any(name in one.differences for one in found.rows):
                difference = row.differences.get(name)
                cells[f"Δ {name}"] = "" if place else "(compared with)"
                if difference is not None:
                    cells[f"Δ {name}"] = f"{difference.delta:+.3f} ({p_value(difference.p_holm)})"
        cells["p50 ms"] = None if row.p50_ms is None else round(row.p50_ms, 1)
        cells["p95 ms"] = None if row.p95_ms is None else round(row.p95_ms, 1)
        cells["USD per query"] = row.cost_per_query_usd
        rows.append(cells)
    return pd.DataFrame(rows)


def numbers(found: RunTable, metrics: Sequence[str]) -> pd.DataFrame:
    """A `RunTable` in numbers: each metric with its interval, difference and corrected p."""
    rows = []
    for row in found.rows:
        cells: dict[str, object] = {"run": row.label, "queries": row.queries}
        for name in metrics:
            estimate, difference = row.metrics.get(name), row.differences.get(name)
            low, high = estimate.ci95 if estimate else (None, None)
            cells |= {name: estimate and estimate.mean, f"{name} low": low, f"{name} high": high}
            if len(found.rows) > 1:
                cells[f"{name} difference"] = difference and difference.delta
                cells[f"{name} p"] = difference and difference.p_holm
        cells |= {"p50 ms": row.p50_ms, "p95 ms": row.p95_ms}
        cells["USD per query"] = row.cost_per_query_usd
        rows.append(cells)
    return pd.DataFrame(rows)


def p_value(p: float | None) -> str:
    """ "p < 0.001" or "p = 0.042"."""
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def hits_by_depth(entry: Entry, eval_set: EvalSet, depth: int = DEPTH) -> npt.NDArray[np.float64]:
    """(queries, depth): 1 where a right image is among the first k, for k from 1."""
    ids = entry.scores.query_ids
    hits = np.zeros((len(ids), depth))
    for row, query_id in enumerate(ids):
        one = entry.run.rankings[entry.stage].get(query_id)
        relevant = eval_set.relevant(query_id)
        for place, image_id in enumerate(one.image_ids[:depth] if one else ()):
            if image_id in relevant:
                hits[row, place:] = 1
                break
    return hits


def curves(entries: Sequence[Entry], eval_set: EvalSet, depth: int = DEPTH) -> pd.DataFrame:
    """Hit rate over k with its 95 % interval, for each entry."""
    frames = []
    for entry in entries:
        deep = min(depth, int(entry.run.config.get("k") or depth))
        hits = hits_by_depth(entry, eval_set, deep)
        if not len(hits):
            continue
        low, high = bootstrap_interval(hits, generator(0, "curve"), 500)
        mean = hits.mean(axis=0)
        frames.append(
            pd.DataFrame(
                {
                    "run": entry.label,
                    "k": np.arange(1, deep + 1),
                    "hit rate": mean,
                    "low": low,
                    "high": high,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def categories(entries: Sequence[Entry], metric: str) -> pd.DataFrame:
    """A metric by category with its interval, for each entry."""
    rows = []
    for entry in entries:
        groups = entry.run.summaries[entry.stage].categories
        for name, estimates in groups.items():
            if metric in estimates:
                one = estimates[metric]
                rows.append(
                    {
                        "run": entry.label,
                        "category": f"{name} ({one.queries})",
                        "value": one.mean,
                        "low": one.ci95[0],
                        "high": one.ci95[1],
                    }
                )
    return pd.DataFrame(rows)


def category_table(entries: Sequence[Entry], metric: str) -> pd.DataFrame:
    """A metric by category in words, a column for each entry: "0.912 [0.889, 0.934]"."""
    rows: dict[str, dict[str, object]] = {}
    for entry in entries:
        for name, estimates in entry.run.summaries[entry.stage].categories.items():
            if metric in estimates:
                one = estimates[metric]
                low, high = one.ci95
                row = rows.setdefault(name, {"category": name, "queries": one.queries})
                row[entry.label] = f"{one.mean:.3f} [{low:.3f}, {high:.3f}]"
    return pd.DataFrame(list(rows.values()))


def trade_off(found: RunTable, metric: str) -> pd.DataFrame:
    """A metric against latency and cost, one row per run that was timed."""
    return pd.DataFrame(
        [
            {
                "run": row.label,
                "value": row.metrics[metric].mean,
                "low": row.metrics[metric].ci95[0],
                "high": row.metrics[metric].ci95[1],
                "p50 ms": row.p50_ms,
                "USD per query": row.cost_per_query_usd or 0.0,
            }
            for row in found.rows
            if metric in row.metrics and row.p50_ms is not None
        ]
    )


def query_differences(a: Entry, b: Entry, metric: str) -> pd.DataFrame:
    """Per query: the metric in a and in b, sorted by what b gains."""
    ids, rows_a, rows_b = common_rows(a.scores, b.scores)
    before, after = a.scores.values[metric][rows_a], b.scores.values[metric][rows_b]
    category = dict(zip(a.scores.query_ids, a.scores.categories, strict=True))
    frame = pd.DataFrame(
        {
            "query": ids,
            "category": [category[i] for i in ids],
            "a": before,
            "b": after,
            "change": after - before,
        }
    ).dropna()
    return frame.sort_values(["change", "query"], ascending=[False, True], ignore_index=True)


def with_ranks(frame: pd.DataFrame, a: Entry, b: Entry, eval_set: EvalSet) -> pd.DataFrame:
    """`query_differences` with "rank before" and "rank after": of the first right image, or NaN."""
    ranks = {}
    for name, entry in (("rank before", a), ("rank after", b)):
        ranked = entry.run.rankings[entry.stage]
        ranks[name] = [
            _first_right(ranked[i].image_ids if i in ranked else (), eval_set.relevant(i))
            for i in frame["query"]
        ]
    return frame.assign(**{name: pd.array(found, "Int64") for name, found in ranks.items()})


def _first_right(image_ids: Sequence[str], right: set[str]) -> int | None:
    return next((rank for rank, i in enumerate(image_ids, start=1) if i in right), None)


def as_csv(frame: pd.DataFrame) -> str:
    """A table as CSV, safe to open in a spreadsheet: see `exports.spreadsheet_cell`."""
    safe = frame.map(spreadsheet_cell).rename(columns=spreadsheet_cell)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text
