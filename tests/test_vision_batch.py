"""Reranking a whole set through the Batch API: half the price, and nothing is sent twice."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from mmrag import evaluate, load_reranker
from mmrag.cli import main
from mmrag.errors import BudgetReached, ModelServerError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.search.searcher import Searcher
from mmrag.system.jobs import Progress
from mmrag.types import SearchResult
from mmrag.vision.batch import pending_batches

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .vision_fixtures import colours as shades
from .vision_fixtures import ids, nearest_first, result_of, variations
from .vision_server import KEY, VisionServer

BEST = nearest_first(shades(6))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmrag.vision.batch._FIRST_LOOK", 0.01)


@pytest.fixture
def results(tmp_path: Path) -> list[SearchResult]:
    return variations(result_of(tmp_path, shades(6)), 5)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_batch_is_half_the_price(
    server: VisionServer, results: list[SearchResult], api: str
) -> None:
    reranker = load_reranker("gpt-4o", batch=True, api=api)
    seen: list[tuple[int, int]] = []
    reranker.on_wait = lambda done, of: seen.append((done, of))
    done = reranker.rerank_many(results)
    assert [ids(one) for one in done] == [BEST] * 5
    assert (server.requests, len(server.batches.sent)) == (0, 1)
    usage = [one.rerank.usage for one in done if one.rerank]
    full = (2.5 * server.tokens[0] + 10 * server.tokens[1]) / 1e6
    assert sum(one.cost_usd or 0 for one in usage) == pytest.approx(full / 2)
    assert seen[-1] == (5, 5)
    assert pending_batches() == []
    assert all(KEY.encode() not in content for content in server.batches.files.values())
    load_reranker("gpt-4o", api=api).rerank_many(results)
    assert server.requests == 0, "the answers are in the cache"


def test_azure_has_addresses_of_its_own(
    server: VisionServer, results: list[SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.address)
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    done = load_reranker("gpt-4o", batch=True).rerank_many(results)
    assert [ids(one) for one in done] == [BEST] * 5
    assert (server.requests, len(server.batches.sent)) == (0, 1)
    assert server.batches.batches["batch-0"]["endpoint"] == "/chat/completions"
    server.batches.answered = 2
    reranker = load_reranker("gpt-4o", batch=True, cache=False)
    assert [ids(one) for one in reranker.rerank_many(results)] == [BEST] * 5
    reranker.on_wait = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        reranker.rerank_many(results)
    (name,) = pending_batches()[0].batches
    told = CliRunner().invoke(main, ["batches", "--cancel", name]).output
    assert told.startswith(f"Cancelled {name}.")


def test_windows_are_rounds(server: VisionServer, tmp_path: Path) -> None:
    shown = shades(12)
    reranker = load_reranker("gpt-4o", batch=True, window=6, stride=3)
    done = reranker.rerank(result_of(tmp_path, shown))
    assert ids(done)[:3] == nearest_first(shown)[:3]
    assert len(server.batches.sent) == 3


def test_an_interrupt_goes_on_with_the_same_batch(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    server.batches.looks = 5
    searcher.reranker = load_reranker("gpt-4o", batch=True)

    def interrupt(progress: Progress) -> None:
        if progress.stage == "reranked, batch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(colours, searcher, 5, rerank_k=5, on_progress=interrupt)
    (pending,) = pending_batches()
    assert pending.model == "gpt-4o"
    told = CliRunner().invoke(main, ["batches"]).output
    assert "batch-0  gpt-4o at http://127.0.0.1" in told
    searcher.reranker = load_reranker("gpt-4o", batch=True)
    run = evaluate(colours, searcher, 5, rerank_k=5)
    assert run.state == "complete"
    assert server.batches.sent == ["batch-0"]
    assert "failed" not in run.reranks
    assert run.config["reranker"]["batch"] is True
    home = Path(os.environ["MMRAG_HOME"])
    assert all(KEY.encode() not in p.read_bytes() for p in home.rglob("*") if p.is_file())


def test_what_a_batch_does_not_answer(server: VisionServer, results: list[SearchResult]) -> None:
    server.batches.answered = 2
    done = load_reranker("gpt-4o", batch=True).rerank_many(results)
    assert [ids(one) for one in done] == [BEST] * 5
    assert len(server.batches.sent) == 2, "what had expired is sent once more"
    server.batches.answered, paid = 0, list(server.tokens)
    with pytest.raises(ModelServerError, match="expired, or was cancelled"):
        load_reranker("gpt-4o", batch=True, cache=False).rerank_many(results)
    assert server.tokens == paid, "what has expired costs nothing"
    server.batches.broken = 1
    done = load_reranker("gpt-4o", batch=True, cache=False).rerank_many(results)
    statuses = sorted(one.rerank.status for one in done if one.rerank)
    assert statuses == ["complete"] * 4 + ["failed"]
    problems = [one.rerank.problems for one in done if one.rerank and one.rerank.problems]
    assert "refused it: the server stumbled." in problems[0][0]
    server.batches.refuse = f"too many of {KEY}"
    with pytest.raises(ModelServerError, match=r"refused the batch: too many of \[key\]"):
        load_reranker("gpt-4o", batch=True, cache=False).rerank_many(results)
    assert pending_batches() == []


def test_an_answer_that_cannot_be_read_counts_as_the_most_at_half_the_price(
    server: VisionServer, results: list[SearchResult]
) -> None:
    server.batches.unread = 1
    reranker = load_reranker("gpt-4o", batch=True)
    done = [one.rerank for one in reranker.rerank_many(results[:2]) if one.rerank]
    # A batch is in no particular order.
    failed, answered = sorted(done, key=lambda one: one.status, reverse=True)
    assert (failed.status, answered.status) == ("failed", "complete")
    assert "gave an answer that cannot be read" in failed.problems[0]
    paid = failed.usage.cost_usd
    assert failed.usage.unanswered == 1
    # Room for 1,000 tokens, at half of 10 dollars a million, is most of it.
    assert paid is not None
    assert 0.005 < paid < 0.01
    assert reranker.budget.spent == pytest.approx(paid + (answered.usage.cost_usd or 0))


def test_a_batch_is_looked_at_ever_less_often(
    server: VisionServer, results: list[SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    clock = SimpleNamespace(sleep=waits.append, time=time.time)
    monkeypatch.setattr("mmrag.vision.batch.time", clock)
    monkeypatch.setattr("mmrag.vision.batch._FIRST_LOOK", 5.0)
    server.batches.looks = 13
    load_reranker("gpt-4o", batch=True).rerank_many(results[:1])
    assert waits == [min(60, 1.5**i) for i in range(13)]
    assert server.requests == 0, "a model that is known is not tried first"


def test_an_answer_that_is_cut_is_asked_for_once_more(
    server: VisionServer, results: list[SearchResult]
) -> None:
    server.thinks = 10_000
    reranker = load_reranker("openai:gpt-6-luna", effort="medium", batch=True)
    done = reranker.rerank_many(results)
    assert [ids(one) for one in done] == [BEST] * 5
    assert len(server.batches.sent) == 2
    usage = [one.rerank.usage for one in done if one.rerank]
    assert all(one.reasoning_tokens == 9_000 + 10_000 for one in usage), "both are counted"
    assert all(one.requests == 2 for one in usage)
    server.thinks = 1_000_000
    again = load_reranker("openai:gpt-6-luna", effort="medium", batch=True, cache=False)
    with pytest.raises(ModelServerError, match=r"None of 5 queries had an answer.* of thought"):
        again.rerank_many(results)
    assert len(server.batches.sent) == 4


def test_a_batch_keeps_to_the_limit_and_can_be_cancelled(
    server: VisionServer, results: list[SearchResult]
) -> None:
    with pytest.raises(BudgetReached):
        load_reranker("gpt-4o", batch=True, max_cost=0.001).rerank_many(results)
    assert server.batches.sent == []
    reranker = load_reranker("gpt-4o", batch=True, max_cost=1.0)

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    reranker.on_wait = stop
    with pytest.raises(KeyboardInterrupt):
        reranker.rerank_many(results)
    told = CliRunner().invoke(main, ["batches", "--cancel", "batch-0"]).output
    assert told.startswith("Cancelled batch-0.")
    assert server.batches.cancelled == ["batch-0"]
    assert pending_batches() == []


def test_an_unknown_model_is_tried_once_first(
    server: VisionServer, results: list[SearchResult]
) -> None:
    server.thinks = 1400
    done = load_reranker("openai:brand-new-9", batch=True).rerank_many(results)
    assert [ids(one) for one in done] == [BEST] * 5
    assert server.requests == 3, "a refusal, a cut answer, an answer; the others are in the batch"
