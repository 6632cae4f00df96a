"""Runs as data frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.metrics.metrics import score_rankings
from mmrag.metrics.summary import summarise
from mmrag.runs import frames
from mmrag.runs.compare import Entry, run_table, told_apart
from mmrag.runs.run import EvalSetRef, Ranked, Run


@pytest.fixture
def eval_set(tmp_path) -> EvalSet:  # type: ignore[no-untyped-def]
    queries = [EvalQuery(f"q{i}", None, "text", category="ab"[i % 2]) for i in range(4)]
    qrels = {f"q{i}": {"x": 1, "y": 0} for i in range(4)}
    return EvalSet("set", tmp_path, tmp_path, [], queries, qrels)


def make(name: str, order: list[list[str]], eval_set: EvalSet, ms: float) -> Entry:
    rankings = {f"q{i}": ids for i, ids in enumerate(order)}
    scores = score_rankings(rankings, eval_set, ["hit_rate@1", "hit_rate@2"])
    run = Run(
        run_id=name,
        name=name,
        eval_set=EvalSetRef("set", "", "1", "hash", primary_metric="hit_rate@1"),
        state="complete",
        created="2026-01-02T03:04:05+00:00",
        config={"k": 3},
        summaries={"retrieval": summarise(scores)},
        timings_ms={"total": {"p50": ms, "p95": 2 * ms, "mean": ms}},
        finished_queries=4,
        rankings={
            "retrieval": {
                i: Ranked(i, ids, [1.0 - place / 10 for place in range(len(ids))])
                for i, ids in rankings.items()
            }
        },
        scores={"retrieval": scores},
    )
    return Entry(run, "retrieval")


@pytest.fixture
def entries(eval_set: EvalSet) -> list[Entry]:
    worse = make("worse", [["y", "x"], ["y", "x"], ["x"], ["z"]], eval_set, 10)
    better = make("better", [["x"], ["x"], ["y", "x"], ["x"]], eval_set, 20)
    return [worse, better]


def test_the_curve_rises_to_the_hit_rate_at_each_depth(
    entries: list[Entry], eval_set: EvalSet
) -> None:
    hits = frames.hits_by_depth(entries[0], eval_set, 3)
    assert hits.tolist() == [[0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0]]
    frame = frames.curves(entries, eval_set)
    worse = frame[frame["run"] == "worse"]
    assert worse["hit rate"].tolist() == [0.25, 0.75, 0.75]
    assert worse["k"].tolist() == [1, 2, 3]
    assert (frame["low"] <= frame["hit rate"]).all()
    assert (frame["hit rate"] <= frame["high"]).all()


def test_query_differences_put_the_most_helped_first(entries: list[Entry]) -> None:
    frame = frames.query_differences(*entries, "hit_rate@1")
    assert frame["query"].tolist() == ["q0", "q1", "q3", "q2"]
    assert frame["change"].tolist() == [1, 1, 1, -1]
    assert frame["category"].tolist() == ["a", "b", "b", "a"]


def test_tables_say_means_intervals_and_differences(entries: list[Entry]) -> None:
    found = run_table(entries)
    table = frames.table(found, ["hit_rate@1"])
    assert table["run"].tolist() == ["worse", "better"]
    assert table["hit_rate@1"][0].startswith("0.250 [")
    assert table["Δ hit_rate@1"][1].startswith("+0.500 (p")
    assert table["p50 ms"].tolist() == [10, 20]
    trade = frames.trade_off(found, "hit_rate@1")
    assert trade["value"].tolist() == [0.25, 0.75]
    grouped = frames.categories(entries, "hit_rate@1")
    assert set(grouped["category"]) == {"a (2)", "b (2)"}
    overview = frames.overview([entry.run for entry in entries])
    assert overview["value"].tolist() == [0.25, 0.75]
    assert np.isfinite(overview["p95 ms"]).all()


def test_runs_of_one_name_are_told_apart_by_what_differs(
    entries: list[Entry], eval_set: EvalSet
) -> None:
    first, second = entries

    def named(entry: Entry, **changes: object) -> Entry:
        config = {**entry.run.config, **changes}
        return Entry(replace(entry.run, name="same", config=config), "retrieval")

    deep, shallow = named(first, rerank_k=20), named(second, rerank_k=10)
    found = run_table([deep, shallow])
    assert [row.label for row in found.rows] == ["same · reranks 20", "same · reranks 10"]
    told = told_apart([deep, shallow, second])
    frame = frames.categories(told, "hit_rate@1")
    assert frame.groupby(["run", "category"]).size().max() == 1
    assert frames.curves(told, eval_set).groupby(["run", "k"]).size().max() == 1
    assert told[2].label == "better"
    alike = told_apart([named(first), named(second)])
    assert [one.label for one in alike] == ["same · worse", "same · better"]


def test_p_values_are_corrected_over_what_is_shown(entries: list[Entry]) -> None:
    every = run_table(entries)
    one = run_table(entries, ["hit_rate@1"])
    assert (every.tests, one.tests) == (2, 1)
    difference = one.rows[1].differences["hit_rate@1"]
    assert difference.p_holm == difference.p


def test_runs_are_narrowed_by_what_they_are_and_by_words() -> None:
    def listed(run_id: str, name: str, **fields: object) -> Run:
        ref = EvalSetRef(str(fields.pop("eval_set", "mugs")), "", "1", "hash")
        state = str(fields.pop("state", "complete"))
        return Run(run_id, name, ref, state, "2026-01-02T03:04:05+00:00", **fields)  # type: ignore[arg-type]

    plain = listed("1", "Clip", config={"encoder": {"name": "clip"}, "reranker": None})
    reranked = listed(
        "2",
        "clip + gpt-4o",
        config={"encoder": {"name": "clip"}, "reranker": {"name": "openai:gpt-4o"}},
        state="stopped: budget",
        notes=["2 of 9 queries were not reached."],
    )
    uploaded = listed("3", "<b>theirs</b>", config={"imported": "x.trec"}, eval_set="Apples")
    tuned = listed("4", "tuned", config={"encoder": {"name": "/home/me/tuned"}})
    assert frames.facets([tuned])["encoder"] == ["tuned"]
    runs = [plain, reranked, uploaded]
    assert frames.facets(runs) == {
        "eval set": ["Apples", "mugs"],
        "encoder": ["clip", "not known"],
        "reranker": ["none", "not known", "openai:gpt-4o"],
        "state": ["complete", "stopped: budget"],
    }
    assert frames.narrow(runs, dict.fromkeys(frames.FACETS), "  ") == runs
    assert frames.narrow(runs, {"eval set": "mugs", "reranker": "none"}) == [plain]
    assert frames.narrow(runs, {"encoder": "clip", "state": "stopped: budget"}) == [reranked]
    assert frames.narrow(runs, {"reranker": "not known"}) == [uploaded]
    assert frames.narrow(runs, words="CLIP") == [plain, reranked]
    assert frames.narrow(runs, words="reached gpt") == [reranked]
    assert frames.narrow(runs, words="<b>") == [uploaded]
    assert frames.narrow(runs, {"state": "running"}) == []
    assert frames.facets([])["state"] == []


def test_p_values_are_worded() -> None:
    assert frames.p_value(0.0001) == "p < 0.001"
    assert frames.p_value(0.0421) == "p = 0.042"
    assert frames.p_value(None) == "p unknown"
