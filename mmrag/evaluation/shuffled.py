"""How much a reranker depends on the order in which it sees the candidates."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from mmrag.evaluation.ablations import Setting
from mmrag.metrics.statistics import (
    Floats,
    bootstrap_interval,
    bootstrap_means,
    generator,
    percentile_interval,
)
from mmrag.rerank.reranker import Reranker
from mmrag.rerank.shuffles import mean_kendall_tau
from mmrag.runs.run import Ranked
from mmrag.types import GalleryImage

SHUFFLE = "shuffle {}"


def shuffled(
    setting: Setting,
    reranker: Reranker,
    images: Mapping[str, GalleryImage],
    rerank_k: int,
    shuffles: int,
) -> dict[str, Any]:
    """Rerank random orders of every query's candidates: do the rankings agree, and at what cost?

    Each order is a stage of the run, so an interrupted run resumes where it stopped.

    Args:
        setting: the run's readable queries, its first ranking and its metrics.
        reranker: what is measured.
        images: by id.
        rerank_k: how many of the first results are candidates.
        shuffles: random orders per query, at least 2; the same seed gives the same ones.

    Returns:
        `kendall_tau` and `same_best`, the share of pairs of rankings with the same first image
        (means over queries with a 95 % interval), and for each metric its `mean` over the orders,
        `min`, `max`, `sd` and `spread`, the largest minus the smallest, with its interval.
    """
    queries = setting.eval_set.queries
    rankings: list[dict[str, list[str]]] = []
    for number in range(shuffles):
        rng = random.Random(f"{setting.seed} {number}")
        first = {q.query_id: _shuffle(setting.first[q.query_id], rerank_k, rng) for q in queries}
        stage = SHUFFLE.format(number + 1)
        done = setting.stages.rerank(stage, reranker, queries, first, images, rerank_k)
        rankings.append({query_id: one.image_ids for query_id, one in done.items()})
    heads = [[one[q.query_id][:rerank_k] for one in rankings] for q in queries]
    several = [list(combinations(orders, 2)) for orders in heads if len(orders[0]) > 1]
    agreement: dict[str, list[float]] = {
        "kendall_tau": [mean_kendall_tau(pairs) for pairs in several],
        "same_best": [float(np.mean([a[0] == b[0] for a, b in ps])) for ps in several],
    }
    scores = [setting.score(one).values for one in rankings]
    metrics = {}
    for name in scores[0]:
        values = np.stack([one[name] for one in scores], axis=1)
        values = values[~np.isnan(values).any(axis=1)]
        if len(values):
            metrics[name] = _spread(values, setting.seed)
    return {
        "shuffles": shuffles,
        "queries": len(queries),
        **{name: _mean(values, setting.seed) for name, values in agreement.items() if values},
        "metrics": metrics,
    }


def _shuffle(first: Ranked, rerank_k: int, rng: random.Random) -> Ranked:
    """The same candidates in another order; the reranker sees it as if retrieval had given it."""
    pairs = list(zip(first.image_ids[:rerank_k], first.scores[:rerank_k], strict=True))
    rng.shuffle(pairs)
    return replace(
        first,
        image_ids=[image_id for image_id, _ in pairs] + first.image_ids[rerank_k:],
        scores=[score for _, score in pairs] + first.scores[rerank_k:],
    )


def _mean(values: list[float], seed: int) -> dict[str, Any]:
    low, high = bootstrap_interval(np.array(values)[:, None], generator(seed, "shuffles"))
    return {"mean": float(np.mean(values)), "ci95": (float(low[0]), float(high[0]))}


def _spread(values: Floats, seed: int) -> dict[str, Any]:
    """Summary of (n queries, orders) values of a metric."""
    means = values.mean(axis=0)
    resampled = np.ptp(bootstrap_means(values, generator(seed, "spread")), axis=1)
    low, high = percentile_interval(resampled[:, None])
    return {
        "mean": float(means.mean()),
        "min": float(means.min()),
        "max": float(means.max()),
        "sd": float(means.std(ddof=1)),
        "spread": float(np.ptp(means)),
        "ci95": (float(low[0]), float(high[0])),
    }
