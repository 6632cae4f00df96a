"""Gain and cost of each stage of a cascade of rerankers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmrag.metrics.metrics import Scores
from mmrag.runs.run import Ranked
from mmrag.types import Usage


def rerank_stages(
    first: Mapping[str, Ranked],
    last: Mapping[str, Ranked],
    reranker: Mapping[str, Any],
    score: Callable[[Mapping[str, list[str]]], Scores],
) -> list[dict[str, Any]]:
    """One entry for each stage; none for a single reranker that does not report its memory.

    Args:
        first: the rankings of retrieval.
        last: the reranked ones.
        reranker: its configuration.
        score: scores rankings by query.

    Returns:
        For each stage `reranker`, `depth`, `metrics` (name to the mean after it), `ms` (`p50`,
        `p95`, `mean` per query), `cost_usd` of all queries (None where there is no price),
        `requests`, `statuses` (how often each) and `memory_mb`, the peak, None if unknown.
    """
    told = {query_id: _stages(one, reranker) for query_id, one in last.items()}
    told = {query_id: stages for query_id, stages in told.items() if stages}
    if not told:
        return []
    orders = {query_id: first[query_id].image_ids for query_id in told}
    found = []
    for number in range(len(next(iter(told.values())))):
        some = {query_id: stages[number] for query_id, stages in told.items()}
        for query_id, one in some.items():
            looked_at = one["order"]
            orders[query_id] = [*looked_at, *orders[query_id][len(looked_at) :]]
        usage = sum((Usage(**one["usage"]) for one in some.values()), Usage())
        times = [one["ms"] for one in some.values()]
        memory = [one["memory_mb"] for one in some.values() if one.get("memory_mb")]
        head = next(iter(some.values()))
        values = score(orders).values
        found.append(
            {
                "reranker": head["reranker"],
                "depth": head["depth"],
                "metrics": {name: float(one.mean()) for name, one in values.items() if len(one)},
                "ms": {
                    "p50": float(np.percentile(times, 50)),
                    "p95": float(np.percentile(times, 95)),
                    "mean": float(np.mean(times)),
                },
                "cost_usd": usage.cost_usd,
                "requests": usage.requests,
                "statuses": dict(Counter(str(one["status"]) for one in some.values())),
                "memory_mb": max(memory) if memory else None,
            }
        )
    return found


def _stages(one: Ranked, reranker: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "stages" in one.details:
        stages: list[dict[str, Any]] = one.details["stages"]
        return stages
    if "memory_mb" not in one.details:
        return []
    return [
        {
            "reranker": reranker["name"],
            "depth": reranker["depth"],
            "ms": one.timings_ms.get("rerank", 0.0),
            "status": one.details["status"],
            "usage": {},
            "memory_mb": one.details["memory_mb"],
            "order": one.image_ids,
        }
    ]
