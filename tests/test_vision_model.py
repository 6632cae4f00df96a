"""The client of vision models: failures, retries, options, keys, prices, budget and cache."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import multiprocessing
import os
import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.awaiting import awaited
from mmrag import MmragError, Query, load_reranker
from mmrag.errors import BudgetReached, ModelServerError
from mmrag.types import SearchResult
from mmrag.vision.budget import Budget
from mmrag.vision.cache import ResponseCache
from mmrag.vision.endpoint import find_endpoint
from mmrag.vision.jobs import run_beside
from mmrag.vision.model import VisionModel
from mmrag.vision.models import TABLE, find_price
from mmrag.vision.prices import ImageRule, Price, read_price
from mmrag.vision.prompt import Picture, Prompt, data
from mmrag.vision.reply import Reply, read_reply, read_response

from .vision_fixtures import colours, ids, nearest_first, paint, result_of, variations
from .vision_server import KEY, Scene, VisionServer

RETRIEVED = [f"{i:02}.png" for i in range(6)]


@pytest.fixture
def result(tmp_path: Path) -> SearchResult:
    return result_of(tmp_path, colours(6))


BEST = nearest_first(colours(6))


def test_what_a_request_holds_is_closed_when_nobody_waits_for_it() -> None:
    """Even what is still referred to, such as by an error that was kept."""
    held: list[AsyncIterator[int]] = []
    closed: list[str] = []

    async def pieces() -> AsyncIterator[int]:
        try:
            for piece in range(9):
                yield piece
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def read(put: Callable[[int], None]) -> None:
        held.append(pieces())
        async for piece in held[0]:
            put(piece)
            await asyncio.sleep(0 if piece < 2 else 60)

    reading = run_beside(read)
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    reading.close()
    assert closed == ["closed"]


@pytest.mark.parametrize(
    "scenes",
    [
        [Scene(status=429, headers={"Retry-After": "1"})],
        [Scene(status=500), Scene(status=503)],
        [Scene(drop=True)],
    ],
)
def test_passing_failures_are_retried(
    server: VisionServer, result: SearchResult, scenes: list[Scene]
) -> None:
    server.script += scenes
    done = load_reranker("gpt-4o").rerank(result)
    assert ids(done) == BEST
    assert server.requests == len(scenes) + 1
    if scenes[0].status == 429:
        assert server.times[1] - server.times[0] >= 1, "Retry-After is honoured"


@pytest.mark.parametrize(
    ("scene", "requests", "problem"),
    [
        (Scene(status=500), 2, "answered with status 500: as the test wants it"),
        (Scene(status=429), 2, "limits the rate of requests"),
        (Scene(delay=30), 1, "did not answer in time; --timeout gives more"),
        (Scene(drop=True), 2, "does not answer, or broke off"),
        (Scene(status=400, error={"message": "no", "code": "content_filter"}), 1, "status 400: no"),
        (Scene(body=b'{"choices": [{"mess'), 1, "cannot be read"),
        (Scene(body=b"<html>busy</html>"), 1, "cannot be read"),
        (Scene(body=b'{"choices": []}'), 1, "cannot be read"),
        (Scene(body=b"[" * 3000), 1, "cannot be read"),
        (Scene(refusal="I will not look at this."), 1, "refused: I will not look"),
        (Scene(text=""), 1, "the answer is empty"),
        (Scene(text="", finish="length"), 2, "the answer was cut off after 1 token, still empty"),
        (Scene(text="Beautiful pictures!"), 1, "holds no ranking"),
    ],
)
def test_lasting_failures_keep_the_order_of_retrieval(
    server: VisionServer, result: SearchResult, scene: Scene, requests: int, problem: str
) -> None:
    server.always = scene
    timeout = 0.5 if scene.delay else 60
    done = load_reranker("gpt-4o", retries=1, timeout=timeout).rerank(result)
    assert ids(done) == RETRIEVED
    assert done.explanation is None
    assert done.rerank is not None
    assert done.rerank.status == "failed"
    assert len(done.rerank.problems) == 1
    assert problem in done.rerank.problems[0]
    assert server.requests == requests


def test_what_a_cut_answer_holds(server: VisionServer, result: SearchResult) -> None:
    order = [int(one[:2]) for one in BEST]
    server.always = Scene(text=f'{{"ranking": {order}, "reason": "It is', finish="length")
    done = load_reranker("gpt-4o").rerank(result)
    assert ids(done) == BEST
    assert done.rerank is not None
    assert (done.rerank.status, done.rerank.problems) == ("repaired", ("the answer breaks off",))
    server.always = Scene(text=f'{{"ranking": [{order[0]}, 3', finish="length")
    done = load_reranker("gpt-4o").rerank(result)
    assert ids(done) == RETRIEVED, "a ranking that is cut within is none"
    assert done.rerank is not None
    assert done.rerank.status == "failed"
    assert "the answer was cut off after" in done.rerank.problems[0]


def test_a_long_retry_after_is_no_endless_wait(server: VisionServer, result: SearchResult) -> None:
    server.always = Scene(status=429, headers={"Retry-After": "3600"})
    done = load_reranker("gpt-4o").rerank(result)
    assert ids(done) == RETRIEVED
    assert server.requests == 1


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (Scene(status=403, error={"message": "not for you"}), "does not allow 'gpt-4o'"),
        (Scene(status=404, error={"message": "unknown"}), "has no model 'gpt-4o'"),
        (
            Scene(
                status=429,
                error={"message": "pay first", "code": "insufficient_quota"},
                headers={"x-should-retry": "false"},
            ),
            "quota at .* is used up: pay first",
        ),
    ],
)
def test_what_no_retry_mends_is_said_at_once(
    server: VisionServer, result: SearchResult, scene: Scene, message: str
) -> None:
    server.always = scene
    with pytest.raises(ModelServerError, match=message):
        load_reranker("gpt-4o").rerank(result)
    assert server.requests == 1


def test_options_that_a_server_does_not_know(server: VisionServer, result: SearchResult) -> None:
    server.unknown = {"response_format", "temperature", "max_completion_tokens"}
    reranker = load_reranker("gpt-4o", cache=False)
    assert ids(reranker.rerank(result)) == BEST
    assert server.requests == 4
    assert server.bodies[-1]["max_tokens"] == 1000
    assert server.unknown.isdisjoint(server.bodies[-1])
    assert ids(reranker.rerank(result)) == BEST
    assert server.requests == 5, "it is remembered"


def test_no_key_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelServerError, match="Set OPENAI_API_KEY, or AZURE_OPENAI_ENDPOINT"):
        load_reranker("gpt-4o")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:very-secret@localhost:11434/v1")
    with pytest.raises(ModelServerError, match="any value does") as caught:
        load_reranker("gpt-4o")
    assert "very-secret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:11434")
    with pytest.raises(ModelServerError, match="OPENAI_BASE_URL must be a URL"):
        load_reranker("gpt-4o")
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-with\nnewline")
    with pytest.raises(ModelServerError, match="characters that no key has") as caught:
        load_reranker("gpt-4o")
    assert "newline" not in str(caught.value)


def test_azure(server: VisionServer, result: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.address)
    with pytest.raises(ModelServerError, match="needs OPENAI_API_VERSION"):
        load_reranker("gpt-4o")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    with pytest.raises(ModelServerError, match="Set AZURE_OPENAI_API_KEY"):
        load_reranker("gpt-4o")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    assert ids(load_reranker("openai:my-deployment").rerank(result)) == BEST
    expected = "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21"
    assert server.paths == [expected]
    assert "AZURE_OPENAI_API_KEY" in str(wrong_key(result, monkeypatch, "AZURE_OPENAI_API_KEY"))


def wrong_key(
    result: SearchResult, monkeypatch: pytest.MonkeyPatch, variable: str
) -> ModelServerError:
    monkeypatch.setenv(variable, "sk-wrong-abcdef0123456789")
    with pytest.raises(ModelServerError, match="refuses the key") as caught:
        load_reranker("gpt-4o").rerank(result)
    return caught.value


def everything_about(error: BaseException | None) -> str:
    """An error with all that hangs on it, as a crash report would show it."""
    told = ""
    while error is not None:
        told += "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return told


def test_the_key_appears_nowhere(
    server: VisionServer,
    result: SearchResult,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The server echoes the key in every kind of answer."""
    caplog.set_level(logging.INFO)
    told = everything_about(wrong_key(result, monkeypatch, "OPENAI_API_KEY"))
    assert "sk-wrong" not in told
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    reranker = load_reranker("gpt-4o", retries=0)
    echo = {"message": f"bad request with {KEY}"}
    server.script += [Scene(status=s, error=echo) for s in (500, 429)]
    server.script += [Scene(text=f"Ranked list: [0, 1, 2, 3, 4, 5] Reasons: {KEY}")]
    server.script += [Scene(refusal=f"no, {KEY}")]
    for i in range(4):
        query = Query(result.query.image, f"variation {i}")
        done = reranker.rerank(replace(result, query=query))
        assert "[key]" in repr(done)
        told += repr(done)
    server.always = Scene(status=403, error=echo)
    with pytest.raises(ModelServerError) as caught:
        load_reranker("gpt-4o").rerank(result)
    told += everything_about(caught.value)
    told += repr(find_endpoint()) + repr(vars(reranker)) + repr(vars(reranker.model))  # type: ignore[attr-defined]
    told += caplog.text + "".join(capfd.readouterr())
    home = Path(os.environ["MMRAG_HOME"])
    stored = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"Ranked list" in stored
    assert KEY not in told
    assert KEY.encode() not in stored


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_budget_stops_before_it_is_exceeded(
    server: VisionServer, result: SearchResult, concurrency: int
) -> None:
    """Also where answers take so long that all connections are busy when the limit comes near."""
    server.delay = 0.3 if concurrency > 1 else 0.0
    done: dict[int, SearchResult] = {}
    limit = 0.05
    reranker = load_reranker("gpt-4o", max_cost=limit, concurrency=concurrency)
    with pytest.raises(BudgetReached, match=r"The limit of \$0.05 is reached"):
        reranker.rerank_many(variations(result, 60), done.__setitem__)
    spent = (server.tokens[0] * 2.5 + server.tokens[1] * 10) / 1e6
    assert 0.5 * limit < spent <= limit
    assert len(done) == server.requests, "all that was paid for is kept"
    usage = [outcome.rerank.usage.cost_usd for outcome in done.values() if outcome.rerank]
    assert sum(filter(None, usage)) == pytest.approx(spent)
    server.delay = 0.0
    # The cache makes going on free, up to where the new limit ends.
    before = server.requests
    with pytest.raises(BudgetReached):
        load_reranker("gpt-4o", max_cost=0.01).rerank_many(variations(result, 60))
    assert 0 <= server.requests - before <= 3


