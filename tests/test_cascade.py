"""Rerankers in stages, each on fewer hits: what each brings and takes is in the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mmrag import MmragError, Query, RunStore, evaluate, load_reranker
from mmrag.cli.tables import run_lines
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.rerank.cascade import Cascade, parse_stages
from mmrag.rerank.reorder import reorder
from mmrag.rerank.reranker import OnDone, Reranker
from mmrag.runs.exports import export_run
from mmrag.search.searcher import Searcher
from mmrag.types import Hit, RerankReport, SearchResult, Usage

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
    assert parse_stages("a@1, ,b@1,") == [("a", 1), ("b", 1)]
    assert parse_stages("") == []
    with pytest.raises(MmragError, match="at 1 or more"):
        parse_stages("a@1,b@0")
    with pytest.raises(MmragError, match="leave --rerank-k out"):
        load_reranker("bge-reranker@9,vision@3", depth=5)


class Turns(Reranker):
    """Turns the first hits round; says what it is told to."""

    def __init__(self, name: str, depth: int, status: Any, **more: Any) -> None:
        self.name, self.depth, self.status = name, depth, status
        vars(self).update(more)

    @property
    def configuration(self) -> dict[str, Any]:
        return {"name": self.name, "depth": self.depth, f"of {self.name}": 1}

    def notices(self) -> list[str]:
        return [f"{self.name} is used"]

    def again(self, number: int) -> Turns:
        return Turns(f"{self.name} {number}", self.depth or 0, self.status)

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        assert self.on_wait is not None
        outcomes = []
        for place, one in enumerate(results):
            n = min(self.depth or 0, len(one.hits))
            details = {"memory_mb": 7, "other": 1} if self.status == "repaired" else {}
            usage = Usage(requests=self.depth or 0)
            problems = () if self.status == "complete" else (f"it is {self.status}",)
            report = RerankReport(self.name, self.status, problems, usage, details)
            outcomes.append(reorder(one, range(n)[::-1], report, float(n)))
            if on_done is not None:
                on_done(place, outcomes[-1])
        return outcomes


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (("complete", "complete"), "complete"),
        (("repaired", "complete"), "repaired"),
        (("complete", "failed"), "failed"),
        (("failed", "repaired"), "failed"),
    ],
)
def test_what_a_cascade_says_of_its_stages(statuses: tuple[str, str], status: str) -> None:
    hits = [Hit(i + 1, str(i), f"/{i}", 1 - i / 10, i + 1, "", {}) for i in range(5)]
    results = [SearchResult(Query(text=str(n)), hits, {"search": 1.0}) for n in range(3)]
    first = Turns("a", 4, statuses[0], fingerprint="f", together=3)
    cascade = Cascade([first, Turns("b", 2, statuses[1], costs_money=True)], "a@4,b@2")
    told: list[tuple[int, SearchResult]] = []
    cascade.on_wait = lambda done, of: None
    found = cascade.rerank_many(results, lambda place, one: told.append((place, one)))
    assert [place for place, _ in told] == [0, 1, 2]
    assert [one for _, one in told] == found
    for result, one in zip(results, found, strict=True):
        assert one.query == result.query
        assert [hit.image_id for hit in one.hits] == ["2", "3", "1", "0", "4"]
        assert one.timings_ms == {"search": 1.0, "rerank": 6.0}
        report = one.rerank
        assert report is not None
        assert (report.reranker, report.status, report.usage) == ("a@4,b@2", status, Usage(6))
        wrong = [
            f"{name}: it is {s}" for name, s in zip("ab", statuses, strict=True) if s != "complete"
        ]
        assert list(report.problems) == wrong
        stages = report.details["stages"]
        assert [stage["order"] for stage in stages] == [["3", "2", "1", "0"], ["2", "3"]]
        assert [(s["reranker"], s["depth"], s["ms"], s["status"]) for s in stages] == [
            ("a", 4, 4.0, statuses[0]),
            ("b", 2, 2.0, statuses[1]),
        ]
        assert [s.get("memory_mb") for s in stages] == [
            7 if s == "repaired" else None for s in statuses
        ]
        assert not any("other" in stage for stage in stages)
    assert (cascade.depth, cascade.fingerprint, cascade.together) == (4, "f", 3)
    assert (cascade.costs_money, cascade.budget) == (True, None)
    assert cascade.configuration == {"name": "a@4,b@2", "depth": None, "of a": 1, "of b": 1}
    assert cascade.notices() == ["a is used", "b is used"]
    again = cascade.again(2)
    assert ([one.name for one in again.stages], again.name) == (["a 2", "b 2"], "a@4,b@2")


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
