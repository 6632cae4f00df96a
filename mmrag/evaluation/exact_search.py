"""Exact rankings in memory, for measuring an encoder without a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.encoders.queries import query_vectors
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.metrics.metrics import score_rankings

HIT_RATE_CUTOFFS = (1, 5, 10)


@dataclass(frozen=True)
class SetVectors:
    """Vectors of an eval set, unit rows: of the gallery, with ids and paths, and of the queries."""

    image_ids: list[str]
    paths: list[str]
    gallery: Vectors
    queries: Vectors


def embed_set(encoder: Encoder, eval_set: EvalSet, batch_size: int = 32) -> SetVectors:
    """Encode an eval set's gallery, in the order of ids, and its queries."""
    images = sorted(eval_set.gallery().images, key=lambda image: image.image_id)
    return SetVectors(
        [image.image_id for image in images],
        [image.path for image in images],
        encoder.encode([image.path for image in images], batch_size=batch_size),
        query_vectors(encoder, [query.query() for query in eval_set.queries], batch_size),
    )


def rank_vectors(vectors: SetVectors, eval_set: EvalSet, k: int = 50) -> dict[str, list[str]]:
    """Rank the gallery for every query by exact cosine; see `rank_in_memory`."""
    row = {path: i for i, path in enumerate(vectors.paths)}
    row_of = {image_id: i for i, image_id in enumerate(vectors.image_ids)}
    rankings = {}
    for query, vector in zip(eval_set.queries, vectors.queries, strict=True):
        scores = vectors.gallery @ vector
        own = [row[path] for path in query.images if path in row]
        if eval_set.exclude_query_image:
            scores[own] = -np.inf
        if query.pool:
            others = np.ones(len(scores), bool)
            others[[row_of[one] for one in query.pool if one in row_of]] = False
            scores[others] = -np.inf
        order = np.argsort(-scores, kind="stable")[: k + max(1, len(own))]
        best = [vectors.image_ids[i] for i in order if scores[i] > -np.inf]
        rankings[query.query_id] = best[:k]
    return rankings


def rank_in_memory(
    encoder: Encoder, eval_set: EvalSet, k: int = 50, batch_size: int = 32
) -> dict[str, list[str]]:
    """Rank the gallery for every query by exact cosine.

    Returns:
        query id to the ids of the k nearest images, nearest first. Ties are broken by id. With
        `exclude_query_image`, a query's own picture is left out.
    """
    return rank_vectors(embed_set(encoder, eval_set, batch_size), eval_set, k)


def hit_rates(
    rankings: Mapping[str, Sequence[str]],
    eval_set: EvalSet,
    cutoffs: Sequence[int] = HIT_RATE_CUTOFFS,
) -> dict[str, dict[str, float]]:
    """Hit rates (see `metrics.hit_rate`) over all queries and by category.

    Queries without a right image are left out.

    Returns:
        `{"all": {"hit_rate@1": ...}, CATEGORY: {...}}`, each with its number of `queries`.
    """
    scores = score_rankings(rankings, eval_set, [f"hit_rate@{k}" for k in cutoffs])
    groups: dict[str, list[int]] = defaultdict(list)
    for row, category in enumerate(scores.categories):
        groups["all"].append(row)
        if category:
            groups[category].append(row)
    return {
        name: {
            "queries": len(rows),
            **{metric: float(values[rows].mean()) for metric, values in scores.values.items()},
        }
        for name, rows in groups.items()
    }
