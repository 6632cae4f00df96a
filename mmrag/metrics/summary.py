"""Means with intervals: overall, by category, over categories, by semantic aspect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrag.metrics.metrics import Scores
from mmrag.metrics.statistics import Floats, bootstrap_means, generator, percentile_interval


@dataclass(frozen=True)
class Estimate:
    """A mean over `queries` queries with its 95 % bootstrap interval."""

    mean: float
    ci95: tuple[float, float]
    queries: int

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Estimate:
        """Rebuild from the result of `dataclasses.asdict`."""
        low, high = value["ci95"]
        return cls(value["mean"], (low, high), value["queries"])


Estimates = dict[str, Estimate]


@dataclass(frozen=True)
class Summary:
    """Metrics of one ranking: metric to estimate, overall and by group.

    `category_mean` is the mean of the categories' means, as FashionIQ reports it; `aspects` groups
    by semantic aspect, as CIRCO does: a query counts once in each of its aspects.
    """

    overall: Estimates
    categories: dict[str, Estimates] = field(default_factory=dict)
    category_mean: Estimates = field(default_factory=dict)
    aspects: dict[str, Estimates] = field(default_factory=dict)
    queries: int = 0
    without_relevant: int = 0

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Summary:
        """Rebuild from the result of `dataclasses.asdict`."""

        def estimates(one: dict[str, Any]) -> Estimates:
            return {name: Estimate.from_json(estimate) for name, estimate in one.items()}

        return cls(
            estimates(value["overall"]),
            {name: estimates(one) for name, one in value["categories"].items()},
            estimates(value["category_mean"]),
            {name: estimates(one) for name, one in value["aspects"].items()},
            value["queries"],
            value["without_relevant"],
        )


def summarise(scores: Scores, seed: int = 0) -> Summary:
    """Means and intervals of per-query metrics; the same seed gives the same intervals."""
    metrics = list(scores.values)
    everything = np.arange(len(scores.query_ids))
    by_category = _groups([category] if category else [] for category in scores.categories)
    by_aspect = _groups(scores.aspects)
    overall, _ = _estimate(scores, metrics, everything, seed, "all")
    categories: dict[str, Estimates] = {}
    resampled: list[dict[str, Floats]] = []
    for name, rows in by_category.items():
        categories[name], means = _estimate(scores, metrics, rows, seed, f"category {name}")
        resampled.append(means)
    return Summary(
        overall,
        categories,
        _mean_of(categories, resampled) if len(categories) > 1 else {},
        {
            name: _estimate(scores, metrics, rows, seed, f"aspect {name}")[0]
            for name, rows in by_aspect.items()
        },
        queries=len(scores.query_ids),
        without_relevant=scores.without_relevant,
    )


def _groups(memberships: Iterable[Iterable[str]]) -> dict[str, npt.NDArray[np.intp]]:
    members: dict[str, list[int]] = {}
    for row, names in enumerate(memberships):
        for name in names:
            members.setdefault(name, []).append(row)
    return {name: np.array(rows, np.intp) for name, rows in sorted(members.items())}


def _estimate(
    scores: Scores, metrics: list[str], rows: npt.NDArray[np.intp], seed: int, what: str
) -> tuple[Estimates, dict[str, Floats]]:
    """Estimates over the given queries, and the resampled means behind their intervals."""
    estimates: Estimates = {}
    resampled: dict[str, Floats] = {}
    # Metrics defined for the same queries share their resamples.
    together: dict[bytes, list[str]] = {}
    for metric in metrics:
        together.setdefault(np.isnan(scores.values[metric][rows]).tobytes(), []).append(metric)
    for names in together.values():
        values = np.stack([scores.values[name][rows] for name in names], axis=1)
        values = values[~np.isnan(values[:, 0])]
        if not len(values):
            continue
        means = bootstrap_means(values, generator(seed, what))
        low, high = percentile_interval(means)
        for column, name in enumerate(names):
            estimates[name] = Estimate(
                float(values[:, column].mean()),
                (float(low[column]), float(high[column])),
                len(values),
            )
            resampled[name] = means[:, column]
    ordered = {name: estimates[name] for name in metrics if name in estimates}
    return ordered, resampled


def _mean_of(categories: dict[str, Estimates], resampled: list[dict[str, Floats]]) -> Estimates:
    """The mean over categories; its interval resamples the queries within each category."""
    found: Estimates = {}
    for metric in next(iter(categories.values())):
        if not all(metric in estimates for estimates in categories.values()):
            continue
        means = np.mean([one[metric] for one in resampled], axis=0)
        low, high = percentile_interval(means[:, None])
        estimates = [one[metric] for one in categories.values()]
        found[metric] = Estimate(
            float(np.mean([estimate.mean for estimate in estimates])),
            (float(low[0]), float(high[0])),
            sum(estimate.queries for estimate in estimates),
        )
    return found
