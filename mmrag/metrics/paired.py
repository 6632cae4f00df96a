"""Tests of whether two sets of per-query metrics differ by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmrag.metrics.metrics import Scores
from mmrag.metrics.statistics import bootstrap_interval, generator, randomisation_test
from mmrag.metrics.table import Floats, higher_is_better


@dataclass(frozen=True)
class Difference:
    """Two means over the same queries, paired: `delta` is b - a.

    `ci95` is the bootstrap interval of `delta`, `p` the two-sided p-value of the paired
    randomisation test, `p_holm` the same corrected for all comparisons shown together. `wins`
    counts queries where b is better than a, `losses` where it is worse.
    """

    a: float
    b: float
    delta: float
    ci95: tuple[float, float]
    p: float
    wins: int
    ties: int
    losses: int
    queries: int
    p_holm: float | None = None


def paired_difference(metric: str, a: Floats, b: Floats, seed: int = 0) -> Difference | None:
    """Compare a metric's per-query values; None when no query has both.

    Args:
        metric: its name, which says whether more is better.
        a: (n,) values of the first system, NaN where not defined.
        b: (n,) values of the second, for the same queries.
        seed: of the resamples.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if not len(a):
        return None
    # Values that differ only by rounding are equal.
    differences = np.where(np.isclose(a, b, rtol=0, atol=1e-12), 0.0, b - a)
    low, high = bootstrap_interval(differences[:, None], generator(seed, "difference"))
    gain = differences if higher_is_better(metric) else -differences
    return Difference(
        float(a.mean()),
        float(b.mean()),
        float(differences.mean()),
        (float(low[0]), float(high[0])),
        randomisation_test(differences, generator(seed, "randomisation")),
        int((gain > 0).sum()),
        int((gain == 0).sum()),
        int((gain < 0).sum()),
        len(a),
    )


def compare_scores(
    a: Scores, b: Scores, metrics: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Difference]:
    """Compare per-query metrics on the queries that both have; default: all common metrics."""
    names = [m for m in (metrics or a.values) if m in a.values and m in b.values]
    common, rows_a, rows_b = common_rows(a, b)
    if not common:
        return {}
    found = {
        name: paired_difference(name, a.values[name][rows_a], b.values[name][rows_b], seed)
        for name in names
    }
    return {name: difference for name, difference in found.items() if difference is not None}


def common_rows(a: Scores, b: Scores) -> tuple[list[str], list[int], list[int]]:
    """Ids of the queries that both have, and their rows in each."""
    row_b = {query_id: row for row, query_id in enumerate(b.query_ids)}
    pairs = [(i, row, row_b[i]) for row, i in enumerate(a.query_ids) if i in row_b]
    return [p[0] for p in pairs], [p[1] for p in pairs], [p[2] for p in pairs]


def select(scores: Scores, query_ids: Mapping[str, object]) -> Scores:
    """Select the metrics of some of the queries."""
    rows = [row for row, query_id in enumerate(scores.query_ids) if query_id in query_ids]
    return Scores(
        [scores.query_ids[row] for row in rows],
        [scores.categories[row] for row in rows],
        [scores.aspects[row] for row in rows],
        {name: values[rows] for name, values in scores.values.items()},
    )