def test_a_server_that_counts_more_tokens_than_expected(
    server: VisionServer, result: SearchResult
) -> None:
    """Pictures are estimated by the model's formula; what is measured corrects it."""
    body = {
        "choices": [{"message": {"content": "[0, 1, 2, 3, 4, 5]"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40_000, "completion_tokens": 100},
    }
    server.always = Scene(body=json.dumps(body).encode())
    reranker = load_reranker("gpt-4o", max_cost=0.5, concurrency=1)
    with pytest.raises(BudgetReached):
        reranker.rerank_many(variations(result, 9))
    assert server.requests == 4, "4 x $0.101; a fifth could end beyond $0.50"


def test_a_budget_that_allows_nothing(server: VisionServer, result: SearchResult) -> None:
    with pytest.raises(BudgetReached, match="the next request can cost up to"):
        load_reranker("gpt-4o", max_cost=0.0).rerank(result)
    assert server.requests == 0


def test_usage_without_counts_has_no_cost(server: VisionServer, result: SearchResult) -> None:
    server.always = Scene(no_usage=True)
    done = load_reranker("gpt-4o").rerank(result)
    assert done.rerank is not None
    assert (done.rerank.usage.requests, done.rerank.usage.cost_usd) == (1, None)
    free = load_reranker("openai:llava").rerank(result)
    assert free.rerank is not None
    assert free.rerank.usage.cost_usd is None


def test_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in json.loads(TABLE.read_text())["models"].items():
        assert line["source"], name
        assert line["read"] >= "2026-01", name
    gpt_4o, mini = find_price("gpt-4o"), find_price("gpt-4o-mini-2024-07-18")
    assert gpt_4o is not None
    assert mini is not None
    assert gpt_4o.cost(1_000_000, 0) == 2.5
    assert gpt_4o.cost(1_000_000, 1_000_000, cached=400_000) == pytest.approx(1.5 + 0.5 + 10)
    # The examples of OpenAI's vision guide.
    assert gpt_4o.image_tokens(1024, 1024) == 765
    assert gpt_4o.image_tokens(2048, 4096) == 1105
    nano = find_price("gpt-4.1-nano")
    assert nano is not None
    assert nano.image_tokens(1024, 1024) == 2520
    assert mini.input < gpt_4o.input
    assert find_price("llava") is None
    own = tmp_path / "prices.json"
    own.write_text('{"models": {"llava": {"input": 1, "output": 2}}}')
    monkeypatch.setenv("MMRAG_PRICES", str(own))
    llava = find_price("llava")
    assert llava is not None
    assert llava.cost(1_000_000, 1_000_000) == 3
    assert find_price("gpt-4o") is None
    for wrong in ("[]", "{", '{"models": {"x": {"input": -1, "output": 2}}}'):
        own.write_text(wrong)
        with pytest.raises(MmragError, match=r"price table .*prices\.json is not as"):
            find_price("llava")
    own.unlink()
    with pytest.raises(MmragError, match="cannot be read"):
        find_price("llava")


def test_estimates_are_upper_bounds(tmp_path: Path) -> None:
    price = find_price("gpt-4o")
    assert price is not None
    picture = Picture.read(paint(tmp_path / "x.png", (1, 2, 3), (300, 200)), 512)
    prompt = Prompt("Réponds en français. 質問", ("text", picture), 10)
    assert prompt.most_tokens(price.image) >= len("Réponds en français. 質問text".encode()) + 255


@pytest.mark.parametrize(
    ("rule", "detail", "size", "seen", "tokens"),
    [
        # Tiles of 512: into 2,048 x 2,048, then the shorter side into 768.
        (ImageRule(), "high", (300, 200), (300, 200), 85 + 170),
        (ImageRule(), "high", (2048, 4096), (768, 1536), 85 + 170 * 6),
        (ImageRule(), "high", (4096, 512), (2048, 256), 85 + 170 * 4),
        (ImageRule(), "high", (513, 512), (513, 512), 85 + 170 * 2),
        (ImageRule(base=10.2, tile=1), "low", (1024, 512), (512, 256), 11),
        (ImageRule(), "low", (100, 50), (100, 50), 85),
        # Patches, at most so many: 20 x 20 become 10 x 10.
        (ImageRule(patch=2, most=100), "high", (320, 320), (320, 320), 200),
        (ImageRule(patch=2, most=100), "high", (640, 640), (320, 320), 200),
        # 22 x 11 are 14.6 x 6.9 where 100 are the most: 6 rows, and so 192 of 330 pixels.
        (ImageRule(patch=1, most=100), "high", (700, 330), (408, 192), 100),
        (ImageRule(patch=1, most=100, most_auto=50), "auto", (320, 320), (224, 224), 50),
        (ImageRule(patch=1, most=100, most_auto=50), "high", (320, 320), (320, 320), 100),
        (ImageRule(patch=1, most=100), "auto", (640, 640), (320, 320), 100),
        (ImageRule(patch=1.3), "high", (33, 32), (33, 32), 3),
        (ImageRule(patch=1), "low", (1024, 1024), (512, 512), 256),
        (ImageRule(patch=1, side=28), "high", (56, 57), (56, 57), 6),
        # A strip of one row: 77 columns of patches are what 0.13 rows leave of its width.
        (ImageRule(patch=1, most=10), "high", (9600, 16), (2464, 5), 10),
        (ImageRule(flat=99.5), "high", (4000, 4000), (4000, 4000), 100),
    ],
)
def test_what_a_model_sees_of_a_picture(
    rule: ImageRule, detail: str, size: tuple[int, int], seen: tuple[int, int], tokens: int
) -> None:
    assert rule.seen(*size, detail) == seen
    assert rule.tokens(*size, detail) == tokens


def test_which_models_scale_pictures_down() -> None:
    unlimited = ImageRule(patch=1)
    assert [unlimited.scales(), unlimited.scales("low")] == [False, True]
    assert [ImageRule().scales(), ImageRule(flat=1).scales()] == [True, False]
    assert ImageRule(patch=1, most=9).scales()


def test_what_a_line_of_the_price_table_says() -> None:
    price = read_price({"input": 1, "output": 2})
    assert price == Price(1, 2, cached_input=1)
    assert price is not None
    assert price.cost(10**9, 0) == 1000
    assert (price.batch_share, Price(1, 2, 1, batch=0.5).batch_share) == (1, 0.5)
    long = {"over": 100, "input": 2, "output": 3}
    full = read_price(
        {"input": 4, "output": 2, "cached_input": 1, "batch": 0.5, "long": long}
        | {"image": {"patch": 1.5, "side": 28, "most": 7}}
    )
    assert full == Price(4, 2, 1, ImageRule(patch=1.5, side=28, most=7), 100, 2, 3, 0.5)
    assert full.cost(100, 10, 40) == pytest.approx((60 * 4 + 40 * 1 + 10 * 2) / 1e6)
    assert full.cost(101, 10) == pytest.approx((101 * 8 + 10 * 6) / 1e6)
    assert full.image_tokens(28, 29) == 3
    assert read_price({"image": {"flat": 3}}) is None
    for wrong in (
        {"input": -1},
        {"output": 2e9},
        {"cached_input": -1},
        {"batch": -0.5},
        {"long": {"input": -1}},
        {"long": {"output": -1}},
        {"long": {"over": -1}},
        {"image": {"side": 0}},
        {"image": {"base": -1}},
        {"image": {"tile": -1}},
        {"image": {"patch": -1}},
        {"image": {"flat": -1}},
        {"image": {"most": -1}},
        {"image": {"most_auto": -1}},
    ):
        with pytest.raises(ValueError, match=r"must be 0 to 1,000,000,000|at least one|number of"):
            read_price({"input": 1, "output": 2, **wrong})
    with pytest.raises(LookupError):
        read_price({"input": 1})


def test_what_a_budget_has_left() -> None:
    budget = Budget(1.0)
    budget.reserve(0.6)
    said = r"limit of \$1 is reached: \$0\.0000 are spent, .* can cost up to \$0\.5000\."
    with pytest.raises(BudgetReached, match=said):
        budget.reserve(0.5)
    budget.reserve(0.4)
    assert budget.reserved == pytest.approx(1)
    budget.settle(0.6, 0.1)
    assert (budget.reserved, budget.spent) == (pytest.approx(0.4), 0.1)
    budget.settle(9, 0)
    assert budget.reserved == 0
    for work, spent in (("a", 0.5), ("a", 0.5), ("b", 0.25)):
        budget.carry_over(work, spent)
    assert budget.spent == pytest.approx(0.85)
    Budget().reserve(1e9)
    Budget(0.0).reserve(0)


def test_requests_wait_for_each_other_within_a_budget() -> None:
    budget = Budget(1.0)
    budget.reserve(0.8)

    async def wait() -> None:
        next_one = asyncio.create_task(budget.reserve_in_turn(0.5))
        await asyncio.sleep(0.05)
        assert not next_one.done()
        budget.settle(0.8, 0.1)
        await asyncio.wait_for(next_one, 60)
        assert budget.reserved == pytest.approx(0.5)
        with pytest.raises(BudgetReached):
            await asyncio.wait_for(budget.reserve_in_turn(0.95), 60)

    awaited(wait())


def test_what_a_prompt_is_sent_and_counted_as(tmp_path: Path) -> None:
    path = paint(tmp_path / "x.png", (1, 2, 3), (300, 150))
    picture = Picture.read(path, 100)
    assert (picture.width, picture.height) == (100, 50)
    shorter = Picture.read(path, 9, 100)
    assert (shorter.width, shorter.height) == (200, 100)
    assert Image.open(io.BytesIO(shorter.jpeg)).size == (200, 100)
    prompt = Prompt("rüles", ("text", picture), 10, {"a": 1})
    url = {"url": picture.url, "detail": "low"}
    assert picture.url == "data:image/jpeg;base64," + base64.b64encode(picture.jpeg).decode()
    assert prompt.messages("low") == [
        {"role": "system", "content": "rüles"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "text"},
                {"type": "image_url", "image_url": url},
            ],
        },
    ]
    assert prompt.messages()[1]["content"][1]["image_url"]["detail"] == "high"
    assert prompt.response_parts("low") == [
        {"type": "input_text", "text": "text"},
        {"type": "input_image", "image_url": picture.url, "detail": "low"},
    ]
    assert prompt.response_parts()[1]["detail"] == "high"
    rule = ImageRule(base=1, tile=5)
    # 6 bytes, 4, and 8 of the schema; ten more for each, a hundred for all, and a picture's 6.
    assert prompt.most_tokens(rule) == 6 + 4 + 8 + 30 + 100 + 6
    assert prompt.most_tokens(rule, "low") == 6 + 4 + 8 + 30 + 100 + 1
    assert prompt.likely_tokens(rule) == (5 + 4 + 8) // 4 + 6
    assert prompt.likely_tokens(rule, "low") == (5 + 4 + 8) // 4 + 1
    assert Prompt("rules", (), 10).most_tokens(rule) == 5 + 10 + 100
    assert data("x" * 500) == f'<data>"{"x" * 500}"</data>'
    assert data("x" * 501) == f'<data>"{"x" * 500}…"</data>'


