"""Answers from the best match, through the library and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.awaiting import awaited
from mmrag import MmragError, Query
from mmrag.errors import BudgetReached, ModelServerError
from mmrag.search.answer import (
    Answer,
    answer,
    answer_prompt,
    complete_answer,
    judge_answer,
    stream_answer,
)
from mmrag.types import Hit, SearchResult, Usage
from mmrag.vision.budget import Budget
from mmrag.vision.model import VisionModel
from mmrag.vision.prompt import DATA_RULE, Picture

from .helpers import ROOT, invoke
from .vision_fixtures import QUERY, colours, nearest_first, paint, result_of
from .vision_server import KEY, Scene, VisionServer


@pytest.fixture
def result(tmp_path: Path) -> SearchResult:
    return result_of(tmp_path, [(20, 160, 40), (250, 250, 30), (10, 10, 10)], texts=True)


def test_from_the_best_match_and_its_description(
    server: VisionServer, result: SearchResult
) -> None:
    stream = stream_answer("What is it?", VisionModel(), hits=result.hits)
    pieces = list(stream)
    assert len(pieces) > 3, "it comes in pieces"
    done = stream.answer
    assert "".join(pieces) == done.answer == "item 0 in rgb(20, 160, 40)"
    assert (done.question, done.model, done.problem) == ("What is it?", "gpt-4o", None)
    assert done.image_ids == ("00.png",)
    assert done.texts == ("item 0 in rgb(20, 160, 40)",)
    assert len(server.seen[0].pictures) == 1
    assert done.usage.requests == 1
    assert [done.usage.prompt_tokens, done.usage.completion_tokens] == server.tokens[:2]
    cost = (server.tokens[0] * 2.5 + server.tokens[1] * 10) / 1e6
    assert done.usage.cost_usd == pytest.approx(cost)


def test_from_the_picture_alone(server: VisionServer, result: SearchResult) -> None:
    model = VisionModel()
    assert answer("What colour is it?", model, hits=result.hits).answer == "green"
    assert answer("What colour is it?", model, hits=result.hits[1:]).answer == "yellow"
    unaided = answer("What colour is it?", model, query=result.query)
    assert unaided.answer == "blue"
    assert unaided.image_ids == unaided.texts == ()
    seen = server.seen[-1]
    assert seen.descriptions == ["the same in another shade"]
    only_text = answer("What colour is it?", model, query=Query(text="a green mug"))
    assert only_text.answer == "a green mug"


def test_the_best_n_images(server: VisionServer, result: SearchResult) -> None:
    done = answer("What are they?", VisionModel(), hits=result.hits, images=2)
    assert done.image_ids == ("00.png", "01.png")
    assert done.answer == "item 0 in rgb(20, 160, 40) item 1 in rgb(250, 250, 30)"
    assert len(server.seen[0].pictures) == 2
    Path(result.hits[0].path).write_bytes(b"no picture")
    skipped = answer("What are they?", VisionModel(), hits=result.hits, images=2)
    assert skipped.image_ids == ("01.png", "02.png")
    for hit in result.hits:
        Path(hit.path).unlink(missing_ok=True)
    with pytest.raises(MmragError, match=r"None of the matches can be read: 00\.png: file not"):
        answer("What are they?", VisionModel(), hits=result.hits)


def test_answers_are_cached(server: VisionServer, result: SearchResult) -> None:
    first = answer("What is it?", VisionModel(), hits=result.hits)
    again = answer("What is it?", VisionModel(), hits=result.hits)
    assert server.requests == 1
    assert again.answer == first.answer
    assert (again.usage.requests, again.usage.cached, again.usage.cost_usd) == (0, 1, 0)
    answer("What is it?", VisionModel(cache=False), hits=result.hits)
    assert server.requests == 2


@pytest.mark.parametrize(
    ("scene", "problem"),
    [
        (Scene(refusal="Not this one."), "The model refused: Not this one."),
        (Scene(text=""), "The answer is empty."),
        (Scene(text="It is a", finish="length"), "The answer was cut off after 1 token."),
    ],
)
def test_what_is_wrong_is_said(
    server: VisionServer, result: SearchResult, scene: Scene, problem: str
) -> None:
    server.always = scene
    done = answer("What is it?", VisionModel(), hits=result.hits)
    assert done.problem == problem
    assert done.answer == (scene.text or "")


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (Scene(drop_after_words=2), "broke off"),
        (Scene(drop=True), "does not answer"),
        (Scene(status=503), "status 503"),
        (Scene(delay=30), "--timeout gives more"),
    ],
)
def test_a_server_that_fails(
    server: VisionServer, result: SearchResult, scene: Scene, message: str
) -> None:
    server.always = scene
    model = VisionModel(retries=0, timeout=0.5 if scene.delay else 60)
    pieces: list[str] = []
    stream = stream_answer("What is it?", model, hits=result.hits)
    with pytest.raises(ModelServerError, match=message):
        pieces.extend(stream)
    assert "".join(pieces) == ("item 0" if scene.drop_after_words else "")
    server.always = None
    assert answer("What is it?", model, hits=result.hits).answer, "nothing broken was cached"


def test_servers_without_stream_options(server: VisionServer, result: SearchResult) -> None:
    server.unknown = {"stream_options"}
    done = answer("What is it?", VisionModel(), hits=result.hits)
    assert done.answer == "item 0 in rgb(20, 160, 40)"
    assert done.usage.cost_usd is None, "the server does not say what it counted"


def test_nothing_to_ask(server: VisionServer, result: SearchResult) -> None:
    for question, hits, query, message in (
        (" ", result.hits, None, "Ask a question"),
        ("What?", [], None, "nothing to answer from"),
        ("What?", [], Query(image="/nowhere.png"), r"/nowhere\.png: file not found"),
    ):
        with pytest.raises(MmragError, match=message):
            stream_answer(question, VisionModel(), hits=hits, query=query)
    with pytest.raises(BudgetReached):
        answer("What?", VisionModel(budget=Budget(0.0)), hits=result.hits)
    assert server.requests == 0


def test_what_is_sent(result: SearchResult) -> None:
    with pytest.raises(MmragError, match="At least one image must be sent, not 0"):
        answer_prompt("What?", result.hits, None, 0, False)
    long = replace(result.hits[1], text="x" * 4001)
    bare = replace(result.hits[2], text="")
    prompt, sent = answer_prompt("Q" * 4001, [bare, long], result.query, 3, False)
    assert sent == [bare, long]
    texts, pictures = prompt.parts[::2], prompt.parts[1::2]
    assert texts == (
        "Match 1, its description: it has none",
        f'Match 2, its description: <data>"{"x" * 4000}…"</data>',
        f'Question: <data>"{"Q" * 4000}…"</data>',
    )
    assert all(isinstance(one, Picture) for one in pictures)
    assert len(pictures) == 2
    assert "picture search has found" in prompt.rules
    assert prompt.rules.endswith(DATA_RULE)
    assert "nothing but the value" not in prompt.rules
    assert (prompt.max_tokens, prompt.schema) == (1000, None)
    value, _ = answer_prompt("What?", [], Query(text="y" * 4001), 1, True)
    assert "about the picture or the text that they give" in value.rules
    assert "nothing but the value" in value.rules
    told = f'The person\'s text: <data>"{"y" * 4000}…"</data>'
    assert value.parts == (told, 'Question: <data>"What?"</data>')


@pytest.mark.parametrize("size", [(3000, 200), (200, 3000), (300, 200)])
def test_pictures_are_sent_with_at_most_1024_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    path = paint(tmp_path / "wide.png", QUERY, size)
    match = Hit(1, "a", str(path), 1.0, 1, "", {})
    (one,) = [
        p for p in answer_prompt("?", [match], None, 1, False)[0].parts if isinstance(p, Picture)
    ]
    prompt, sent = answer_prompt("?", [], Query(str(path)), 1, False)
    assert (sent, prompt.parts[0], prompt.parts[1]) == ([], "The person's picture:", one)
    assert max(one.width, one.height) == min(1024, max(size))
    with pytest.raises(MmragError, match="The query picture: "):
        answer_prompt("?", [], Query(b"no picture"), 1, False)


@pytest.mark.parametrize("retrieved", [True, False])
def test_an_answer_beside_others_is_the_same(
    server: VisionServer, result: SearchResult, retrieved: bool
) -> None:
    model = VisionModel(cache=False)
    hits = result.hits if retrieved else []

    async def asked() -> Answer:
        async with model.async_client() as client:
            return await complete_answer(
                "What colour is it?", model, client, hits=hits, query=result.query, images=2
            )

    found = awaited(asked())
    alone = answer("What colour is it?", model, hits=hits, query=result.query, images=2)
    assert server.requests == 2
    assert found == alone
    assert (found.model, found.answer) == ("gpt-4o", "green" if retrieved else "blue")


@pytest.mark.parametrize(
    ("said", "same"), [("yes", True), (" Yes, it does.", True), ("No.", False), ("Not yes", False)]
)
def test_a_model_judges_an_answer_by_the_words_alone(
    server: VisionServer, said: str, same: bool
) -> None:
    server.always = Scene(text=said)
    model = VisionModel()

    async def judged() -> tuple[bool, Usage]:
        async with model.async_client() as client:
            return await judge_answer(
                "How much?", "48,50 $", ["48.50 dollars", "48.5"], model, client
            )

    found, usage = awaited(judged())
    assert (found, usage.requests, server.requests) == (same, 1, 1)
    sent = json.dumps(server.bodies[-1])
    for text in (
        "Question: <data>",
        "Accepted answer: <data>",
        "Given answer: <data>",
        "48.50 dollars",
        "48,50 $",
        "How much?",
    ):
        assert text in sent


@pytest.fixture
def shop(tmp_path: Path, tiny_folder: Path) -> tuple[str, ...]:
    """25 pictures in a collection; the options that find them."""
    root = tmp_path / "shop"
    lines = []
    for i, colour in enumerate(colours(25)):
        paint(root / f"{i:02}.png", colour)
        lines.append(json.dumps({"path": f"{i:02}.png", "description": f"lamp {i}\x1b[2J"}))
    (root / "shop.jsonl").write_text("\n".join(lines))
    options = ("--encoder", str(tiny_folder), "--device", "cpu")
    done = invoke("index", str(root), "--metadata", str(root / "shop.jsonl"), *options)
    assert done.returncode == 0, done.stderr
    query = paint(tmp_path / "query.png", QUERY)
    return ("--image", str(query), "--text", "in another shade", *options)


BEST = nearest_first(colours(25))


@pytest.mark.parametrize("presentation", ["grid", "images"])
@pytest.mark.parametrize("k", [9, 25])
def test_search_with_reranking(
    server: VisionServer, shop: tuple[str, ...], presentation: str, k: int
) -> None:
    command = ("search", *shop, "--rerank", "gpt-4o", "--presentation", presentation)
    done = invoke(*command, "-k", str(k), "--window", "25", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    hits = [hit["image_id"] for hit in found["hits"]]
    assert hits == [image_id for image_id in BEST if image_id in hits]
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, k + 1))
    by_retrieval = sorted(found["hits"], key=lambda hit: hit["retrieval_rank"])
    assert [hit["retrieval_rank"] for hit in by_retrieval] == list(range(1, k + 1))
    assert by_retrieval != found["hits"], "ranks have moved"
    scores = [hit["score"] for hit in by_retrieval]
    assert scores == sorted(scores, reverse=True), "retrieval scores are kept"
    assert found["explanation"] == "Its colour is the nearest to the query's."
    assert (found["rerank"]["status"], found["rerank"]["usage"]["requests"]) == ("complete", 1)
    assert found["timings_ms"]["rerank"] > 0
    assert server.requests == 1
    assert KEY not in done.stdout + done.stderr


def test_search_shows_what_reranking_did(server: VisionServer, shop: tuple[str, ...]) -> None:
    command = ("search", *shop, "--rerank", "gpt-4o", "-k", "3", "--rerank-k", "20")
    shown = invoke(*command, "--shuffles", "2")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("(was ") == 3
    assert "Why the first: Its colour is the nearest" in shown.stdout
    assert "Reranked by openai:gpt-4o: complete; 1 request, " in shown.stdout
    assert "All requests together: 3 requests, " in shown.stdout
    assert f"{server.tokens[0]:,} + {server.tokens[1]:,} tokens" in shown.stdout
    assert "2 shuffles: Kendall's tau 1.000" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert server.requests == 3
    again = invoke(*command)
    assert "complete; 1 answer from the cache, no request" in again.stdout
    assert again.stdout.splitlines()[:3] == shown.stdout.splitlines()[:3]
    server.always = Scene(status=500)
    kept = invoke(*command, "--no-cache", "--json")
    assert kept.returncode == 0
    report = json.loads(kept.stdout)
    assert report["rerank"]["status"] == "failed"
    assert [hit["retrieval_rank"] for hit in report["hits"]] == [1, 2, 3]


def test_ask(server: VisionServer, shop: tuple[str, ...], tmp_path: Path) -> None:
    command = ("ask", "What is it?", *shop, "--rerank", "gpt-4o", "--rerank-k", "25")
    command += ("--window", "25")
    done = invoke(*command, "--compare", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["image_id"] == BEST[0]
    assert told["image_ids"] == [BEST[0]]
    assert told["answer"] == f"lamp {int(BEST[0][:2])}\x1b[2J"
    assert told["texts"] == [f"lamp {int(BEST[0][:2])}\x1b[2J"]
    assert told["usage"]["requests"] == 1
    assert told["without_retrieval"]["answer"] == "in another shade"
    assert len(told["hits"]) == 9
    assert server.requests == 3
    shown = invoke(*command, "--compare")
    assert f"From {BEST[0]}:\nlamp {int(BEST[0][:2])}" in shown.stdout
    assert "Without retrieval:\nin another shade" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert server.requests == 3, "all of it was cached"
    unreadable = tmp_path / "shop" / BEST[0]
    unreadable.write_bytes(b"no picture")
    other = invoke("ask", "What is it?", *shop, "--rerank", "gpt-4o", "-k", "25", "--window", "25")
    said = other.stdout.partition("From ")[2].partition(":")[0]
    assert said == BEST[1], "the picture that the answer is from"
    server.always = Scene(refusal="Not this one.")
    refused = invoke(*command, "--no-cache")
    assert refused.returncode == 1
    assert "The model refused: Not this one." in refused.stderr


def test_one_clear_sentence(server: VisionServer, shop: tuple[str, ...]) -> None:
    ask = ("ask", "What is it?", *shop)
    for environment, arguments, message in (
        ({"OPENAI_API_KEY": ""}, ask, "any value does when"),
        ({"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}, ask, "Set OPENAI_API_KEY, or AZURE"),
        ({"OPENAI_API_KEY": "sk-wrong-0123456789"}, ask, "refuses the key; check OPENAI_API_KEY"),
        ({}, (*ask, "--max-cost", "0"), "The limit of $0 is reached"),
        ({}, (*ask, "--model", "llava", "--max-cost", "1"), "'llava' has no price"),
        ({"OPENAI_API_KEY": "sk-wrong-0123456789"}, (*ask, "--rerank", "gpt-4o"), "refuses"),
    ):
        done = invoke(*arguments, env=environment)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert message in done.stderr
        assert len([line for line in done.stderr.splitlines() if "Error" in line]) == 1
        assert "sk-wrong" not in done.stdout + done.stderr
    done = invoke("ask", "What is it?")
    assert done.returncode == 2
    assert "Give --image, --text, or both" in done.stderr
    done = invoke("search", *shop, "--shuffles", "3")
    assert done.returncode == 2
    assert "--shuffles needs --rerank" in done.stderr


def test_local_reranking_by_command(shop: tuple[str, ...], tiny_folder: Path) -> None:
    done = invoke("search", *shop, "--rerank", f"encoder:{tiny_folder}", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rerank"]["status"] == "complete"
    ranks = [hit["retrieval_rank"] for hit in found["hits"]]
    assert ranks == list(range(1, 10)), "the same encoder agrees with itself"
    assert (Path(os.environ["MMRAG_HOME"]) / "cache" / "embeddings.sqlite").is_file()


def test_the_server_runs_by_itself(result: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.vision_server", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        name, _, url = process.stdout.readline().strip().partition("=")
        assert name == "OPENAI_BASE_URL"
        monkeypatch.setenv(name, url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        assert answer("What colour?", VisionModel(), hits=result.hits).answer == "green"
    finally:
        process.terminate()
        process.wait(10)
