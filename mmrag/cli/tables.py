"""Runs and comparisons as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmrag.cli.options import printable
from mmrag.cli.rerank_options import usage_line
from mmrag.metrics.paired import Difference
from mmrag.metrics.statistics import smallest_p
from mmrag.metrics.summary import Estimate
from mmrag.metrics.table import leading_metrics
from mmrag.runs.compare import (
    Comparison,
    PairComparison,
    RunTable,
    TableRow,
    comparison_table,
    run_table,
    stage_entries,
)
from mmrag.runs.labels import composition_rows
from mmrag.runs.published import beside
from mmrag.runs.run import Run
from mmrag.system.words import counted

Cells = Sequence[str]
# Nobody reads more categories than this one by one in a terminal.
_MOST_CATEGORIES, _LOWEST = 20, 10


def run_lines(run: Run) -> Iterator[str]:
    """A run: metrics, categories, latency, cost, ablations and notes."""
    if run.warning:
        yield f"Warning: {run.warning}"
    asked = counted(run.summary.queries, "query")
    if not run.summary.queries:
        asked = f"{counted(run.finished_queries, 'query')} ranked, none judged"
    yield printable(f"{run.name} on {run.eval_set.name}: {asked}")
    if run.protocol is not None:
        yield printable(f"Protocol: {run.protocol.title}")
    if run.rewriting:
        yield printable(run.rewriting)
    entries = stage_entries(run)
    if entries and run.summary.overall:
        table = run_table(entries)
        yield from _table_lines(table)
        if len(table.rows) > 1:
            yield from _rerank_lines(run, table)
        yield from _category_lines(run)
    for one in beside(run):
        yield printable(one.sentence + ".")
    yield from _time_lines(run)
    if run.usage.requests or run.usage.cached:
        yield f"Usage: {usage_line(run.usage)}"
    for name, result in run.ablations.items():
        yield ""
        yield from ablation_lines(name, result)
    for note in run.notes:
        yield printable(f"Note: {note}")


def _time_lines(run: Run) -> Iterator[str]:
    """Queries per second in batches, and the time of one by itself."""
    if run.timings_ms:
        each = ", ".join(f"{name} {times['mean']:.1f}" for name, times in run.timings_ms.items())
        mean = run.timings_ms["total"]["mean"] if "total" in run.timings_ms else 0.0
        rate = f": {1000 / mean:,.1f} queries/s" if mean else ""
        yield f"Throughput{rate}; milliseconds a query, in batches: {each}"
    for name, times in run.latency_ms.items():
        yield (
            f"{name:8} {times['p50']:8.1f} ms (median), {times['p95']:.1f} ms (95 %), "
            f"{counted(round(times['queries']), 'query')} asked one by one"
        )


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """All runs in one table, then each pair."""
    yield from _table_lines(comparison_table(comparison))
    labels = [printable(entry.label) for entry in comparison.entries]
    for pair in comparison.pairs:
        yield ""
        yield f"({pair.b + 1}) {labels[pair.b]} against ({pair.a + 1}) {labels[pair.a]}:"
        yield from aligned(_difference_rows(pair.metrics, f"({pair.a + 1})", f"({pair.b + 1})"))
        yield from _change_lines(pair, comparison.primary_metric)
        if said := pair.resolved(comparison.primary_metric):
            yield said
    yield ""
    yield "p: paired randomisation test; Holm: corrected for all metrics and pairs shown."
    yield smallest_p(comparison.tests)
    for entry in comparison.entries:
        for one in beside(entry.run) if entry.stage == entry.run.stage else ():
            yield printable(f"{entry.label}: {one.sentence}.")
    for note in comparison.notes:
        yield printable(f"Note: {note}")


def ablation_lines(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    """One of `Run.ablations`."""
    if "note" in result:
        yield f"{name}: {result['note']}"
        return
    metrics: Mapping[str, Any] = result["metrics"]
    rows: list[Cells] = []
    if name == "modality":
        yield f"Image alone, text alone, both ({_queries(result['queries'])} with both):"
        rows.append(["", "image", "text", "both", "gain over the better", "95 % interval", "p"])
        for metric, one in metrics.items():
            parts = [f"{one[part]:.3f}" for part in ("image", "text", "composed")]
            rows.append([metric, *parts, *_change(one["gain"])])
        yield from aligned(rows)
        yield from _composition_lines(result.get("composition"))
        return
    elif name == "paraphrases":
        wordings = counted(result["wordings"], "wording")
        yield f"In other words ({_queries(result['queries'])}, {wordings}):"
        head = ["", "original", "paraphrases", "worst", "spread", "change", "95 % interval", "p"]
        rows.append(head)
        for metric, one in metrics.items():
            parts = [f"{one[part]:.3f}" for part in ("original", "paraphrases", "worst", "spread")]
            rows.append([metric, *parts, *_change(one["difference"])])
    elif name == "repeat":
        yield (
            f"The same asked {result['times']} times ({_queries(result['queries'])}; the first hit "
            f"was always the same for {result['same_best'] or 0:.1%}):"
        )
        rows.append(["", "mean", "least", "most", "spread", "standard deviation"])
        for metric, one in metrics.items():
            found = [one[part] for part in ("mean", "min", "max", "spread", "sd")]
            rows.append([metric, *(f"{value:.3f}" for value in found)])
    elif name == "shuffles":
        queries = _queries(result["queries"])
        yield f"{result['shuffles']} random orders of the candidates ({queries}):"
        for key, what in (("kendall_tau", "Kendall's tau"), ("same_best", "the same first image")):
            if key in result:
                one = result[key]
                low, high = one["ci95"]
                yield f"  {what} {one['mean']:.3f} ({low:.3f}-{high:.3f}) between rankings"
        rows.append(["", "mean", "lowest", "highest", "spread", "95 % interval"])
        for metric, one in metrics.items():
            cells = [f"{one[part]:.3f}" for part in ("mean", "min", "max", "spread")]
            low, high = one["ci95"]
            rows.append([metric, *cells, f"{low:.3f} to {high:.3f}"])
    elif name == "index":
        yield f"The index against exact search over {counted(result['vectors'], 'vector')}:"
        rows.append(["", "mean", "worst query"])
        rows += [[m, f"{one['mean']:.4f}", f"{one['worst']:.3f}"] for m, one in metrics.items()]
    else:
        first, second = "a", "b"
        if name == "precision":
            yield (
                f"{result['precision']} against float32: the nearest image is the same for "
                f"{result['same_nearest']:.1%}, the first ten overlap by "
                f"{result['overlap@10']:.1%}, smallest cosine {result['cosine']['min']:.5f}."
            )
            first, second = "float32", str(result["precision"])
        elif name == "answers":
            yield (
                f"Answers to {counted(result['queries'], 'question')}; the first result was right "
                f"for {result['right_image']:.1%}"
                + (f"; {result['unanswered']} had no answer:" if result.get("unanswered") else ":")
            )
            first, second = "without", "with retrieval"
        rows.append(["", first, second, "change", "95 % interval", "p"])
        for metric, one in metrics.items():
            rows.append([metric, f"{one['a']:.3f}", f"{one['b']:.3f}", *_change(one)])
    yield from aligned(rows)


def _composition_lines(found: Mapping[str, Any] | None) -> Iterator[str]:
    """The labels of queries, and the gap; nothing for runs older than labels."""
    if found is None:
        return
    yield ""
    yield f"What the queries need ({found['metric']}):"
    rows: list[Cells] = []
    for label, one in found["shares"].items():
        low, high = one["ci95"]
        share = f"{one['mean']:.1%} ({low:.1%} to {high:.1%})"
        rows.append([label, share, _queries(one["queries"])])
    yield from aligned(rows)
    if measured := composition_rows(found, {found["metric"], *leading_metrics()}):
        yield ""
        yield from aligned([["", "composition gap", "of the queries that need both"], *measured])


def _queries(n: int) -> str:
    return counted(n, "query")


def _table_lines(table: RunTable) -> Iterator[str]:
    rows: list[Cells] = []
    if len(table.rows) > 1:
        for number, one in enumerate(table.rows, start=1):
            yield printable(f"({number}) {one.label}: run {one.run_id}, {_queries(one.queries)}")
        rows.append(["", *(f"({number})" for number in range(1, len(table.rows) + 1))])
    for name in table.metrics:
        rows.append([name, *(_marked(one, name) for one in table.rows)])
    if len(table.rows) > 1:
        rows.append(["latency p50", *(_ms(one.p50_ms) for one in table.rows)])
        rows.append(["latency p95", *(_ms(one.p95_ms) for one in table.rows)])
        costs = [(one.p50_ms, one.cost_per_query_usd) for one in table.rows]
        if any(cost != 0 for timed, cost in costs if timed is not None):
            cells = [_usd(cost) if timed is not None else "" for timed, cost in costs]
            rows.append(["cost a query", *cells])
    yield from aligned(rows)
    for number, one in enumerate(table.rows, start=1):
        for said in one.spread_lines(table.primary_metric):
            yield f"({number}) {said}"
        if one.warning:
            yield f"* ({number}): {one.warning}"


def _marked(row: TableRow, metric: str) -> str:
    return _estimate(row.metrics.get(metric)) + ("*" if row.warning else "")


def _rerank_lines(run: Run, table: RunTable) -> Iterator[str]:
    yield ""
    yield "Gain of reranking:"
    yield from aligned(_difference_rows(table.rows[1].differences, "retrieval", "reranked"))
    ceiling = ", ".join(f"{name} {value:.3f}" for name, value in run.ceiling.items())
    yield f"Ceiling of reranking the first {run.config['rerank_k']}: {ceiling} of retrieval."
    counts = ", ".join(f"{count} {status}" for status, count in sorted(run.reranks.items()))
    if counts:
        yield f"Rerankings: {counts}."
    if run.rerank_stages:
        yield ""
        yield from aligned(list(_stage_rows(run)))


def _stage_rows(run: Run) -> Iterator[list[str]]:
    primary = run.eval_set.primary_metric
    yield ["Stage", "first", primary, "ms a query", "USD in all", "memory"]
    for one in run.rerank_stages:
        mean = one["metrics"].get(primary)
        yield [
            printable(one["reranker"]),
            str(one["depth"]),
            "" if mean is None else f"{mean:.3f}",
            f"{one['ms']['mean']:.1f}",
            _usd(one["cost_usd"]) if one["requests"] else "",
            f"{one['memory_mb']:,} MB" if one["memory_mb"] else "",
        ]


def _category_lines(run: Run) -> Iterator[str]:
    overall, categories = run.summary.overall, run.summary.categories
    primary = run.eval_set.primary_metric
    if primary not in overall:
        primary = next(iter(overall))
    for title, groups, metric in (
        (f"{primary} by category:", categories, primary),
        ("mAP@10 by semantic aspect:", run.summary.aspects, "mAP@10"),
    ):
        scored = [(name, one[metric]) for name, one in groups.items() if metric in one]
        if len(scored) > _MOST_CATEGORIES:
            title = f"{title[:-1]}, the lowest {_LOWEST} of {len(scored)} (--json has all):"
            scored = sorted(scored, key=lambda pair: pair[1].mean)[:_LOWEST]
        rows = [
            [printable(name), _estimate(found), _queries(found.queries)] for name, found in scored
        ]
        if rows:
            yield ""
            yield title
            if metric == primary and primary in run.summary.category_mean:
                mean = run.summary.category_mean[primary]
                rows.append(["mean of categories", _estimate(mean), ""])
            yield from aligned(rows)
    yield ""


def _difference_rows(differences: Mapping[str, Difference], a: str, b: str) -> list[Cells]:
    head = ["", a, b, "difference", "95 % interval", "p", "Holm", "better/same/worse"]
    rows: list[Cells] = [head]
    for name, one in differences.items():
        change = _change({"delta": one.delta, "ci95": one.ci95, "p": one.p})
        corrected = "" if one.p_holm is None else _p(one.p_holm)
        counts = f"{one.wins}/{one.ties}/{one.losses}"
        rows.append([name, f"{one.a:.3f}", f"{one.b:.3f}", *change, corrected, counts])
    return rows


def _change_lines(pair: PairComparison, metric: str) -> Iterator[str]:
    for title, changes in (("Gained most", pair.gains), ("Lost most", pair.losses)):
        if changes:
            shown = ", ".join(
                f"{printable(one.query_id)} ({one.a:.2f} to {one.b:.2f})" for one in changes[:5]
            )
            yield f"{title} ({metric}): {shown}"


def _change(difference: Mapping[str, Any]) -> list[str]:
    low, high = difference["ci95"]
    return [f"{difference['delta']:+.3f}", f"{low:+.3f} to {high:+.3f}", _p(difference["p"])]


def _estimate(one: Estimate | None) -> str:
    return "" if one is None else f"{one.mean:.3f} ({one.ci95[0]:.3f}-{one.ci95[1]:.3f})"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"


def _usd(value: float | None) -> str:
    return "no price known" if value is None else f"${value:.5f}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def aligned(rows: Sequence[Cells]) -> Iterator[str]:
    """Aligned columns: the first to the left, the others to the right."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *others = row
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"  {first:{widths[0]}}", *cells]).rstrip()
