"""How far two judges agree: Cohen's kappa, weighted for grades, with an interval."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mmrag.metrics.statistics import LEVEL, RESAMPLES, Floats, generator

Weights = Literal["none", "linear", "quadratic"]
Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges on the items that both graded.

    `kappa` is NaN when it is not defined: nothing in common, or one grade only. `confusion[i][j]`
    counts items that the first graded `grades[i]` and the second `grades[j]`.
    """

    items: int
    observed: float
    kappa: float
    ci95: tuple[float, float]
    grades: list[int]
    confusion: list[list[int]]


def agreement(
    first: Mapping[Item, int],
    second: Mapping[Item, int],
    weights: Weights = "none",
    seed: int = 0,
) -> Agreement:
    """Agreement of two judges.

    Args:
        first: item to grade.
        second: item to grade; only items that both have count.
        weights: "none" is Cohen's kappa (J. Cohen, 1960); "linear" and "quadratic" weigh
            disagreement by the distance of the grades (J. Cohen, 1968).
        seed: of the bootstrap interval, which resamples items (percentile, 2,000 resamples).
    """
    both = [item for item in first if item in second]
    grades = sorted({first[item] for item in both} | {second[item] for item in both})
    place = {grade: i for i, grade in enumerate(grades)}
    a = np.array([place[first[item]] for item in both], dtype=np.int64)
    b = np.array([place[second[item]] for item in both], dtype=np.int64)
    confusion = _confusion(a, b, len(grades))
    kappa = _kappa(confusion, grades, weights)
    low = high = float("nan")
    if both:
        random = generator(seed, "agreement")
        # Drawing items with replacement means drawing their cells of the table.
        cells = random.multinomial(len(both), confusion.ravel() / len(both), RESAMPLES)
        drawn = [_kappa(one.reshape(confusion.shape), grades, weights) for one in cells]
        defined = [value for value in drawn if not np.isnan(value)]
        if defined and not np.isnan(kappa):
            low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Agreement(
        len(both),
        float((a == b).mean()) if both else float("nan"),
        kappa,
        (float(low), float(high)),
        grades,
        confusion.astype(int).tolist(),
    )


def _confusion(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], n: int) -> Floats:
    return np.bincount(a * n + b, minlength=n * n).reshape(n, n).astype(np.float64)


def _kappa(confusion: Floats, grades: Sequence[int], weights: Weights) -> float:
    total = confusion.sum()
    if not total:
        return float("nan")
    # Distances between positions among the occurring grades, as in scikit-learn.
    places = np.arange(len(grades))
    distance = np.abs(places[:, None] - places[None, :]).astype(np.float64)
    cost = {"none": (distance > 0).astype(np.float64), "linear": distance}.get(weights, distance**2)
    expected = np.outer(confusion.sum(1), confusion.sum(0)) / total
    by_chance = float((cost * expected).sum())
    return 1 - float((cost * confusion).sum()) / by_chance if by_chance else float("nan")
