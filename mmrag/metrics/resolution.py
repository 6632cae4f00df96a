"""Differences that a number of queries can detect: smallest p, power, and queries needed.

The power is of a paired test on the mean difference, with a normal distribution in place of the
randomisation test's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.metrics.statistics import PERMUTATIONS, Floats

ALPHA, POWER = 0.05, 0.8
# Assumed share of queries on which two systems differ in hit rate, before any measurement.
DISAGREEMENT = 0.2
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Resolution:
    """The power of `queries` queries whose paired differences have the deviation `deviation`.

    `smallest_p` is what the randomisation test can reach at best; `detectable` is the difference
    found with a probability of 80 % at p < 0.05.
    """

    queries: int
    deviation: float
    smallest_p: float
    detectable: float

    @property
    def sentence(self) -> str:
        """What a hit rate can show, before anything is measured."""
        return (
            f"a difference of {self.detectable:.3f} in a hit rate is found with a probability of "
            f"80 % (p < 0.05; queries that count: {self.queries}), if two systems disagree on one "
            f"query in five; the smallest p that they can give is {self.smallest_p:.2g}"
        )

    def sentence_on(self, difference: float) -> str:
        """The power for one difference, and the queries it takes."""
        needed = self.queries_needed(difference)
        more = "" if needed is None else f", and takes {needed:,} queries for one of 80 %"
        return (
            f"a difference of {difference:g} is found with a probability of "
            f"{self.power(difference):.0%}{more}"
        )

    def power(self, difference: float) -> float:
        """The probability that a true difference comes out at p < 0.05."""
        return power(difference, self.deviation, self.queries)

    def queries_needed(self, difference: float) -> int | None:
        """Queries needed to find it with a probability of 80 %; None for no difference."""
        return queries_needed(difference, self.deviation)


def resolution(queries: int, deviation: float | None = None) -> Resolution:
    """The power of this many queries.

    Args:
        queries: how many are scored.
        deviation: standard deviation of the paired differences. Default: as for a hit rate when
            the systems disagree on one query in five.
    """
    deviation = math.sqrt(DISAGREEMENT) if deviation is None else deviation
    # Without queries nothing can be detected; no metric exceeds 1.
    detectable = min(1.0, _factor() * deviation / math.sqrt(queries)) if queries else 1.0
    return Resolution(queries, deviation, smallest_p(queries), detectable)


def resolution_of(eval_set: EvalSet, limit: int | None = None) -> Resolution:
    """The power of the queries with a right image, or of a sample if `limit` asks for one."""
    judged = sum(any(grade > 0 for grade in one.values()) for one in eval_set.qrels.values())
    return resolution(judged if limit is None else min(judged, limit))


def deviation_of(a: Floats, b: Floats) -> float:
    """Standard deviation of paired differences; (n,) values each, NaN where not defined."""
    differences = (b - a)[~np.isnan(b - a)]
    return float(differences.std(ddof=1)) if len(differences) > 1 else 0.0


def smallest_p(queries: int) -> float:
    """The smallest two-sided p of the randomisation test: all differences have the same sign."""
    return min(1.0, max(2.0 ** (1 - min(queries, 64)), 1 / (PERMUTATIONS + 1)))


def power(difference: float, deviation: float, queries: int) -> float:
    """The probability that a true mean difference comes out at p < 0.05, either way."""
    if deviation <= 0:
        return float(difference != 0)
    shift = abs(difference) * math.sqrt(queries) / deviation
    edge = _NORMAL.inv_cdf(1 - ALPHA / 2)
    return _NORMAL.cdf(shift - edge) + _NORMAL.cdf(-shift - edge)


def queries_needed(difference: float, deviation: float) -> int | None:
    """Queries needed to find a true difference with a probability of 80 %; None when it is 0."""
    if difference == 0:
        return None
    return max(2, math.ceil((_factor() * deviation / difference) ** 2))


def _factor() -> float:
    return _NORMAL.inv_cdf(1 - ALPHA / 2) + _NORMAL.inv_cdf(POWER)
