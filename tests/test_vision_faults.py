"""The fault table: what a person reads, what is kept and what was paid, for each failure."""

from __future__ import annotations

import email.utils
import json
import time
from pathlib import Path

import pytest

from mmrag import load_reranker
from mmrag.errors import ModelServerError
from mmrag.search.answer import answer
from mmrag.types import SearchResult
from mmrag.vision.cache import ResponseCache
from mmrag.vision.model import VisionModel
from mmrag.vision.reply import StreamReading, read_reply, without_thought

from .vision_fixtures import colours, ids, nearest_first, result_of
from .vision_server import KEY, Scene, VisionServer

BEST = nearest_first(colours(6))
RETRIEVED = [f"{i:02}.png" for i in range(6)]
RANKING = json.dumps({"ranking": [int(one[:2]) for one in BEST], "reason": "r"})
OTHER = json.dumps({"ranking": [5, 4, 3, 2, 1, 0], "reason": "r"})


@pytest.fixture
def result(tmp_path: Path) -> SearchResult:
    return result_of(tmp_path, colours(6))


def tool(arguments: object) -> dict[str, object]:
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"content": None, "tool_calls": [called]}


@pytest.mark.parametrize(
    "scene",
    [
        Scene(around="<think>perhaps [5, 4, 3, 2, 1, 0]</think>\n{}"),
        Scene(around='perhaps {"ranking": [0, 1]}</think>{}'),
        Scene(around="Here it is:\n```json\n{}\n```\nI hope that it helps."),
        Scene(text=f"{OTHER}\n{RANKING}"),
        Scene(message=tool(RANKING)),
        Scene(message=tool(json.loads(RANKING))),
        Scene(message={"reasoning_content": "perhaps [5, 4, 3, 2, 1, 0]"}),
        Scene(message={"content": "", "reasoning_content": f"perhaps {OTHER}, but {RANKING}"}),
        Scene(message={"content": [{"type": "text", "text": RANKING}]}),
    ],
)
def test_answers_of_local_servers_are_read(
    server: VisionServer, result: SearchResult, scene: Scene
) -> None:
    server.always = scene
    done = load_reranker("gpt-4o").rerank(result)
    assert ids(done) == BEST
    assert done.rerank is not None
    assert done.rerank.status == "complete"
    assert ids(load_reranker("gpt-4o").rerank(result)) == BEST
    assert server.requests == 1, "a whole answer is kept"


def test_thought_is_not_shown_while_it_streams(server: VisionServer, result: SearchResult) -> None:
    server.always = Scene(around="<think>is it a mug? it is</think>\n\n{}", text="A mug.")
    assert answer("What is it?", VisionModel(), hits=result.hits).answer == "A mug."
    reading = StreamReading()
    shown = [reading.take(piece) for piece in ("<th", "ink>no</thi", "nk> A", " <b> mug")]
    assert shown == ["", "", "A", " <b> mug"]
    assert without_thought("<think>never ends") == ""
    assert StreamReading().take("<b>") == "<b>"


PAID = "what the prompt and the answer cost"
MOST = "the most it can cost"


@pytest.mark.parametrize(
    ("scene", "said", "requests", "paid"),
    [
        (
            Scene(status=400, error={"message": f"no {KEY}", "code": "content_filter"}),
            "400: no [key]",
            1,
            "",
        ),
        (Scene(status=429, headers={"Retry-After": "0"}), "limits the rate", 2, ""),
        (Scene(status=500), "answered with status 500", 2, ""),
        (Scene(drop=True), "does not answer, or broke off", 2, ""),
        (Scene(stall=20), "did not answer in time; --timeout gives more", 1, MOST),
        (Scene(drip=0.02), "did not answer in time; --timeout gives more", 1, MOST),
        (Scene(body=b"<html>"), "cannot be read", 1, MOST),
        (Scene(body=b'{"choices": []}'), "cannot be read", 1, MOST),
        (Scene(refusal=f"not {KEY}"), "the model refused: not [key]", 1, PAID),
        (Scene(finish="content_filter"), "content filter withheld the answer", 1, PAID),
        (Scene(text=""), "the answer is empty", 1, PAID),
        (Scene(text="<think>hm", finish="length"), "was cut off after", 2, PAID),
        (Scene(text='{"order": "best first"}'), "holds no ranking", 1, PAID),
        (Scene(message=tool("{}")), "holds no ranking", 1, PAID),
    ],
)
def test_what_is_read_kept_and_paid(
    server: VisionServer, result: SearchResult, scene: Scene, said: str, requests: int, paid: str
) -> None:
    server.always = scene
    began = time.monotonic()
    reranker = load_reranker("gpt-4o", retries=1, timeout=0.5 if scene.stall or scene.drip else 60)
    done = reranker.rerank(result)
    assert time.monotonic() - began < 15, "a stalled answer ends when its time is over"
    assert ids(done) == RETRIEVED
    assert done.rerank is not None
    assert done.rerank.status == "failed"
    (problem,) = done.rerank.problems
    assert said in problem
    assert KEY not in problem
    assert server.requests == requests
    cost = done.rerank.usage.cost_usd
    counted = (2.5 * server.tokens[0] + 10 * server.tokens[1]) / 1e6
    assert cost is not None
    if paid == MOST:
        assert cost > 0.01, "1,000 tokens of answer alone"
    else:
        assert cost == pytest.approx(counted if paid else 0)
    # None of it is kept.
    server.always = None
    assert ids(load_reranker("gpt-4o").rerank(result)) == BEST
    path = ResponseCache().path
    assert not path.is_file() or KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("scene", "said", "paid"),
    [
        (Scene(status=500, error={"message": f"for {KEY}"}), "status 500: for [key]", ""),
        (Scene(drop=True), "does not answer, or broke off", ""),
        (Scene(stall=20), "did not answer in time", MOST),
        (Scene(body=b'{"output": 3}'), "cannot be read", MOST),
        (Scene(refusal=f"not {KEY}"), "the model refused: not [key]", PAID),
        (Scene(finish="content_filter"), "content filter withheld the answer", PAID),
        (Scene(text=""), "the answer is empty", PAID),
        (Scene(text="hm", finish="length"), "was cut off after", PAID),
        (Scene(text='{"order": "best first"}'), "holds no ranking", PAID),
    ],
)
def test_the_same_through_responses(
    server: VisionServer, result: SearchResult, scene: Scene, said: str, paid: str
) -> None:
    server.always = scene
    options = {"api": "responses", "retries": 0, "timeout": 0.5 if scene.stall else 60}
    done = load_reranker("gpt-4o", **options).rerank(result)
    assert ids(done) == RETRIEVED
    assert done.rerank is not None
    (problem,) = done.rerank.problems
    assert said in problem
    assert KEY not in problem
    counted = (2.5 * server.tokens[0] + 10 * server.tokens[1]) / 1e6
    cost = done.rerank.usage.cost_usd or 0
    assert cost > 0.01 if paid == MOST else cost == pytest.approx(counted if paid else 0)
    server.always = None
    assert ids(load_reranker("gpt-4o", api="responses").rerank(result)) == BEST, "nothing is kept"


