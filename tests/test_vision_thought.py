"""Models that think before they answer: room, effort, tokens, and answers that never come."""

from __future__ import annotations

import json
import sqlite3
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mmrag import MmragError, evaluate, load_reranker
from mmrag.cli import main
from mmrag.errors import ModelServerError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.runs.compare import compare_runs, stage_entries
from mmrag.runs.exports import export_run
from mmrag.search.answer import answer
from mmrag.search.searcher import Searcher
from mmrag.types import SearchResult
from mmrag.vision.cache import ResponseCache
from mmrag.vision.model import VisionModel
from mmrag.vision.models import find_model, is_blind
from mmrag.vision.prompt import Prompt, data
from mmrag.vision.stream import ReplyStream

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .vision_fixtures import colours as shades
from .vision_fixtures import ids, nearest_first, result_of, variations
from .vision_server import Scene, VisionServer

BEST = nearest_first(shades(6))


@pytest.fixture
def result(tmp_path: Path) -> SearchResult:
    return result_of(tmp_path, shades(6))


@pytest.fixture
def thinker(server: VisionServer) -> VisionServer:
    server.thinks = 1400
    return server


def test_a_known_model_is_asked_for_no_thought(thinker: VisionServer, result: SearchResult) -> None:
    done = load_reranker("openai:gpt-6-luna").rerank(result)
    assert ids(done) == BEST
    assert thinker.requests == 1, "nothing that the model refuses was sent"
    assert thinker.bodies[0]["reasoning_effort"] == "none"
    assert done.rerank is not None
    assert done.rerank.details["effort"] == "none"
    assert done.rerank.usage.reasoning_tokens == 0


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_thought_has_room_and_is_counted(
    thinker: VisionServer, result: SearchResult, api: str
) -> None:
    done = load_reranker("openai:gpt-6-luna", effort="medium", api=api).rerank(result)
    assert ids(done) == BEST
    assert thinker.requests == 1
    assert thinker.paths[0].endswith({"chat": "/chat/completions", "responses": "/responses"}[api])
    assert done.rerank is not None
    usage = done.rerank.usage
    assert usage.reasoning_tokens == 1400 < usage.completion_tokens == thinker.tokens[1]
    spent = (thinker.tokens[0] * 0.10 + thinker.tokens[1] * 0.50) / 1e6
    assert usage.cost_usd == pytest.approx(spent)


def test_an_unknown_model_is_learnt_from_what_it_refuses(
    thinker: VisionServer, result: SearchResult
) -> None:
    reranker = load_reranker("openai:brand-new-1", concurrency=1)
    first, again = reranker.rerank_many(variations(result, 2))
    assert ids(first) == ids(again) == BEST
    sent = [(body.get("temperature"), body["max_completion_tokens"]) for body in thinker.bodies]
    # The temperature is refused, the first answer cut; what was learnt is used at once.
    assert sent == [(0, 1000), (None, 1000), (None, 4000), (None, 4000)]
    assert first.rerank is not None
    assert first.rerank.usage.completion_tokens > 2400, "the cut answer was paid for"


def test_an_effort_that_is_refused_is_replaced(thinker: VisionServer, result: SearchResult) -> None:
    thinker.efforts = ("low", "medium")
    done = load_reranker("openai:gpt-6-luna").rerank(result)
    assert ids(done) == BEST
    assert [body["reasoning_effort"] for body in thinker.bodies] == ["none", "low"]
    with pytest.raises(MmragError, match="gpt-6-luna cannot think with effort 'minimal'; it takes"):
        load_reranker("openai:gpt-6-luna", effort="minimal")


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_answer_that_thought_leaves_no_room_for(
    thinker: VisionServer, result: SearchResult, api: str
) -> None:
    thinker.thinks = 1_000_000
    done = load_reranker("openai:brand-new-2", max_answer_tokens=200, api=api).rerank(result)
    assert done.rerank is not None
    assert done.rerank.status == "failed"
    assert done.rerank.problems == ("the answer was cut off after 800 tokens of thought",)
    assert (done.rerank.usage.requests, done.rerank.usage.completion_tokens) == (2, 1000)
    thinker.thinks = 0
    assert ids(load_reranker("openai:brand-new-2", max_answer_tokens=200).rerank(result)) == BEST


@pytest.mark.parametrize(
    "scene",
    [Scene(text=""), Scene(refusal="no"), Scene(text="[0, 1", finish="length")],
    ids=["empty", "refused", "cut"],
)
def test_only_whole_answers_are_kept(
    server: VisionServer, result: SearchResult, scene: Scene
) -> None:
    server.always = scene
    load_reranker("gpt-4o").rerank(result)
    server.always = None
    assert ids(load_reranker("gpt-4o").rerank(result)) == BEST


def test_empty_answers_in_an_old_cache_are_not_used(
    server: VisionServer, result: SearchResult
) -> None:
    load_reranker("gpt-4o").rerank(result)
    old = {"text": "", "refusal": None, "finish": "length", "prompt_tokens": 9}
    with sqlite3.connect(ResponseCache().path) as connection:
        connection.execute("UPDATE responses SET answer = ?", (json.dumps(old),))
    assert ids(load_reranker("gpt-4o").rerank(result)) == BEST
    assert ids(load_reranker("gpt-4o").rerank(result)) == BEST
    assert server.requests == 2, "the new answer took its place"


