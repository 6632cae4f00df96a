"""Measure how much a reranker depends on the order in which candidates are shown."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mmrag.errors import MmragError
from mmrag.rerank.reranker import Reranker
from mmrag.types import SearchResult, Usage


@dataclass(frozen=True)
class ShuffleReport:
    """Agreement of one reranker's rankings of several orders of the same hits.

    Attributes:
        shuffles: how many random orders there were.
        tau: Kendall's tau, averaged over all pairs of rankings of a query, then over queries; 1 is
            full agreement, 0 is chance. None if no query has two hits.
        taus: the same for each query; None for one with fewer than two hits.
        same_best: share of the pairs that agree on the best hit; None as `tau`.
        statuses: how often each status occurred.
        usage: of all requests together.
        best: the hit that came first most often, by query; the first such one.
    """

    shuffles: int
    tau: float | None
    taus: tuple[float | None, ...]
    same_best: float | None
    statuses: dict[str, int]
    usage: Usage
    best: tuple[str | None, ...]


def shuffle_agreement(
    reranker: Reranker,
    results: Sequence[SearchResult],
    shuffles: int,
    *,
    seed: int = 0,
    on_done: Callable[[int, SearchResult], None] | None = None,
) -> ShuffleReport:
    """Rerank random orders of the same hits and compare the rankings.

    Listwise rerankers are reported to depend on the order shown, and to drop candidates, by R. Tang
    et al.: "Found in the Middle: Permutation Self-Consistency Improves Listwise Ranking in
    Large Language Models", NAACL 2024.

    Args:
        reranker: what is measured.
        results: as retrieval gave them.
        shuffles: random orders of each result, at least 2.
        seed: for the orders; the same seed gives the same orders.
        on_done: as `Reranker.rerank_many`, called `shuffles` times as often as there are results.
    """
    if shuffles < 2:
        raise MmragError(f"Agreement needs at least 2 shuffles, not {shuffles}.")
    rng = random.Random(seed)
    shuffled = [_shuffle(result, rng) for _ in range(shuffles) for result in results]
    reranked = reranker.rerank_many(shuffled, on_done)
    runs = [reranked[i : i + len(results)] for i in range(0, len(reranked), len(results) or 1)]
    taus: list[float | None] = []
    same: list[float] = []
    best: list[str | None] = []
    for outcomes in zip(*runs, strict=True):
        rankings = [[hit.image_id for hit in outcome.hits] for outcome in outcomes]
        firsts = [ranking[0] for ranking in rankings if ranking]
        best.append(Counter(firsts).most_common(1)[0][0] if firsts else None)
        if len(rankings[0]) < 2:
            taus.append(None)
            continue
        pairs = list(combinations(rankings, 2))
        taus.append(mean_kendall_tau(pairs))
        same.append(float(np.mean([a[0] == b[0] for a, b in pairs])))
    known = [tau for tau in taus if tau is not None]
    reports = [outcome.rerank for outcome in reranked if outcome.rerank is not None]
    return ShuffleReport(
        shuffles=shuffles,
        tau=float(np.mean(known)) if known else None,
        taus=tuple(taus),
        same_best=float(np.mean(same)) if same else None,
        statuses=dict(Counter(report.status for report in reports)),
        usage=sum((report.usage for report in reports), Usage()),
        best=tuple(best),
    )


def kendall_tau(a: Sequence[str], b: Sequence[str]) -> float | None:
    """Kendall's tau of the items that both orders have, -1 to 1; None if fewer than two.

    Concordant minus discordant pairs over all pairs (M. Kendall: "A New Measure of Rank
    Correlation", Biometrika 1938); without ties all of its variants are this.
    """
    place = {item: i for i, item in enumerate(b)}
    order = np.array([place[item] for item in a if item in place])
    if len(order) < 2:
        return None
    rows, columns = np.triu_indices(len(order), 1)
    return float(np.sign(order[columns] - order[rows]).mean())


def mean_kendall_tau(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Mean of `kendall_tau` over those pairs that have one."""
    return float(np.mean([tau for a, b in pairs if (tau := kendall_tau(a, b)) is not None]))


def _shuffle(result: SearchResult, rng: random.Random) -> SearchResult:
    order = list(result.hits)
    rng.shuffle(order)
    hits = [replace(hit, rank=rank) for rank, hit in enumerate(order, start=1)]
    return replace(result, hits=hits, timings_ms=dict(result.timings_ms))
