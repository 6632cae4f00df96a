"""How alike two rankings of the same queries are, without any labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrag.errors import MmragError
from mmrag.metrics.statistics import bootstrap_interval, generator
from mmrag.metrics.summary import Estimate
from mmrag.rerank.shuffles import kendall_tau
from mmrag.runs.compare import Entry

PERSISTENCE = 0.9


@dataclass(frozen=True)
class Overlap:
    """Means over the queries that both runs ranked, with 95 % intervals.

    `rbo` is 1 for the same ranking and 0 for nothing in common; `tau` is over the images that both
    rank, from -1 to 1, None where no query has two. `other_first` holds (query id, first hit of a,
    first hit of b) where these differ.
    """

    queries: int
    rbo: Estimate
    tau: Estimate | None
    same_first: Estimate
    other_first: list[tuple[str, str, str]]
    persistence: float = PERSISTENCE


def overlap_of(a: Entry, b: Entry, persistence: float = PERSISTENCE) -> Overlap:
    """Compare the rankings of two runs, at the stages that the entries name.

    Raises:
        MmragError: no query in common.
    """
    one, other = a.run.ranking(a.stage), b.run.ranking(b.stage)
    only = a.only if a.only is not None else one.keys()
    ids = [query_id for query_id in one if query_id in other and query_id in only]
    pairs = [(one[query_id], other[query_id]) for query_id in ids]
    if not ids:
        raise MmragError(f"{a.label!r} and {b.label!r} have no query in common.")
    firsts = [(i, *(x[:1] + y[:1])) for i, (x, y) in zip(ids, pairs, strict=True) if x and y]
    taus = [tau for x, y in pairs if (tau := kendall_tau(x, y)) is not None]
    return Overlap(
        len(ids),
        _estimate([rank_biased_overlap(x, y, persistence) for x, y in pairs]),
        _estimate(taus) if taus else None,
        _estimate([float(x[:1] == y[:1]) for x, y in pairs]),
        [(i, x, y) for i, x, y in firsts if x != y],
        persistence,
    )


def rank_biased_overlap(
    a: Sequence[str], b: Sequence[str], persistence: float = PERSISTENCE
) -> float:
    """RBO, extrapolated from the depth that both reach.

    W. Webber, A. Moffat, J. Zobel: "A Similarity Measure for Indefinite Rankings", ACM TOIS 28,
    2010, equation 30: agreement at each depth, weighted by `persistence` to the power of the depth.
    """
    depth = min(len(a), len(b))
    if not depth:
        return float(len(a) == len(b))
    seen_a: set[str] = set()
    seen_b: set[str] = set()
    total = agreement = 0.0
    for place in range(depth):
        seen_a.add(a[place])
        seen_b.add(b[place])
        agreement = len(seen_a & seen_b) / (place + 1)
        total += persistence**place * agreement
    return (1 - persistence) * total + persistence**depth * agreement


def _estimate(values: Sequence[float]) -> Estimate:
    column = np.array(values)[:, None]
    low, high = bootstrap_interval(column, generator(0, "overlap"))
    return Estimate(float(column.mean()), (float(low[0]), float(high[0])), len(values))
