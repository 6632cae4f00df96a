"""Put the hits of a result into a new order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmrag.types import RerankReport, SearchResult

IGNORES_WITHOUT = "it is not told what is not wanted; that counts in retrieval"


def reorder(
    result: SearchResult,
    order: Sequence[int],
    report: RerankReport,
    ms: float,
    *,
    scores: Mapping[int, float] | None = None,
    explanation: str | None = None,
) -> SearchResult:
    """The result with its first hits in a new order; hits not in `order` stay after them.

    Args:
        result: hits in the order of retrieval.
        order: a permutation of the first positions of `result.hits`, from 0, best first.
        report: how reranking went.
        ms: milliseconds that reranking took.
        scores: new scores by old position; the others keep theirs.
        explanation: the reason the first one fits best.
    """
    if sorted(order) != list(range(len(order))) or len(order) > len(result.hits):
        raise ValueError("an order must be a permutation of the first positions")
    positions = [*order, *range(len(order), len(result.hits))]
    new = scores or {}
    hits = [
        replace(result.hits[i], rank=rank, score=new.get(i, result.hits[i].score))
        for rank, i in enumerate(positions, start=1)
    ]
    timings = {**result.timings_ms, "rerank": ms}
    return replace(result, hits=hits, timings_ms=timings, explanation=explanation, rerank=report)


def by_score(
    result: SearchResult,
    scores: Mapping[int, float],
    considered: int,
    name: str,
    problems: Sequence[str],
    ms: float,
    details: Mapping[str, Any] | None = None,
) -> SearchResult:
    """The result with its first hits by decreasing score.

    Args:
        result: hits in the order of retrieval.
        scores: by position; ties keep the order of retrieval, and so do hits without a score, which
            come last.
        considered: how many of the first hits should be scored.
        name: the reranker's.
        problems: what went wrong, in sentences.
        ms: milliseconds that reranking took.
        details: for the report.
    """
    scored = sorted(scores, key=lambda i: (-scores[i], i))
    order = scored + [i for i in range(considered) if i not in scores]
    complete = len(scores) == considered
    report = RerankReport(
        name,
        "complete" if complete else "repaired" if scores else "failed",
        tuple(problems),
        details=dict(details or {}),
    )
    return reorder(result, order, report, ms, scores=scores)
