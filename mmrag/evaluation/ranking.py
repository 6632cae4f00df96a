"""Exact rankings in memory and the hit rate, for measuring an encoder without a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mmrag.encoders.encoder import Encoder
from mmrag.evaluation.eval_set import EvalSet

HIT_RATE_CUTOFFS = (1, 5, 10)


def rank_in_memory(
    encoder: Encoder, eval_set: EvalSet, k: int = 50, batch_size: int = 32
) -> dict[str, list[str]]:
    """Rank the gallery for every query by exact cosine.

    Returns:
        query id to the ids of the k nearest images, nearest first. Ties are broken by id. With
        `exclude_query_image`, a query's own picture is left out.
    """
    images = sorted(eval_set.gallery().images, key=lambda image: image.image_id)
    gallery = encoder.encode([image.path for image in images], batch_size=batch_size)
    row = {image.path: i for i, image in enumerate(images)}
    queries = encoder.encode(
        [query.image for query in eval_set.queries],
        [query.text for query in eval_set.queries],
        batch_size=batch_size,
    )
    rankings = {}
    for query, vector in zip(eval_set.queries, queries, strict=True):
        scores = gallery @ vector
        if eval_set.exclude_query_image and query.image in row:
            scores[row[query.image]] = -np.inf
        order = np.argsort(-scores, kind="stable")[: k + 1]
        best = [images[i].image_id for i in order if scores[i] > -np.inf]
        rankings[query.query_id] = best[:k]
    return rankings


def hit_rates(
    rankings: Mapping[str, Sequence[str]],
    eval_set: EvalSet,
    cutoffs: Sequence[int] = HIT_RATE_CUTOFFS,
) -> dict[str, dict[str, float]]:
    """Share of queries with at least one right image among the first k.

    This is what composed image retrieval calls Recall@k (for instance Z. Liu et al.: "Image
    Retrieval on Real-life Images with Pre-trained Vision-and-Language Models", ICCV 2021).
    Queries without any right image are left out.

    Returns:
        `{"all": {"hit_rate@1": ...}, CATEGORY: {...}}`, each with its number of `queries`.
    """
    hits: dict[str, list[list[bool]]] = defaultdict(list)
    for query in eval_set.queries:
        relevant = eval_set.relevant(query.query_id)
        if not relevant:
            continue
        found = [image_id in relevant for image_id in rankings.get(query.query_id, [])]
        outcome = [any(found[:k]) for k in cutoffs]
        hits["all"].append(outcome)
        if query.category:
            hits[query.category].append(outcome)
    return {
        name: {
            "queries": len(outcomes),
            **{
                f"hit_rate@{k}": float(np.mean([outcome[i] for outcome in outcomes]))
                for i, k in enumerate(cutoffs)
            },
        }
        for name, outcomes in hits.items()
    }
