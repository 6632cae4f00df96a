"""Runs as files: TREC, CSV, JSON, Parquet, HTML, and the benchmarks' submission files."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmrag.errors import MmragError
from mmrag.eval_sets.submissions import SUBMISSIONS
from mmrag.runs.provenance import open_eval_set
from mmrag.runs.run import RETRIEVAL, REWRITTEN, Run
from mmrag.runs.trec import trec_lines
from mmrag.system.durable import write_file
from mmrag.system.spreadsheet import spreadsheet_cell

FORMATS = ("trec", "csv", "json", "parquet", "html", "mteb", *SUBMISSIONS)


def export_run(run: Run, format: str, stage: str | None = None) -> list[tuple[str, bytes]]:
    """Export a run in one of `FORMATS`.

    - `trec`: the rankings of one stage, as trec_eval reads them.
    - `csv`: one row per query and stage with its metrics, timings and first results; text that a
      spreadsheet would take for a formula gets an apostrophe in front.
    - `json`: everything known about the run.
    - `parquet`: as `csv`, with whole rankings and scores as lists.
    - `html`: one page with plots and example queries; see `report.html_report`.
    - `mteb`: what MTEB's results repository keeps: `TASK.json` and `model_meta.json`.
    - `cirr`, `circo`: what the benchmarks' servers take. CIRR takes two files.

    Args:
        run: loaded whole.
        format: one of `FORMATS`.
        stage: for `trec`, `mteb`, `cirr` and `circo`. Default: the run's last one.

    Returns:
        File names and contents, one or more.

    Raises:
        MmragError: unknown format or stage, or the eval set has moved.
    """
    stage = stage or run.stage
    run.check_stage(stage)
    if format == "trec":
        lines = "".join(trec_lines(run.rankings[stage], run.name))
        return [(f"{run.run_id}.trec", lines.encode())]
    if format == "csv":
        return [(f"{run.run_id}.csv", _csv(run).encode())]
    if format == "json":
        text = json.dumps(_plain(run_json(run)), ensure_ascii=False, indent=1, allow_nan=False)
        return [(f"{run.run_id}.json", text.encode() + b"\n")]
    if format == "parquet":
        return [(f"{run.run_id}.parquet", _parquet(run))]
    if format == "html":
        from mmrag.runs.report import html_report

        return [(f"{run.run_id}.html", html_report(run).encode())]
    if format == "mteb":
        from mmrag.runs.mteb_results import mteb_files

        made = mteb_files(run, open_eval_set(run), stage)
        return [(name, json.dumps(one, indent=2).encode() + b"\n") for name, one in made]
    if format in SUBMISSIONS:
        return _submission(run, format, stage)
    raise MmragError(f"Unknown format {format!r}; use one of {', '.join(FORMATS)}.")


def write_export(
    run: Run, format: str, out: str | os.PathLike[str], stage: str | None = None
) -> list[Path]:
    """Export into `out`, a file, or a folder for several files; return the paths written."""
    files = export_run(run, format, stage)
    out = Path(out)
    if len(files) == 1:
        name, data = files[0]
        target = out / name if out.is_dir() else out
        write_file(target, data)
        return [target]
    if out.exists() and not out.is_dir():
        raise MmragError(f"{format} makes {len(files)} files, so {out} must be a folder.")
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files:
        write_file(out / name, data)
    return [out / name for name, _ in files]


def run_json(run: Run) -> dict[str, Any]:
    """Everything known about a run as plain values, with rankings and per-query metrics."""
    per_query = ("rankings", "scores")
    return {
        **{name: _values(value) for name, value in vars(run).items() if name not in per_query},
        "queries": {stage: list(_rows(run, stage)) for stage in run.rankings},
    }


def _rows(run: Run, stage: str) -> Iterator[dict[str, Any]]:
    """One row per query: category, ranking, metrics, timings, usage and anything else known."""
    scores = run.scores.get(stage)
    place = {query_id: i for i, query_id in enumerate(scores.query_ids)} if scores else {}
    for query_id, one in run.rankings[stage].items():
        row = place.get(query_id)
        metrics: dict[str, float | None] = {}
        if scores is not None and row is not None:
            metrics = {name: _number(values[row]) for name, values in scores.values.items()}
        yield {
            "query_id": query_id,
            "stage": stage,
            "category": scores.categories[row] if scores is not None and row is not None else "",
            "image_ids": one.image_ids,
            "scores": one.scores,
            "metrics": metrics,
            "timings_ms": one.timings_ms,
            "usage": asdict(one.usage) if one.usage else None,
            "details": one.details,
        }


def _flat_rows(run: Run) -> Iterator[dict[str, Any]]:
    names = list(dict.fromkeys(name for one in run.scores.values() for name in one.values))
    parts = ("encode", "search", "rerank", *(["rewrite"] if run.rewrites else []))
    for stage in run.rankings:
        if stage == REWRITTEN:
            # Kept with the rankings that it led to.
            continue
        for row in _rows(run, stage):
            times = row["timings_ms"]
            usage = row["usage"] or {}
            yield {
                "query_id": row["query_id"],
                "stage": stage,
                "category": row["category"],
                **{name: row["metrics"].get(name) for name in names},
                **{f"{part}_ms": times.get(part) for part in parts},
                "prompt_tokens": usage.get("prompt_tokens"),
                "completion_tokens": usage.get("completion_tokens"),
                "reasoning_tokens": usage.get("reasoning_tokens"),
                "cost_usd": usage.get("cost_usd"),
                "skipped": row["details"].get("reason"),
                "explanation": row["details"].get("explanation"),
                **({"rewritten": row["details"].get("rewritten")} if run.rewrites else {}),
                "image_ids": row["image_ids"],
                "scores": row["scores"],
            }


def _csv(run: Run) -> str:
    out = io.StringIO()
    writer: Any = None
    for row in _flat_rows(run):
        ids = row.pop("image_ids")
        row.pop("scores")
        row |= {f"result_{n + 1}": ids[n] if n < len(ids) else "" for n in range(10)}
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: spreadsheet_cell(value) for name, value in row.items()})
    return out.getvalue()


def _parquet(run: Run) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    rows = list(_flat_rows(run))
    text = ("query_id", "stage", "category", "skipped", "explanation", "rewritten")
    whole = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
    kinds: dict[str, Any] = dict.fromkeys(text, pa.string()) | dict.fromkeys(whole, pa.int64())
    kinds |= {"image_ids": pa.list_(pa.string()), "scores": pa.list_(pa.float64())}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in rows[0]])
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), out)
    return out.getvalue()


def _submission(run: Run, format: str, stage: str) -> list[tuple[str, bytes]]:
    eval_set = open_eval_set(run)
    more: dict[str, Any] = {}
    if format == "cirr":
        first = run.rankings[RETRIEVAL]
        more["subset_orders"] = {
            query_id: one.details["subset"]
            for query_id, one in first.items()
            if "subset" in one.details
        }
    module = importlib.import_module(SUBMISSIONS[format])
    return [
        (name, json.dumps(content, ensure_ascii=False).encode() + b"\n")
        for name, content in module.submission(run.ranking(stage), eval_set, **more)
    ]


def _values(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _values(one) for name, one in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return value


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _plain(value: Any) -> Any:
    """A value for JSON, which has no NaN or infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