COUNTS = {"prompt_tokens": 9, "completion_tokens": 5}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (COUNTS, (9, 5, 0, 0)),
        (COUNTS | {"prompt_tokens_details": {"cached_tokens": 4}}, (9, 5, 4, 0)),
        (COUNTS | {"completion_tokens_details": {"reasoning_tokens": 3}}, (9, 5, 0, 3)),
        (COUNTS | {"prompt_tokens_details": {"cached_tokens": 10}}, (9, 5, 9, 0)),
        (COUNTS | {"completion_tokens_details": {"reasoning_tokens": 6}}, (9, 5, 0, 5)),
        ({"prompt_tokens": 0, "completion_tokens": -1}, (0, None, 0, 0)),
        ({"prompt_tokens": True, "completion_tokens": "5"}, (None, None, 0, 0)),
        ({"prompt_tokens_details": {"cached_tokens": 4}}, (None, None, 0, 0)),
        ([], (None, None, 0, 0)),
    ],
)
def test_tokens_as_servers_count_them(usage: Any, tokens: tuple[Any, ...]) -> None:
    message = {"content": "x", "refusal": None}
    body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    assert read_reply(json.dumps(body)) == Reply("x", None, "stop", *tokens)


@pytest.mark.parametrize(
    ("reply", "problem", "whole"),
    [
        (Reply("x"), None, True),
        (Reply("x", finish="length"), None, False),
        (Reply("x", refusal="n" * 301), f"the model refused: {'n' * 300}", False),
        (Reply("x", finish="content_filter"), "the server's content filter withheld", False),
        (Reply(" "), "the answer is empty", False),
        (Reply("", finish="length"), "the answer was cut off, still empty", False),
        (
            Reply("", finish="length", completion_tokens=7),
            "the answer was cut off after 7 tokens, still empty",
            False,
        ),
        (
            Reply("", finish="length", completion_tokens=7, reasoning_tokens=1),
            "the answer was cut off after 1 token of thought",
            False,
        ),
    ],
)
def test_why_there_is_nothing_to_read(reply: Reply, problem: str | None, whole: bool) -> None:
    assert (reply.problem or "").startswith(problem or "")
    assert (reply.problem is None, reply.whole) == (problem is None, whole)
    if problem and not problem.startswith("the server"):
        assert reply.problem == problem


