"""Time and cost of an evaluation, estimated from earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.runs.run import Run
from mmrag.runs.store import RunStore

_RUNS = 5
# An ablation's further searches: for a query, and according to a run's result.
_ASKED_AGAIN: dict[str, tuple[Callable[[EvalQuery], int], Callable[[Mapping[str, Any]], int]]] = {
    "modality": (
        lambda query: 2 if query.image and query.text else 0,
        lambda result: 2 * int(result.get("queries", 0)),
    ),
    "paraphrases": (
        lambda query: len(query.paraphrases),
        lambda result: int(result.get("wordings", 0)),
    ),
    "index": (lambda query: 1, lambda result: int(result.get("queries", 0))),
}


@dataclass(frozen=True)
class Estimate:
    """Expected time and cost; `cost_usd` is None where nothing is paid or no price is known."""

    seconds: float
    cost_usd: float | None
    runs: int


def asked_again(queries: Sequence[EvalQuery], ablations: Container[str]) -> int:
    """Number of further searches that these ablations make, without answers."""
    wanted = [count for name, (count, _) in _ASKED_AGAIN.items() if name in ablations]
    return sum(count(query) for query in queries for count in wanted)


def estimate(
    store: RunStore,
    encoder: str,
    reranker: str | None,
    queries: int,
    rerank_k: int | None = None,
    again: int = 0,
) -> Estimate | None:
    """Estimate from the latest finished runs of the same encoder and reranker.

    Args:
        store: where runs are kept.
        encoder: its name.
        reranker: its name, None for none.
        queries: how many are to be evaluated.
        rerank_k: how many results are reranked; None for as many as before.
        again: further searches, see `asked_again`.

    Returns:
        None when there is no such run yet.
    """
    seconds: list[float] = []
    costs: list[float] = []
    for run in store.runs(limit=200):
        named = (run.config.get("reranker") or {}).get("name")
        used = (run.config.get("encoder") or {}).get("name")
        if used != encoder or named != reranker or not run.finished_queries:
            continue
        if "total" not in run.timings_ms:
            continue
        seconds.append(_seconds(run, queries, rerank_k, again))
        if run.usage.cost_usd:
            costs.append(run.usage.cost_usd / run.finished_queries)
        if len(seconds) == _RUNS:
            break
    if not seconds:
        return None
    cost = float(np.mean(costs)) * queries if costs else None
    return Estimate(float(np.median(seconds)), cost, len(seconds))


def _seconds(run: Run, queries: int, rerank_k: int | None, again: int) -> float:
    """Seconds at this run's pace, including what it took besides its searches."""
    mean = {part: times["mean"] / 1000 for part, times in run.timings_ms.items()}
    rerank = mean.get("rerank", 0.0)
    search = mean["total"] - rerank
    before = sum(
        count(run.ablations[name])
        for name, (_, count) in _ASKED_AGAIN.items()
        if name in run.ablations
    )
    timed = mean["total"] * run.finished_queries + search * before
    besides = 0.0
    if run.finished and run.state == "complete":
        began, ended = map(datetime.fromisoformat, (run.created, run.finished))
        besides = max(0.0, (ended - began).total_seconds() - timed)
    depth = run.config.get("rerank_k")
    deeper = rerank_k / depth if rerank_k and depth else 1.0
    return (search + rerank * deeper) * queries + search * again + besides
