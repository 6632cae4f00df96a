"""A repeated evaluation with a reranker costs nothing and gives the same answer."""

from __future__ import annotations

from mmrag import evaluate, load_reranker
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.search.searcher import Searcher

from .test_evaluate import colours, index, searcher  # noqa: F401
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