def response(*output: Any, **more: Any) -> str:
    return json.dumps({"output": output, **more})


SAID = {"type": "message", "content": [{"text": "A "}, {"text": "mug"}, 3]}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (response(SAID, 3, status="completed"), Reply("A mug", finish="completed")),
        (response({"type": "reasoning", "content": [{"text": "hm"}]}), Reply("")),
        (response({"type": "message", "content": [{"refusal": "no"}]}), Reply("", "no")),
        (response({"type": "function_call", "arguments": "{}"}), Reply("{}")),
        (response(SAID, {"type": "function_call", "arguments": "{}"}), Reply("A mug")),
        (
            response(incomplete_details={"reason": "max_output_tokens"}, status="incomplete"),
            Reply("", finish="length"),
        ),
        (
            response(incomplete_details={"reason": "content_filter"}, status="incomplete"),
            Reply("", finish="content_filter"),
        ),
        (
            response(
                usage={
                    "input_tokens": 9,
                    "output_tokens": 5,
                    "input_tokens_details": {"cached_tokens": 4},
                    "output_tokens_details": {"reasoning_tokens": 3},
                }
            ),
            Reply("", None, "", 9, 5, 4, 3),
        ),
    ],
)
def test_answers_of_the_responses_api(body: str, reply: Reply) -> None:
    assert read_response(body) == reply


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"output": 3}'])
def test_what_is_no_response(body: str) -> None:
    with pytest.raises(ValueError, match="no response"):
        read_response(body)


