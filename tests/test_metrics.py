"""Metrics against trec_eval's own code, and against examples worked by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from click.testing import CliRunner

from mmrag import MmragError
from mmrag.cli import main
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.metrics.metrics import (
    Scores,
    canonical,
    cutoff,
    default_metrics,
    score_rankings,
    trec_order,
)
from mmrag.metrics.paired import compare_scores
from mmrag.metrics.summary import Summary, summarise
from mmrag.metrics.table import (
    METRICS,
    Floats,
    Metric,
    Scored,
    higher_is_better,
    is_diagnostic,
    leading_metrics,
    metric_title,
    needs_subset,
)
from mmrag.types import GalleryImage

TREC_NAMES = {
    "R@5": "recall_5",
    "R@50": "recall_50",
    "Success@1": "success_1",
    "hit_rate@10": "success_10",
    "nDCG@10": "ndcg_cut_10",
    "AP@50": "map_cut_50",
    "RR": "recip_rank",
    "P@10": "P_10",
}


def a_set(qrels: dict[str, dict[str, int]], **more: dict[str, Any]) -> EvalSet:
    """One query for each entry of `qrels`; `more` maps a query id to fields of its query."""
    queries = [EvalQuery(i, None, "text", **more.get(i, {})) for i in qrels]
    return EvalSet("x", Path(), Path(), [], queries, qrels)


def value(ranking: list[str], judged: dict[str, int], metric: str, **fields: Any) -> float:
    scores = score_rankings({"q": ranking}, a_set({"q": judged}, q=fields), [metric])
    return float(scores.values[metric][0])


@pytest.mark.parametrize("seed", range(5))
def test_random_rankings_score_as_in_trec_eval(seed: int) -> None:
    """Ties, empty rankings, short ones, queries without relevant images, missing queries."""
    rng = np.random.default_rng(seed)
    ids = [f"d{i}" for i in range(80)] + ["é", "Ä", "z", "😀", "a b"]
    runs: dict[str, dict[str, float]] = {}
    qrels: dict[str, dict[str, int]] = {}
    for number in range(60):
        found = rng.choice(ids, rng.integers(0, 70), replace=False)
        # Few distinct scores: most are tied, some only as 32-bit floats.
        scores = rng.integers(0, 6, len(found)) / 3 + rng.choice([0, 1e-9], len(found))
        judged = rng.choice(ids, rng.integers(1, 12), replace=False)
        qrels[f"q{number}"] = {str(d): int(rng.integers(0, 4)) for d in judged}
        if number % 7:
            runs[f"q{number}"] = dict(zip(map(str, found), map(float, scores), strict=True))
    rankings = {query_id: trec_order(one) for query_id, one in runs.items()}
    scores = score_rankings(rankings, a_set(qrels), list(TREC_NAMES))
    official = pytrec_eval.RelevanceEvaluator(
        qrels, {"recall", "success", "ndcg_cut", "map_cut.50", "recip_rank", "P"}
    ).evaluate(runs)
    nothing = dict.fromkeys(TREC_NAMES.values(), 0.0)
    with_relevant = [q for q in qrels if max(qrels[q].values()) > 0]
    assert scores.query_ids == with_relevant
    assert scores.without_relevant == 60 - len(with_relevant)
    for metric, trec_name in TREC_NAMES.items():
        if trec_name in ("recall_50",):
            official_values = pytrec_eval.RelevanceEvaluator(qrels, {"recall.50"}).evaluate(runs)
        else:
            official_values = official
        expected = [official_values.get(q, nothing).get(trec_name, 0.0) for q in with_relevant]
        assert scores.values[metric].tolist() == pytest.approx(expected, abs=1e-12), metric


def test_ties_go_to_the_larger_id_as_in_trec_eval() -> None:
    scores = {"a": 1.0, "b": 1.0, "c": 1.0 + 1e-9, "d": 2.0}
    assert trec_order(scores) == ["d", "c", "b", "a"]
    qrels = {"q": {"a": 1}}
    official = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate({"q": scores})
    assert official["q"]["recip_rank"] == 1 / 4
    assert value(trec_order(scores), qrels["q"], "RR") == 1 / 4


def test_the_order_given_is_the_order_scored() -> None:
    many = [f"d{i:06}" for i in range(10_000)]
    assert value([*many, "right"], {"right": 1}, "RR") == pytest.approx(1 / 10_001)
    assert value(["a", "b"], {"a": 1}, "RR") == 1


@pytest.mark.parametrize(
    ("ranking", "judged", "metric", "expected"),
    [
        (["a", "b", "c"], {"b": 1}, "hit_rate@1", 0),
        (["a", "b", "c"], {"b": 1}, "hit_rate@2", 1),
        ([], {"b": 1}, "hit_rate@5", 0),
        (["b"], {"b": 1}, "hit_rate@50", 1),
        # CIRCO: hits at 1 and 3 of 3 right ones: (1/1 + 2/3) / min(5, 3).
        (["a", "x", "b", "y"], {"a": 1, "b": 1, "c": 1}, "mAP@5", (1 + 2 / 3) / 3),
        (["a", "x", "b", "y"], {"a": 1, "b": 1, "c": 1}, "mAP@2", 1 / 2),
        (["a", "x"], dict.fromkeys("abcdefgh", 1), "mAP@2", 1 / 2),
        ([], {"a": 1}, "mAP@5", 0),
        (["n", "a", "m"], {"a": 1, "n": 0, "m": 0}, "hard_negative_rate@2", 1 / 2),
        (["n", "a", "m"], {"a": 1, "n": 0, "m": 0}, "hard_negative_rate@10", 2 / 10),
        (["x", "n", "y", "a"], {"a": 1, "n": 0}, "hard_negative_rate@4", 1 / 4),
        (["x", "a"], {"a": 2, "x": 1}, "nDCG@2", (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))),
        (["x", "a"], {"a": 2, "x": 1}, "P(rel=2)@1", 0),
        # i-CIR: hits at 1 and 3 of 3: ((1 + 1) / 2 + (1/2 + 2/3) / 2) / 3.
        (["a", "x", "b"], {"a": 1, "b": 1, "c": 1}, "AP_trapezoid@10", (1 + 7 / 12) / 3),
        (["a", "x", "b"], {"a": 1, "b": 1, "c": 0}, "AP_trapezoid@2", 1 / 2),
        (["x", "a"], {"a": 1, "n": 0}, "Judged@10", 1 / 2),
        ([], {"a": 1, "n": 0}, "Judged@10", np.nan),
        (["n"], {"a": 1}, "hard_negative_rate@1", np.nan),
    ],
)
def test_by_hand(ranking: list[str], judged: dict[str, int], metric: str, expected: float) -> None:
    assert value(ranking, judged, metric) == pytest.approx(expected, nan_ok=True)


def circo_official(predictions: list[str], ground_truth: list[str], k: int) -> float:
    """As in the `evaluation.py` that CIRCO publishes."""
    labels = np.isin(np.array(predictions), np.array(ground_truth))
    precisions = np.cumsum(labels, axis=0) * labels
    precisions = precisions / np.arange(1, precisions.shape[0] + 1)
    return float(np.sum(precisions[:k]) / min(len(ground_truth), k))


def test_map_equals_the_code_that_circo_publishes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        ranking = [str(i) for i in rng.permutation(60)[:50]]
        right = [str(i) for i in rng.choice(60, rng.integers(1, 12), replace=False)]
        for k in (5, 10, 25, 50):
            found = value(ranking, dict.fromkeys(right, 1), f"mAP@{k}")
            assert found == pytest.approx(circo_official(ranking, right, k))


def test_recall_of_circo_asks_for_the_target_alone() -> None:
    fields = {"metadata": {"target": "b", "semantic_aspects": ["cardinality"]}}
    judged = {"a": 1, "b": 1}
    assert value(["a", "x", "b"], judged, "R_target@2", **fields) == 0
    assert value(["a", "x", "b"], judged, "R_target@3", **fields) == 1
    assert np.isnan(value(["a"], judged, "R_target@3"))


def test_subset_recall_of_cirr() -> None:
    fields = {"metadata": {"subset": ["s1", "s2", "t"]}}
    ranking = ["x", "s1", "y", "t"]
    assert value(ranking, {"t": 1}, "R_subset@1", **fields) == 0
    assert value(ranking, {"t": 1}, "R_subset@2", **fields) == 1
    # What the ranking does not reach stands behind it, in the order that is given beside it.
    eval_set = a_set({"q": {"t": 1}}, q=fields)
    beside = {"q": ["t", "s1", "s2"]}
    scores = score_rankings(
        {"q": ["x", "s2"]}, eval_set, ["R_subset@1", "R_subset@2"], subset_orders=beside
    )
    assert [scores.values[f"R_subset@{k}"][0] for k in (1, 2)] == [0, 1]
    assert np.isnan(value(ranking, {"t": 1}, "R_subset@1"))


def test_default_metrics_suit_the_set() -> None:
    plain = a_set({"q": {"a": 1}})
    assert default_metrics(plain)[0] == "hit_rate@10"
    assert "hard_negative_rate@1" not in default_metrics(plain)
    assert not any("@50" in name for name in default_metrics(plain, k=20))
    rich = a_set({"q": {"a": 1, "b": 0}}, q={"metadata": {"subset": ["a"], "target": "a"}})
    assert {"R_subset@1", "R_target@5", "hard_negative_rate@10"} <= set(default_metrics(rich))
    assert not higher_is_better("hard_negative_rate@1")


@pytest.mark.parametrize("name", ["recall@5", "nDCG@x", "", "hit_rate@0", "__import__('os')"])
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(MmragError, match="Unknown metric"):
        canonical(name)


@pytest.mark.parametrize("name", ["nDCG@1000000", "R" + 100 * " " + "@5"])
def test_names_that_would_take_memory_or_time_are_refused(name: str) -> None:
    with pytest.raises(MmragError, match="cut-offs have up to six digits") as refused:
        canonical(name)
    assert repr(name[:100]) in str(refused.value)
    assert canonical("nDCG@999999") == "nDCG@999999"


def test_what_the_table_says_of_a_name() -> None:
    assert leading_metrics() == [
        "hit_rate@1",
        "hit_rate@10",
        "nDCG@10",
        "mAP@10",
        "RR",
        "hard_negative_rate@1",
    ]
    assert [metric_title(one) for one in ("RR", "nDCG@5", "P(rel=2)@1")] == [
        "Reciprocal rank",
        "nDCG@5",
        "P(rel=2)@1",
    ]
    assert [is_diagnostic(one) for one in ("Judged@10", "RR", "Bpref")] == [True, False, False]
    assert [needs_subset(one) for one in ("R_subset@2", "R_target@5", "Bpref")] == [
        True,
        False,
        False,
    ]
    assert [higher_is_better(one) for one in ("redundancy@2", "RR", "Bpref")] == [False, True, True]
    assert [cutoff(one) for one in ("RR", "nDCG@10", "nDCG@x", "P(rel=2)@3")] == [None, 10, None, 3]


def test_the_protocol_and_the_primary_metric_come_first() -> None:
    first = replace(a_set({"q": {"a": 1}}), primary_metric="RR")
    assert default_metrics(first)[0] == "RR"
    assert default_metrics(first).count("RR") == 1
    few = default_metrics(first, k=10)
    assert {"hit_rate@10", "RR"} <= set(few)
    assert not {"hit_rate@50", "R@50"} & set(few)


def test_only_some_queries_are_scored() -> None:
    eval_set = a_set({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 0}})
    found = score_rankings({"a": ["x"]}, eval_set, ["RR", "hit_rate@1"], query_ids=["b", "c"])
    assert (found.query_ids, found.without_relevant) == (["b"], 1)
    assert {name: one.tolist() for name, one in found.values.items()} == {
        "RR": [0],
        "hit_rate@1": [0],
    }


def first_place(scored: Scored, k: int) -> Floats:
    right = scored.grades[:, :k] > 0
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1.0, k + 1.0)


def test_a_new_entry_is_scored_by_its_own_function(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Metric(
        "first_place", "First place", "", first_place, cutoffs=(5,), higher_is_better=False
    )
    monkeypatch.setitem(METRICS, "first_place", entry)
    eval_set = a_set({"q": {"a": 1}, "r": {"b": 1}})
    assert default_metrics(eval_set)[-1] == "first_place@5"
    far = score_rankings({"q": ["x", "a"], "r": ["x"]}, eval_set, ["first_place@5"])
    near = score_rankings({"q": ["a"], "r": ["x"]}, eval_set, ["first_place@5"])
    assert far.values["first_place@5"].tolist() == [2, 6]
    assert metric_title("first_place@5") == "First place@5"
    difference = compare_scores(far, near)["first_place@5"]
    assert (difference.delta, difference.wins, difference.losses) == (-0.5, 1, 0)


def test_an_entry_without_a_function_is_not_scored_as_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METRICS, "made_up", Metric("made_up", "Made up", "", cutoffs=(5,)))
    with pytest.raises(MmragError, match=r"Unknown metric 'made_up@5'; use for example"):
        score_rankings({"q": ["a"]}, a_set({"q": {"a": 1}}), ["made_up@5"])


def test_the_table_is_what_the_command_and_the_page_show() -> None:
    rows = CliRunner().invoke(main, ["metrics", "--markdown"]).stdout
    assert rows in (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = json.loads(CliRunner().invoke(main, ["metrics", "--json"]).stdout)
    lower = [one["name"] for one in listed if not one["higher_is_better"]]
    assert (lower, {one["name"] for one in listed}) == (
        ["hard_negative_rate", "redundancy"],
        set(METRICS),
    )
    for entry in METRICS.values():
        for name in entry.at(entry.cutoffs or ((10,) if entry.function else (None,))):
            assert canonical(name) == name


def test_summary_by_group() -> None:
    qrels = {f"q{i}": {"a": 1, **({"n": 0} if i < 2 else {})} for i in range(6)}
    more = {
        f"q{i}": {
            "category": "left" if i < 4 else "right",
            "metadata": {"semantic_aspects": ["colour", "count"] if i == 0 else ["colour"]},
        }
        for i in range(6)
    }
    rankings = {f"q{i}": ["a"] if i in (0, 4) else ["n", "a"] for i in range(6)}
    eval_set = a_set(qrels | {"none": {"a": 0}}, **more)
    metrics = ["hit_rate@1", "mAP@10", "hard_negative_rate@1"]
    summary = summarise(score_rankings(rankings, eval_set, metrics))
    assert (summary.queries, summary.without_relevant) == (6, 1)
    assert summary.overall["hit_rate@1"].mean == pytest.approx(2 / 6)
    low, high = summary.overall["hit_rate@1"].ci95
    assert 0 <= low < 2 / 6 < high <= 1
    assert summary.overall["hard_negative_rate@1"].queries == 2
    assert summary.overall["hard_negative_rate@1"].mean == 0.5
    assert summary.categories["left"]["hit_rate@1"].mean == 0.25
    assert summary.categories["right"]["hit_rate@1"].mean == 0.5
    assert summary.category_mean["hit_rate@1"].mean == pytest.approx(0.375)
    assert set(summary.aspects) == {"colour", "count"}
    assert summary.aspects["count"]["mAP@10"].mean == 1
    assert summary.aspects["colour"]["mAP@10"].mean == pytest.approx((2 + 4 * 0.5) / 6)
    scores = score_rankings(rankings, eval_set, metrics)
    assert summarise(scores) == summary == Summary.from_json(asdict(summary))
    # Of two categories with one of four and one of two right, each resampled within itself.
    mean = summary.category_mean["hit_rate@1"]
    assert (mean.queries, mean.ci95) == (6, (0.0, pytest.approx(0.875, abs=0.125)))
    assert "hard_negative_rate@1" not in summary.category_mean, "the right ones have none"
    assert list(summary.categories) == ["left", "right"]
    assert list(summary.overall) == metrics
    left = replace(scores, categories=["left"] * 6)
    assert summarise(left).category_mean == {}
    assert summarise(left).categories["left"]["mAP@10"].mean == summary.overall["mAP@10"].mean


def test_every_group_is_resampled_by_itself_and_by_the_seed() -> None:
    values = {"RR": np.random.default_rng(0).random(40)}
    names = [str(i) for i in range(40)]
    scores = Scores(names, ["a"] * 20 + ["b"] * 20, [("x", "y")] * 40, values)
    found = [summarise(scores, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0].overall["RR"].mean == found[2].overall["RR"].mean
    assert found[0].overall["RR"].ci95 != found[2].overall["RR"].ci95
    same = [found[0].overall["RR"], *(one["RR"] for one in found[0].aspects.values())]
    assert len({one.mean for one in same}) == 1
    assert len({one.ci95 for one in same}) == 3, "the same queries, drawn anew for each group"
    # Each half is resampled within itself: the mean over both is known better than either.
    halves = [one["RR"].ci95 for one in found[0].categories.values()]
    low, high = found[0].category_mean["RR"].ci95
    assert high - low < min(b - a for a, b in halves)
    assert (
        summarise(replace(scores, categories=["", *scores.categories[1:]]))
        .categories["a"]["RR"]
        .queries
        == 19
    )


def test_nothing_to_score() -> None:
    summary = summarise(score_rankings({"q": ["a"]}, a_set({"q": {}}), ["RR", "hit_rate@1"]))
    assert (summary.overall, summary.queries, summary.without_relevant) == ({}, 0, 1)


def test_unjudged_hits_are_counted_and_can_be_left_out() -> None:
    queries = [EvalQuery(one, None, "x") for one in ("a", "b")]
    images = [GalleryImage(str(i), f"/{i}.png") for i in range(12)]
    qrels = {"a": {"0": 1, "1": 0}, "b": {"0": 1, "1": 0, "2": 1}}
    labelled = EvalSet("x", Path("/x"), Path("/x"), images, queries, qrels)
    rankings = {"a": ["5", "6", "0", "1"], "b": ["1", "7", "2", "0"]}
    names = ["Judged@2", "Bpref", "RR(judged_only=True)", "RR"]
    found = score_rankings(rankings, labelled, names).values
    assert found["Judged@2"].tolist() == [0, 0.5]
    assert found["Bpref"].tolist() == [1, 0]
    assert found["RR(judged_only=True)"].tolist() == [1, 0.5]
    assert found["RR"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert "Judged@10" in default_metrics(labelled)
    only_right = replace(labelled, qrels={"a": {"0": 1}, "b": {"0": 1}})
    assert "Judged@10" not in default_metrics(only_right)
