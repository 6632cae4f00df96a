"""A repeated evaluation with a reranker costs nothing and gives the same answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mmrag import MmragError, RunStore, evaluate, load_reranker
from mmrag.errors import BudgetReached
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.ablations import Ablations
from mmrag.rerank.reorder import reorder
from mmrag.rerank.reranker import OnDone, Reranker
from mmrag.runs.exports import export_run
from mmrag.search.searcher import Searcher
from mmrag.types import RerankReport, SearchResult, Usage

from .evaluation_fixtures import (  # noqa: F401
    colours,
    index,
    quick_searcher,
    searcher,
)
from .memory_milvus import in_memory  # noqa: F401
from .vision_server import VisionServer


def test_a_second_evaluation_sends_no_request(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    runs = []
    for _ in range(2):
        searcher.reranker = load_reranker("gpt-4o")
        runs.append(evaluate(colours, searcher, 20, rerank_k=5, resume=False))
    first, again = runs
    # Queries that show the same pictures with the same words share an answer.
    assert (server.requests, first.usage.requests, first.usage.cached) == (35, 35, 2)
    assert first.run_id != again.run_id
    assert (again.usage.requests, again.usage.cached, again.usage.cost_usd) == (0, 37, 0)
    assert again.ranking("reranked") == first.ranking("reranked")
    assert again.metrics == first.metrics


class _Stubborn(Reranker):
    """Keeps the order that it is shown: as sensitive as a reranker can be."""

    name = "stubborn"

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        for i, result in enumerate(results):
            report = RerankReport(self.name, "complete", usage=Usage(requests=1, cost_usd=0.01))
            done = reorder(result, range(len(result.hits)), report, 1.0)
            if on_done is not None:
                on_done(i, done)
        return list(results)


def test_other_orders_and_repetitions_are_asked_for_and_counted(
    colours: EvalSet,  # noqa: F811
    quick_searcher: Searcher,  # noqa: F811
) -> None:
    quick_searcher.reranker = _Stubborn()
    options = Ablations(shuffles=2, repeat=3)
    run = evaluate(colours, quick_searcher, 8, rerank_k=4, limit=6, ablations=options)
    found = run.ablations["shuffles"]
    assert (found["shuffles"], found["queries"]) == (2, 6)
    assert run.usage.requests == 5 * 6
    assert run.usage.cost_usd == pytest.approx(5 * 6 * 0.01)
    same = run.ablations["repeat"]
    assert same["same_best"] == 1
    assert {one["spread"] for one in same["metrics"].values()} == {0}
    assert found["kendall_tau"]["mean"] < 1
    with RunStore() as store:
        for stage in ("shuffle 1", "shuffle 2"):
            for query_id, one in store.read(run.run_id, stage).items():
                first = run.ranking("retrieval")[query_id]
                assert sorted(one.image_ids[:4]) == sorted(first[:4]), "only the candidates"
                assert one.image_ids[4:] == first[4:]


class _Dear(_Stubborn):
    """Has money for three queries."""

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        super().rerank_many(results[:3], on_done)
        raise BudgetReached("The limit of $0.03 is reached.")


def test_a_run_says_that_its_budget_stopped_it(
    colours: EvalSet,  # noqa: F811
    quick_searcher: Searcher,  # noqa: F811
) -> None:
    quick_searcher.reranker = _Dear()
    run = evaluate(colours, quick_searcher, 8, rerank_k=4, limit=6)
    assert (run.state, run.finished_queries) == ("stopped: budget", 3)
    assert run.notes[0] == "The limit of $0.03 is reached."
    assert "3 of 6 queries were not reached" in run.notes[1]
    with RunStore() as store:
        assert store.load(run.run_id).notes == run.notes


def test_what_the_order_of_the_candidates_changes(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
) -> None:
    searcher.reranker = load_reranker("encoder:x", encoder=searcher.encoder)
    shuffles = Ablations(shuffles=3)
    firm = evaluate(colours, searcher, 10, rerank_k=5, ablations=shuffles).ablations["shuffles"]
    assert (firm["shuffles"], firm["queries"]) == (3, 37)
    assert firm["kendall_tau"]["mean"] == firm["same_best"]["mean"] == 1
    assert all(one["spread"] == 0 for one in firm["metrics"].values())

    searcher.reranker = _Stubborn()
    stop = iter([False] * 60 + [True])
    stopped = evaluate(
        colours, searcher, 10, rerank_k=5, ablations=shuffles, should_stop=lambda: next(stop)
    )
    run = evaluate(colours, searcher, 10, rerank_k=5, ablations=shuffles)
    assert (run.run_id, run.state) == (stopped.run_id, "complete")
    assert run.usage.requests == 4 * 37, "what was asked for the other orders is in the sum"
    found = run.ablations["shuffles"]
    assert abs(found["kendall_tau"]["mean"]) < 0.2, "random orders agree by chance only"
    low, high = found["same_best"]["ci95"]
    assert low < found["same_best"]["mean"] < high < 0.5
    with RunStore() as store:
        orders = [store.read(run.run_id, f"shuffle {n}") for n in (1, 2, 3)]
    rates = [
        float(
            np.mean([bool({*one[q].image_ids[:1]} & {*colours.relevant(q)}) for q in colours.qrels])
        )
        for one in orders
    ]
    one = found["metrics"]["hit_rate@1"]
    assert (one["min"], one["max"]) == pytest.approx((min(rates), max(rates)))
    assert one["spread"] == pytest.approx(max(rates) - min(rates))
    assert one["spread"] > 0
    assert one["ci95"][0] < one["ci95"][1]
    assert found["metrics"]["hit_rate@5"]["spread"] == 0, "the candidates are the same"
    assert "Candidates in other orders" in export_run(run, "html")[0][1].decode()
    searcher.reranker = None
    with pytest.raises(MmragError, match="Shuffles need a reranker"):
        evaluate(colours, searcher, 10, ablations=shuffles)
