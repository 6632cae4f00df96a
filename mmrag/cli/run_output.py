"""Runs and comparisons as commands print them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import print_json

if TYPE_CHECKING:
    from mmrag.runs.compare import Comparison
    from mmrag.runs.run import Run


def show_run(run: Run, as_json: bool) -> None:
    """Print a run as one JSON document or as a table."""
    if as_json:
        print_json(summary_json(run))
        return
    from mmrag.cli.tables import run_lines

    for line in run_lines(run):
        click.echo(line)
    click.echo(f"Run {run.run_id}. A page of it, with plots and example queries:")
    click.echo(f"  mmrag export {run.run_id} --format html --out report.html")


def summary_json(run: Run) -> dict[str, Any]:
    """A run as `--json` prints it: everything but rankings and per-query metrics."""
    from mmrag.runs.published import beside

    overall = run.summary.overall
    return {
        "run_id": run.run_id,
        "warning": run.warning or None,
        "rerank": {"failed": 0, **run.reranks} if run.reranks else {},
        "name": run.name,
        "eval_set": run.eval_set,
        "protocol": run.protocol.title if run.protocol else None,
        "state": run.state,
        "created": run.created,
        "stage": run.stage,
        "metrics": run.metrics,
        "published": [asdict(one) for one in beside(run)],
        "ci95": {name: one.ci95 for name, one in overall.items()},
        "stages": run.summaries,
        "queries": {
            "total": run.total_queries,
            "finished": run.finished_queries,
            "scored": run.summary.queries,
            "without_relevant": run.summary.without_relevant,
            "skipped": run.skipped,
        },
        "missing_images": run.missing_images,
        "timings_ms": run.timings_ms,
        "latency_ms": run.latency_ms,
        "usage": run.usage,
        "spent_usd": run.spent_usd,
        "ceiling": run.ceiling,
        "reranks": run.reranks,
        "rewrites": run.rewrites,
        "rerank_stages": run.rerank_stages,
        "ablations": run.ablations,
        "labels": run.labels,
        "notes": run.notes,
        "config": run.config,
        "environment": run.environment,
    }


def comparison_json(found: Comparison) -> dict[str, Any]:
    """A comparison as `--json` prints it."""
    from mmrag.runs.together import spread_of

    pairs: list[dict[str, Any]] = [asdict(pair) for pair in found.pairs]
    return {
        "runs": [
            {
                "run_id": entry.run.run_id,
                "name": entry.run.name,
                "stage": entry.stage,
                "label": entry.label,
                "protocol": entry.run.protocol.title if entry.run.protocol else None,
                "runs": entry.run.config.get("together", {}).get("runs", [entry.run.run_id]),
                "spread": {
                    name: asdict(one) for name, one in spread_of(entry.run, entry.stage).items()
                },
            }
            for entry in found.entries
        ],
        "primary_metric": found.primary_metric,
        "metrics": pairs[0]["metrics"],
        "pairs": pairs,
        "notes": found.notes,
    }
