"""Rerankers in stages, each on fewer hits: what each brings and takes is in the run."""

from __future__ import annotations

import pytest

from mmrag import MmragError, Query, RunStore, evaluate, load_reranker
from mmrag.cli.tables import run_lines
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.rerank.cascade import parse_stages
from mmrag.runs.exports import export_run
from mmrag.search.searcher import Searcher

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .vision_server import VisionServer


def test_depths_behind_all_names_or_none() -> None:
    assert parse_stages("encoder:a/b@100, ce:c@20,vision@9") == [
        ("encoder:a/b", 100),
        ("ce:c", 20),
        ("vision", 9),
    ]
    assert parse_stages("none,vision,encoder:demo") == []
    assert parse_stages("ce:me/model@v2") == []
    assert parse_stages("ce:me/model@2@50") == [("ce:me/model@2", 50)]
    with pytest.raises(MmragError, match="'vision' has no depth, but others have"):
        parse_stages("encoder:demo@100,vision")
    with pytest.raises(MmragError, match="fewer and fewer"):
        parse_stages("encoder:demo@9,vision@10")
    with pytest.raises(MmragError, match="leave --rerank-k out"):
        load_reranker("bge-reranker@9,vision@3", depth=5)


def test_each_stage_orders_what_the_one_before_left(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmrag.encoders.load_encoder", lambda *_, **__: searcher.encoder)
    name = "encoder:x@8,gpt-4o@3"
    searcher.reranker = load_reranker(name)
    plain = Searcher(searcher.index, searcher.encoder)
    query = Query(colours.queries[0].image, colours.queries[0].text)
    hits = plain.search(query, 12).hits
    one = load_reranker("encoder:x", depth=8).rerank(plain.search(query, 12))
    two = load_reranker("gpt-4o", depth=3).rerank(one)
    found = searcher.search(query, 12)
    assert [h.image_id for h in found.hits] == [h.image_id for h in two.hits]
    assert {h.image_id: h.retrieval_rank for h in found.hits} == {h.image_id: h.rank for h in hits}
    assert found.rerank is not None
    stages = found.rerank.details["stages"]
    assert [(s["reranker"], s["depth"], len(s["order"])) for s in stages] == [
        ("encoder:x", 8, 8),
        ("openai:gpt-4o", 3, 3),
    ]
    assert found.timings_ms["rerank"] == pytest.approx(sum(s["ms"] for s in stages))

    run = evaluate(colours, searcher, 12)
    assert run.config["rerank_k"] == 8
    first, last = run.rerank_stages
    alone = evaluate(
        colours, Searcher(searcher.index, searcher.encoder, load_reranker("encoder:x", depth=8)), 12
    )
    assert first["metrics"] == pytest.approx(alone.metrics)
    assert last["metrics"] == pytest.approx(run.metrics)
    assert (first["requests"], last["requests"] > 0, last["cost_usd"]) == (
        0,
        True,
        run.usage.cost_usd,
    )
    assert first["ms"]["mean"] > 0
    assert sum(last["statuses"].values()) == len(colours.queries)
    with RunStore() as store:
        stored = store.load(run.run_id)
    assert stored.rerank_stages == run.rerank_stages
    shown = "\n".join(run_lines(stored))
    assert "openai:gpt-4o" in shown
    assert "ms a query" in shown
    assert "<td>openai:gpt-4o</td><td>3</td>" in str(export_run(stored, "html"))
    with pytest.raises(MmragError, match="leave rerank_k out"):
        evaluate(colours, searcher, 12, rerank_k=4)