def test_a_model_that_is_gone(server: VisionServer, result: SearchResult) -> None:
    server.always = Scene(status=404, error={"message": f"no such model for {KEY}"})
    reranker = load_reranker("openai:o1")
    with pytest.raises(ModelServerError) as gone:
        reranker.rerank(result)
    assert str(gone.value).startswith(f"{server.url} has no model 'o1'")
    assert str(gone.value).endswith(
        "It left OpenAI's API on 23 October 2026. Its successor is gpt-5.6-sol: use "
        "openai:gpt-5.6-sol."
    )
    assert KEY not in str(gone.value)
    assert (server.requests, reranker.budget and reranker.budget.spent) == (1, 0.0)
    assert not ResponseCache().path.is_file()


def test_a_date_to_wait_for(server: VisionServer, result: SearchResult) -> None:
    later = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.script += [Scene(status=429, headers={"Retry-After": later})]
    assert ids(load_reranker("gpt-4o").rerank(result)) == BEST
    assert server.times[1] - server.times[0] >= 0.9
    server.always = Scene(
        status=429, headers={"Retry-After": email.utils.formatdate(time.time() + 3600)}
    )
    load_reranker("gpt-4o", cache=False).rerank(result)
    assert server.requests == 3, "an hour is not waited for"


@pytest.mark.parametrize(
    "scene",
    [Scene(text="It is a very nice mug", stall=20), Scene(text="mug " * 40, drip=0.1)],
    ids=["stalls", "drips"],
)
def test_a_stream_has_the_time_of_one_answer(
    server: VisionServer, result: SearchResult, scene: Scene
) -> None:
    server.always = scene
    with pytest.raises(ModelServerError, match="did not answer in time"):
        answer("What is it?", VisionModel(timeout=0.5), hits=result.hits)
    assert server.requests == 1
    assert not ResponseCache().path.is_file()


def test_attempts_share_the_time(server: VisionServer, result: SearchResult) -> None:
    server.always = Scene(delay=0.4, status=500, headers={"Retry-After": "0"})
    done = load_reranker("gpt-4o", retries=5, timeout=1.0).rerank(result)
    assert done.rerank is not None
    assert "did not answer in time" in done.rerank.problems[0]
    assert server.requests <= 3, "not six times the time"


@pytest.mark.parametrize(
    "option",
    ["temperature", "max_completion_tokens", "response_format", "reasoning_effort"],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_each_option_may_be_refused(
    server: VisionServer, result: SearchResult, option: str, api: str
) -> None:
    names = {"response_format": "text", "reasoning_effort": "reasoning"}
    names["max_completion_tokens"] = "max_output_tokens"
    server.unknown = {names.get(option, option) if api == "responses" else option}
    reranker = load_reranker("openai:a-model", effort="low", api=api)
    assert ids(reranker.rerank(result)) == BEST
    assert server.requests == 2
    assert server.unknown.isdisjoint(server.bodies[-1])
    assert ids(load_reranker("openai:a-model", effort="low", api=api).rerank(result)) == BEST
    assert server.requests == 2, "the answer is kept, and known by what was asked for"


@pytest.mark.parametrize("body", ["[]", "{}", '{"choices": [{}]}', '{"choices": [{"message": 3}]}'])
def test_what_is_no_completion(body: str) -> None:
    with pytest.raises(ValueError, match="no"):
        read_reply(body)
