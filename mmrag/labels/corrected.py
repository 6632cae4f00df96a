"""A metric by a model's labels, corrected by queries that people judged too."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mmrag.errors import MmragError
from mmrag.metrics.statistics import LEVEL, Floats


@dataclass(frozen=True)
class Corrected:
    """A mean corrected to people's labels; `by_model` is the mean by the model's alone.

    `tuning` is the weight of the model's labels, from 0 (none) to 1.
    """

    mean: float
    ci95: tuple[float, float]
    by_model: float
    by_people: float
    tuning: float


def corrected_mean(people: Floats, model: Floats, model_only: Floats) -> Corrected:
    """Prediction-powered estimate of a mean.

    Method: A. N. Angelopoulos et al., "Prediction-powered inference", Science 382 (2023), with
    the weight of A. N. Angelopoulos, J. C. Duchi and T. Zrnic, "PPI++" (arXiv:2311.01453), whose
    interval is never wider than by people's labels alone, except for estimating the weight.

    Args:
        people: (n,) a metric per query, by people's labels; a random sample of the queries.
        model: (n,) the same queries, by the model's labels.
        model_only: (m,) the other queries, by the model's labels.

    Raises:
        MmragError: fewer than two queries are judged by both, or none by the model alone.
    """
    n, m = len(people), len(model_only)
    if n < 2 or len(model) != n or m < 1:
        raise MmragError(
            "At least two queries must be judged by people and by the model, and one by the model "
            "alone."
        )
    together = np.concatenate([model, model_only])
    spread = float(together.var(ddof=1))
    covariance = float(((people - people.mean()) * (model - model.mean())).mean())
    tuning = min(1.0, max(0.0, covariance / ((1 + n / m) * spread))) if spread else 0.0
    mean = float(tuning * model_only.mean() + (people - tuning * model).mean())
    variance = tuning**2 * float(model_only.var()) / m + float((people - tuning * model).var()) / n
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * variance**0.5
    return Corrected(
        mean,
        (mean - half, mean + half),
        float(together.mean()),
        float(people.mean()),
        tuning,
    )
