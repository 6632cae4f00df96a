"""How long an evaluation will take and what it will cost, judged by earlier runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmrag.runs.store import RunStore

_RUNS = 5


@dataclass(frozen=True)
class Estimate:
    """`cost_usd` is None where nothing is paid or no price is known."""

    seconds: float
    cost_usd: float | None
    runs: int


def estimate(store: RunStore, encoder: str, reranker: str | None, queries: int) -> Estimate | None:
    """From the latest finished runs of the same encoder and reranker.

    Args:
        store: where runs are kept.
        encoder: its name.
        reranker: its name, None for none.
        queries: how many are to be evaluated.

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
        total = run.timings_ms.get("total")
        if total is None:
            continue
        seconds.append(total["mean"] / 1000)
        if run.usage.cost_usd:
            costs.append(run.usage.cost_usd / run.finished_queries)
        if len(seconds) == _RUNS:
            break
    if not seconds:
        return None
    cost = float(np.mean(costs)) * queries if costs else None
    return Estimate(float(np.mean(seconds)) * queries, cost, len(seconds))
