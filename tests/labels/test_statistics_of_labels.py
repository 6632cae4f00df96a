"""Pools, agreement and corrected means against other implementations and by hand."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mmrag.errors import MmragError
from mmrag.labels.agreement import Weights, agreement
from mmrag.labels.corrected import corrected_mean
from mmrag.labels.pooling import bounds, next_queries, pool, shuffled, weights

A = {"q": ["a", "b", "c", "d"], "r": ["a", "b", "c", "d"]}
B = {"q": ["b", "a", "e", "d"], "r": ["a", "b", "c", "x"]}


def test_a_pool_holds_the_first_of_each_system_once() -> None:
    assert pool([A, B], 3) == {"q": ["a", "b", "c", "e"], "r": ["a", "b", "c"]}
    assert pool([A, {}], 2)["q"] == ["a", "b"]


def test_a_pool_is_that_of_a_published_tool() -> None:
    """Computed with `TrecPoolMaker().make_pool(runs, "topX", topX=3)` of trectools 0.0.50."""
    runs = [
        {"t1": "d5 d2 d3 d8 d0 d4", "t2": "d8 d1 d2 d4 d0 d7"},
        {"t1": "d0 d1 d3 d6 d8 d7", "t2": "d1 d6 d0 d4 d7 d8"},
        {"t1": "d0 d6 d8 d1 d7 d5", "t2": "d4 d6 d1 d8 d0 d2"},
    ]
    found = pool([{topic: order.split() for topic, order in run.items()} for run in runs], 3)
    assert {topic: sorted(ids) for topic, ids in found.items()} == {
        "t1": ["d0", "d1", "d2", "d3", "d5", "d6", "d8"],
        "t2": ["d0", "d1", "d2", "d4", "d6", "d8"],
    }


def test_what_both_systems_rank_alike_decides_nothing() -> None:
    found = weights([A, B], "q", 3)
    assert found["a"] == pytest.approx(1 - 1 / math.log2(3))
    assert found["c"] == found["e"] == pytest.approx(0.5)
    assert set(weights([A, B], "r", 3).values()) == {0.0}


def test_queries_come_by_what_they_can_change_and_judged_ones_no_more() -> None:
    systems = [
        {"same": ["a", "b"], "swapped": ["a", "b"], "other": ["a", "b"]},
        {"same": ["a", "b"], "swapped": ["b", "a"], "other": ["x", "y"]},
    ]
    assert next_queries(systems, {}, 2) == ["other", "swapped", "same"]
    judged = {"other": {"a", "b", "x", "y"}, "swapped": {"a"}}
    assert next_queries(systems, judged, 2) == ["swapped", "same"]


def test_bounds_hold_for_every_way_of_judging_the_rest() -> None:
    qrels = {"q": {"a": 2}, "r": {"x": 1}}
    found = bounds(A, B, qrels, 4)
    gain = np.random.default_rng(0)

    def dcg(ranking: list[str], grades: dict[str, int]) -> float:
        return sum(grades[one] / math.log2(i + 2) for i, one in enumerate(ranking))

    reached = []
    for _ in range(300):
        total = 0.0
        for query_id in ("q", "r"):
            rest = {one: int(gain.integers(0, 3)) for one in "abcdex"}
            grades = {**rest, **qrels[query_id]}
            total += dcg(B[query_id], grades) - dcg(A[query_id], grades)
        reached.append(total / 2)
    assert found.low <= min(reached) + 1e-9
    assert max(reached) <= found.high + 1e-9
    assert not found.is_decided
    everything = dict.fromkeys("abcdex", 0)
    decided = bounds(A, B, {"q": {**everything, "a": 2}, "r": everything}, 4)
    assert decided.is_decided
    assert decided.judged == decided.low == decided.high < 0


def test_the_order_of_judging_is_each_judges_own_and_stays() -> None:
    ids = [f"i{n}" for n in range(20)]
    mine = shuffled(ids, "q", "Ada")
    assert sorted(mine) == sorted(ids)
    assert mine == shuffled(ids[::-1], "q", "Ada"), "says nothing of who found it, or where"
    assert mine != shuffled(ids, "q", "Ben")


@pytest.mark.parametrize("way", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_scikit_learns(way: Weights, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.integers(0, 3, 120)
    second = np.where(random.random(120) < 0.6, first, random.integers(0, 3, 120))
    a: dict[Hashable, int] = {i: int(grade) for i, grade in enumerate(first)}
    b: dict[Hashable, int] = {i: int(grade) for i, grade in enumerate(second)}
    b["not judged by the other"] = 2
    found = agreement(a, b, way)
    expected = cohen_kappa_score(first, second, weights=None if way == "none" else way)
    assert found.kappa == pytest.approx(expected, abs=1e-12)
    assert found.items == 120
    assert found.ci95[0] < found.kappa < found.ci95[1]
    assert found.observed == pytest.approx((first == second).mean())
    assert sum(map(sum, found.confusion)) == 120


def test_kappas_interval_is_about_the_published_one() -> None:
    """J. L. Fleiss, B. Levin, M. C. Paik (2003), table 18.1: kappa 0.68, standard error 0.087."""
    table = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
    first = [i for i, row in enumerate(table) for n in row for _ in range(n)]
    second = [j for row in table for j, n in enumerate(row) for _ in range(n)]
    found = agreement(dict(enumerate(first)), dict(enumerate(second)))
    assert found.kappa == pytest.approx(0.68, abs=0.005)
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * 0.087, rel=0.15)


def test_kappa_is_undefined_where_all_is_one_grade() -> None:
    assert math.isnan(agreement({1: 0, 2: 0}, {1: 0, 2: 0}).kappa)
    assert math.isnan(agreement({1: 0}, {2: 0}).kappa)


def test_a_corrected_mean_is_that_of_the_published_package() -> None:
    """Computed with `ppi_mean_pointestimate` and `ppi_mean_ci` of ppi-python 0.2.3."""
    random = np.random.default_rng(5)
    people = (random.random(30) < 0.6).astype(float)
    model = np.where(random.random(30) < 0.8, people, 1 - people)
    rest = (random.random(200) < 0.55).astype(float)
    found = corrected_mean(people, model, rest)
    assert found.mean == pytest.approx(0.65009931, abs=1e-8)
    assert found.ci95 == pytest.approx((0.51364653, 0.7865521), abs=1e-7)


def test_a_corrected_mean_covers_the_truth_where_the_model_is_wrong() -> None:
    random = np.random.default_rng(1)
    covered = misled = 0
    for _ in range(300):
        truth = (random.random(1000) < 0.5).astype(float)
        model = np.where(random.random(1000) < 0.3, 1.0, truth)
        found = corrected_mean(truth[:150], model[:150], model[150:])
        covered += found.ci95[0] <= 0.5 <= found.ci95[1]
        misled += found.by_model > 0.6
    assert covered >= 0.92 * 300
    assert misled == 300


def test_too_few_labels_are_said() -> None:
    with pytest.raises(MmragError, match="At least two"):
        corrected_mean(np.ones(1), np.ones(1), np.ones(5))