@pytest.mark.parametrize("scene", [Scene(text=""), Scene(refusal="no"), Scene(text="Nice!")])
def test_five_failures_of_any_kind_stop(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
    scene: Scene,
) -> None:
    server.always = scene
    searcher.reranker = load_reranker("gpt-4o", concurrency=1)
    with pytest.raises(ModelServerError, match="5 queries in a row had no answer"):
        evaluate(colours, searcher, 5, rerank_k=5)
    assert server.requests == 5
    server.always = None
    run = evaluate(colours, searcher, 5, rerank_k=5)
    assert "failed" not in run.reranks
    assert run.usage.prompt_tokens == server.tokens[0], "what failed was paid for, too"


def test_a_run_of_which_much_failed_says_so_first(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    def made(failed: int):  # type: ignore[no-untyped-def]
        server.script.extend(s for _ in range(failed) for s in (Scene(text="Nice!"), Scene()))
        searcher.reranker = load_reranker("gpt-4o", concurrency=1, cache=False)
        return evaluate(colours, searcher, 5, rerank_k=5, resume=False)

    assert made(3).warning == ""
    run = made(4)
    assert run.warning.startswith("Reranking failed for 4 of 37 queries")
    assert run.warning in compare_runs(stage_entries(run)).notes[0]
    assert f"<strong>{run.warning.split(',')[0]}" in export_run(run, "html")[0][1].decode()
    shown = CliRunner().invoke(main, ["compare", run.run_id]).output
    assert f"* (2): {run.warning}" in shown
    assert ")*" in next(line for line in shown.split("\n") if line.startswith("  hit_rate@1 "))


def test_thought_is_exported(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    thinker: VisionServer,
) -> None:
    searcher.reranker = load_reranker("openai:gpt-6-luna", effort="medium")
    run = evaluate(colours, searcher, 5, rerank_k=5, limit=2)
    table = pq.read_table(BytesIO(export_run(run, "parquet")[0][1])).to_pylist()
    reranked = [row for row in table if row["stage"] != "retrieval"]
    assert [row["reasoning_tokens"] for row in reranked] == [1400, 1400]
    header = export_run(run, "csv")[0][1].decode().split("\n")[0]
    assert "reasoning_tokens" in header.split(",")
    page = export_run(run, "html")[0][1].decode()
    assert f"+ {run.usage.completion_tokens:,} tokens (2,800 of them thought)" in page


def test_ask_waits_for_the_end_of_thought(thinker: VisionServer, result: SearchResult) -> None:
    done = answer("What colour is it?", VisionModel("brand-new-3"), hits=result.hits)
    assert done.problem is None
    assert done.answer
    assert done.usage.reasoning_tokens == 2400, "1,000 in vain, then 1,400"
    said = answer(
        "What colour is it?", VisionModel("gpt-6-luna", api="responses"), hits=result.hits
    )
    assert said.answer == done.answer


def test_a_streamed_answer_is_not_asked_for_again_without_more_room(
    thinker: VisionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "models.json"
    own.write_text('{"models": {"mine": {"reasoning": true, "most_output": 700}}}')
    monkeypatch.setenv("MMRAG_MODELS", str(own))
    thinker.always = Scene(text="", finish="length")
    stream = ReplyStream(VisionModel("mine", effort="high"), Prompt("rules", (data("x"),), 500))
    assert list(stream) == []
    assert stream.reply.cut
    assert (thinker.requests, stream.usage.requests) == (1, 1), "it would be cut again"


def test_the_table_can_be_extended(
    server: VisionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    luna = find_model("gpt-6-luna")
    assert (luna.reasoning, luna.efforts[0], luna.image.tokens(1024, 1024)) == (True, "none", 1229)
    assert luna.image.tokens(1920, 1080) == 2448
    assert find_model("gpt-6.7-sol").reasoning
    assert find_model("openai/gpt-4o").price is None, "a gateway has prices of its own"
    assert find_model("ft:gpt-4o:acme:x:1").successor == "gpt-6-luna"
    own = tmp_path / "models.json"
    own.write_text('{"models": {"gpt-6-luna": {"input": 7}, "mine": {"input": 1, "output": 2}}}')
    monkeypatch.setenv("MMRAG_MODELS", str(own))
    changed, mine = find_model("gpt-6-luna").price, find_model("mine").price
    assert changed is not None
    assert mine is not None
    assert (changed.input, changed.output, mine.output) == (7, 0.5, 2)
    own.write_text('{"models": {"mine": {"api": "responses", "most_output": 700}}}')
    assert find_model("mine").api == "responses"
    model = VisionModel("mine", effort="high")
    assert model.api.name == "responses"
    assert model.limit(Prompt("rules", (), 500)) == 700, "not more than it can give"
    own.write_text('{"models": {}, "blind": ["my-words*"]}')
    assert is_blind("acme/My-Words-2")
    assert not is_blind("my-eyes")
    own.write_text('{"models": {"x": {"efforts": ["some"]}}}')
    with pytest.raises(MmragError, match=r"model table .*models\.json is not as"):
        find_model("x")
