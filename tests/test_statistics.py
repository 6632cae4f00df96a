"""Intervals, tests and corrections against SciPy and against exact values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from mmrag.cli import main
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.metrics import statistics
from mmrag.metrics.answer_metrics import contains, exact_match, same_numbers, token_f1
from mmrag.metrics.metrics import Scores
from mmrag.metrics.paired import compare_scores, paired_difference, select
from mmrag.metrics.resolution import (
    deviation_of,
    power,
    queries_needed,
    resolution,
    resolution_of,
    smallest_p,
)
from mmrag.metrics.statistics import (
    bootstrap_interval,
    generator,
    holm,
    percentile_interval,
    randomisation_test,
)

from .helpers import ROOT


@pytest.mark.parametrize("n", [20, 300])
def test_bootstrap_intervals_equal_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    values = np.stack([rng.random(n), (rng.random(n) < 0.3).astype(float)], axis=1)
    low, high = bootstrap_interval(values, generator(0), resamples=20_000)
    for column in range(2):
        reference = stats.bootstrap(
            (values[:, column],),
            np.mean,
            n_resamples=20_000,
            method="percentile",
            random_state=np.random.default_rng(1),
        ).confidence_interval
        width = reference.high - reference.low
        # Two resamplings differ by some hundredths of the width, whoever makes them.
        assert low[column] == pytest.approx(reference.low, abs=0.05 * width)
        assert high[column] == pytest.approx(reference.high, abs=0.05 * width)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(1, 1, (80, 1)), generator(trial), 500)
        covered += bool(low[0] <= 1 <= high[0])
    assert 0.9 <= covered / 200 <= 0.98


def test_intervals_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 3))
    whole = bootstrap_interval(values, generator(3), 400)
    monkeypatch.setattr("mmrag.metrics.statistics._BLOCK", 1000)
    parts = bootstrap_interval(values, generator(3), 400)
    assert np.array_equal(whole, parts)
    assert bootstrap_interval(np.full((5, 1), 0.25), generator(0)) == ([0.25], [0.25])


@pytest.mark.parametrize("shift", [0.0, 0.4, -1.0])
def test_exact_randomisation_equals_scipys(shift: float) -> None:
    differences = np.random.default_rng(1).normal(shift, 1, 11)
    reference = stats.permutation_test(
        (differences, np.zeros(11)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert randomisation_test(differences, generator(0)) == pytest.approx(reference.pvalue)


def test_random_sign_flips_equal_scipys() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.random(200) < 0.5).astype(float), (rng.random(200) < 0.58).astype(float)
    reference = stats.permutation_test(
        (b, a),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    found = randomisation_test(b - a, generator(0))
    error = 4 * np.sqrt(reference.pvalue * (1 - reference.pvalue) / 10_000)
    assert found == pytest.approx(reference.pvalue, abs=error + 1e-4)


def test_randomisation_at_its_ends() -> None:
    assert randomisation_test(np.zeros(30), generator(0)) == 1
    # Only differences count: three equal ones can fall 8 ways, two of them as extreme.
    assert randomisation_test(np.array([1.0, 1, 1, 0, 0]), generator(0)) == 2 / 8
    assert randomisation_test(np.ones(100), generator(0)) == 1 / 10_001


def test_p_values_under_the_null_are_uniform() -> None:
    rng = np.random.default_rng(5)
    found = [randomisation_test(rng.normal(0, 1, 9), generator(i)) for i in range(400)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=0.08)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_paired_difference_counts_what_got_better() -> None:
    a, b = np.array([1.0, 0, 0, 0.3, np.nan]), np.array([0.0, 1, 0, 0.1 + 0.2, 1])
    found = paired_difference("hit_rate@1", a, b)
    assert found is not None
    assert (found.wins, found.ties, found.losses, found.queries) == (1, 2, 1, 4)
    assert (found.delta, found.p) == (0, 1)
    fewer = paired_difference("hard_negative_rate@1", np.ones(3), np.zeros(3))
    assert fewer is not None
    assert (fewer.delta, fewer.wins, fewer.losses) == (-1, 3, 0)
    assert fewer.ci95 == (-1, -1)
    assert paired_difference("RR", np.array([np.nan]), np.array([1.0])) is None


def test_the_seed_draws_resamples_and_permutations() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(40)
    b = a + rng.normal(0.03, 0.2, 40)
    found = [paired_difference("RR", a, b, seed) for seed in (0, 0, 1)]
    assert all(one is not None and 0.01 < one.p < 0.99 for one in found)
    assert found[0] == found[1]
    p = [one.p for one in found if one is not None]
    intervals = [one.ci95 for one in found if one is not None]
    assert p[0] != p[2], "other permutations"
    assert intervals[0] != intervals[2], "other resamples"
    scores = [Scores([*map(str, range(40))], [""] * 40, [()] * 40, {"RR": one}) for one in (a, b)]
    assert [compare_scores(*scores, seed=seed)["RR"] for seed in (0, 1)] == found[1:]


def test_random_sign_flips_do_not_depend_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    differences = np.random.default_rng(4).normal(0.2, 1, 64)
    whole = randomisation_test(differences, generator(0), 800)
    # 64 signs are whole bytes: blocks draw the same bits one after the other.
    monkeypatch.setattr("mmrag.metrics.statistics._BLOCK", 64 * 96)
    assert randomisation_test(differences, generator(0), 800) == whole
    assert 0 < whole < 1
    # A mean of 0 is as extreme as any: all patterns count, and so does the observed one.
    assert randomisation_test(np.tile([1.0, -1.0], 40), generator(0), 800) == 1


def test_the_level_of_an_interval_and_what_draws_it() -> None:
    means = np.arange(101.0)[:, None] * [1, 2]
    low, high = percentile_interval(means, 0.8)
    assert np.allclose([low, high], [[10, 20], [90, 180]])
    low, high = percentile_interval(means)
    assert np.allclose([low[0], high[0]], [2.5, 97.5])
    values = np.random.default_rng(0).random((60, 1))
    (narrow, wide) = (bootstrap_interval(values, generator(0), 500, one) for one in (0.5, 0.95))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]
    first, other, again = (generator(1, what).random() for what in ("a", "b", "a"))
    assert first == again != other


def test_the_smallest_p_of_random_flips_as_a_sentence() -> None:
    said = "With {} permutations the smallest corrected p here is {}."
    assert statistics.smallest_p(3) == said.format("10,000", "0.0003")
    assert statistics.smallest_p(200, 99) == said.format("99", "1")


def test_some_of_the_queries() -> None:
    values = {"RR": np.array([1.0, 0.5, 0.25])}
    some = select(
        Scores(["1", "2", "3"], ["a", "b", "c"], [("x",), (), ("y",)], values), {"3": 0, "1": 0}
    )
    assert (some.query_ids, some.categories, some.aspects) == (
        ["1", "3"],
        ["a", "c"],
        [("x",), ("y",)],
    )
    assert some.values["RR"].tolist() == [1, 0.25]


def test_scores_are_compared_on_common_queries() -> None:
    a = Scores(["1", "2", "3"], [""] * 3, [()] * 3, {"RR": np.array([1.0, 0, 1])})
    b = Scores(["3", "2"], [""] * 2, [()] * 2, {"RR": np.array([1.0, 1]), "x": np.zeros(2)})
    found = compare_scores(a, b)
    assert list(found) == ["RR"]
    assert (found["RR"].a, found["RR"].b, found["RR"].queries) == (0.5, 1.0, 2)
    assert list(compare_scores(b, b)) == ["RR", "x"]
    assert list(compare_scores(b, b, ["x", "nDCG@10"])) == ["x"]
    assert compare_scores(a, select(b, {})) == {}
    undefined = Scores(["1"], [""], [()], {"RR": np.array([np.nan])})
    assert compare_scores(undefined, a) == {}


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1"),
    [
        ("The 250 cm.", ["250 cm"], 1, 1),
        ("It is 250 cm long", ["250 cm", "250cm"], 0, 2 * (2 / 5) * 1 / (2 / 5 + 1)),
        ("a red, RED mug", ["red mug"], 0, 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("$14.00", ["14.00"], 1, 1),
        ("mug", ["a red mug", "the mug", "cup"], 1, 1),
        ("red red mug", ["red red cup"], 0, 2 / 3),
        ("", ["x"], 0, 0),
        ("porcelain", [], 0, 0),
    ],
)
def test_answers_are_scored_as_in_squad(
    answer: str, accepted: list[str], exact: float, f1: float
) -> None:
    assert exact_match(answer, accepted) == exact
    assert token_f1(answer, accepted) == pytest.approx(f1)


def test_what_a_number_of_queries_can_tell() -> None:
    found = resolution(400, 0.5)
    # (1.96 + 0.84) * 0.5 / 20
    assert found.detectable == pytest.approx(0.07, abs=1e-3)
    assert found.power(found.detectable) == pytest.approx(0.8, abs=1e-3)
    assert found.power(0) == pytest.approx(0.05)
    assert found.queries_needed(found.detectable) in (400, 401)
    assert found.queries_needed(0) is None
    assert [smallest_p(n) for n in (0, 1, 2, 5)] == [1, 1, 0.5, 1 / 16]
    assert smallest_p(5) == randomisation_test(np.ones(5), generator(0))
    assert smallest_p(4000) == pytest.approx(randomisation_test(np.ones(4000), generator(0)))
    assert resolution(0).detectable == 1
    assert resolution(1, 5.0).detectable == 1
    # Where nothing was measured, systems disagree on one query in five.
    assert resolution(100).deviation == pytest.approx(0.2**0.5)
    assert (power(0.1, 0, 50), power(0, 0, 50)) == (1, 0)
    assert power(-0.07, 0.5, 400) == pytest.approx(0.8, abs=1e-3)
    # ((1.96 + 0.8416) * 0.5 / 0.1) ** 2 = 196.2, and no test without a second query.
    assert [queries_needed(d, 0.5) for d in (0.1, -0.1, 50)] == [197, 197, 2]
    a, b = np.array([0.0, 1, 0, np.nan]), np.array([1.0, 1, 0, 1])
    assert deviation_of(a, b) == pytest.approx(3**-0.5)
    assert deviation_of(a[:1], b[:1]) == 0


def test_what_a_set_can_tell_is_said_before_an_evaluation() -> None:
    folder = str(ROOT / "eval_sets" / "catalogue")
    command = ["eval-set", "info", folder, "--difference", "0.02"]
    told = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)["resolution"]
    expected = resolution(told["queries"])
    assert (told["smallest_p"], told["power"]) == (expected.smallest_p, expected.power(0.02))
    assert told["queries_needed"] == expected.queries_needed(0.02) > told["queries"]
    out = CliRunner().invoke(main, command).stdout
    assert f"the smallest p that they can give is {expected.smallest_p:.2g}\n" in out
    assert out.endswith(
        f"a difference of 0.02 is found with a probability of {expected.power(0.02):.0%}, and "
        f"takes {expected.queries_needed(0.02):,} queries for one of 80 %\n"
    )


def test_a_query_whose_images_are_all_wrong_counts_for_nothing(tmp_path: Path) -> None:
    qrels = {"a": {"x": 1, "y": 0}, "b": {"x": 0}, "c": {"y": 2}, "d": {}}
    judged = EvalSet("set", tmp_path, tmp_path, [], [], qrels)
    assert resolution_of(judged).queries == 2
    assert [resolution_of(judged, limit).queries for limit in (1, 9)] == [1, 2]


def test_the_power_is_what_simulated_comparisons_reach() -> None:
    seed = np.random.default_rng(1)
    draws = seed.normal(0.1, 0.54, (300, 200))
    found = np.mean([randomisation_test(one, generator(0), 400) < 0.05 for one in draws])
    assert power(0.1, float(draws.std()), 200) == pytest.approx(found, abs=0.07)


@pytest.mark.parametrize(
    ("answer", "accepted", "inside", "numbers"),
    [
        ("It is 250 cm long", ["250 cm", "250cm"], 1, 1),
        ("about 252 cm", ["250 cm"], 0, 1),
        ("2500 cm", ["250 cm"], 0, 0),
        ("1,000 pieces", ["1000"], 1, 1),
        ("48.5", ["$48.50", "48.50"], 0, 1),
        ("40 by 45 cm", ["40 x 40 cm"], 0, 0),
        ("300 ml, and $14.00", ["300 ml"], 1, 0),
        ("0,5 l", ["0.5 l"], 1, 1),
        ("1,000,000 of 2,50", ["1000000 of 2.5"], 0, 1),
        ("252.6 cm", ["250 cm"], 0, 0),
        ("two", ["12", "the"], 0, 0),
        ("the", ["the", "?"], 0, np.nan),
        ("fine bone china", ["bone china", "china"], 1, np.nan),
        ("", ["12"], 0, 0),
    ],
)
def test_answers_that_hold_the_value(
    answer: str, accepted: list[str], inside: float, numbers: float
) -> None:
    assert contains(answer, accepted) == inside
    assert same_numbers(answer, accepted) == pytest.approx(numbers, nan_ok=True)