def test_budgets_are_numbers() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(MmragError, match="zero or more"):
            Budget(wrong)


def put_many(path: str, start: int) -> None:
    cache = ResponseCache(Path(path))
    for i in range(40):
        cache.put(f"key {(start + i) % 60}", {"text": f"from {start}"})


def test_the_cache_serves_several_processes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "responses.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=put_many, args=(str(path), 20 * n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    cache = ResponseCache(path)
    assert all(cache.get(f"key {i}") for i in range(60))
    kept = cache.get("key 1")
    cache.put("key 1", {"text": "later"})
    assert cache.get("key 1") == kept, "the first answer stays"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    path.write_bytes(b"no database" * 100)
    path.with_name("responses.sqlite-wal").unlink(missing_ok=True)
    assert cache.get("key 1") is None, "a damaged file is moved aside, and a new one begun"
    (moved,) = path.parent.glob("responses.sqlite.broken-*-1")
    assert moved.read_bytes() == b"no database" * 100


def test_the_cache_tells_requests_apart(server: VisionServer, tmp_path: Path) -> None:
    model = VisionModel()
    one = Picture.read(paint(tmp_path / "1.png", (1, 2, 3)), 512)
    other = Picture.read(paint(tmp_path / "2.png", (1, 2, 90)), 512)
    prompts = [
        Prompt("rules", ("text", one), 10),
        Prompt("rules", ("text", other), 10),
        Prompt("rules", ("other", one), 10),
        Prompt("other", ("text", one), 10),
        Prompt("rules", ("text", one), 11),
        Prompt("rules", ("text", one), 10, {"type": "object"}),
    ]
    keys = {ResponseCache.key(model.endpoint.address, prompt.content()) for prompt in prompts}
    keys.add(ResponseCache.key("http://elsewhere", prompts[0].content()))
    assert len(keys) == 7
