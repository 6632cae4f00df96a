"""Pooling: the first hits of several systems, in the order in which judging decides most.

Depth-k pooling: K. Spärck Jones and C. J. van Rijsbergen (1975), as TREC does it. The order of the
queries and the bounds follow the idea of Minimal Test Collections (B. Carterette, J. Allan,
R. Sitaraman, SIGIR 2006): a judgment matters as much as it can change the difference between two
systems. The bounded measure is DCG at the pool's depth, a sum over images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest

from mmrag.eval_sets.records import Qrels
from mmrag.metrics.statistics import generator

Rankings = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Bounds:
    """Mean difference in DCG@depth, second system minus first, per query.

    `judged` counts unjudged images as wrong; whatever they are, it lies between `low` and `high`.
    """

    judged: float
    low: float
    high: float

    @property
    def is_decided(self) -> bool:
        """Whether no further judgment can change which system is ahead."""
        return self.low > 0 or self.high < 0


def pool(systems: Sequence[Rankings], depth: int) -> dict[str, list[str]]:
    """The first `depth` images of each system for each query, each image once.

    Args:
        systems: query id to image ids, best first.
        depth: images taken from each ranking.

    Returns:
        Query id to image ids, by rank and then by system.
    """
    pooled: dict[str, list[str]] = {}
    for query_id in dict.fromkeys(query_id for system in systems for query_id in system):
        rankings = [list(system.get(query_id, ()))[:depth] for system in systems]
        by_rank = (one for rank in zip_longest(*rankings) for one in rank if one is not None)
        pooled[query_id] = list(dict.fromkeys(by_rank))
    return pooled


def weights(systems: Sequence[Rankings], query_id: str, depth: int) -> dict[str, float]:
    """Image id to the most that judging it can change the difference between two systems.

    For a pair of systems, this is the difference between its discounts 1 / log2(rank + 1), which
    are 0 beyond `depth`. With one system it is the discount itself.
    """
    discounts = [_discounts(system.get(query_id, ()), depth) for system in systems]
    images = dict.fromkeys(image_id for found in discounts for image_id in found)
    pairs = list(combinations(discounts, 2)) or [(discounts[0], {})]
    return {
        image_id: max(abs(a.get(image_id, 0.0) - b.get(image_id, 0.0)) for a, b in pairs)
        for image_id in images
    }


def next_queries(
    systems: Sequence[Rankings], judged: Mapping[str, Collection[str]], depth: int
) -> list[str]:
    """Queries with something left to judge, the most decisive first.

    Args:
        systems: query id to image ids, best first.
        judged: query id to the images already judged.
        depth: of the pool.
    """
    open_weight = {}
    for query_id, images in pool(systems, depth).items():
        weight = weights(systems, query_id, depth)
        rest = [weight[one] for one in images if one not in judged.get(query_id, ())]
        if rest:
            open_weight[query_id] = sum(rest)
    return sorted(open_weight, key=lambda query_id: -open_weight[query_id])


def shuffled(image_ids: Sequence[str], query_id: str, judge: str) -> list[str]:
    """Images in an order that reveals nothing of the systems, always the same for a judge."""
    order = generator(0, f"{query_id}\0{judge}").permutation(len(image_ids))
    ordered = sorted(image_ids)
    return [ordered[i] for i in order]


def bounds(first: Rankings, second: Rankings, qrels: Qrels, depth: int, best: int = 2) -> Bounds:
    """Bound the difference between two systems.

    Args:
        first: query id to image ids, best first.
        second: the other system, for the same queries.
        qrels: judgments so far.
        depth: of the measure.
        best: the highest grade that an unjudged image may get.
    """
    queries = sorted(first.keys() & second.keys())
    if not queries:
        return Bounds(0.0, 0.0, 0.0)
    judged = low = high = 0.0
    for query_id in queries:
        a, b = (_discounts(system[query_id], depth) for system in (first, second))
        grades = qrels.get(query_id, {})
        for image_id in a.keys() | b.keys():
            change = b.get(image_id, 0.0) - a.get(image_id, 0.0)
            grade = grades.get(image_id)
            if grade is not None:
                judged += change * grade
            else:
                low += min(0.0, change * best)
                high += max(0.0, change * best)
    n = len(queries)
    return Bounds(judged / n, (judged + low) / n, (judged + high) / n)


def _discounts(ranking: Sequence[str], depth: int) -> dict[str, float]:
    return {one: 1 / math.log2(rank + 1) for rank, one in enumerate(ranking[:depth], start=1)}
