# ruff: noqa: E501
"""What a model server sends: whole answers, streams and rankings of any shape."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag.rerank import load_reranker
from mmrag.rerank.reorder import reorder
from mmrag.rerank.reply_order import read_ranking
from mmrag.search.answer import answer
from mmrag.types import Query, RerankReport, SearchResult
from mmrag.vision.model import VisionModel
from mmrag.vision.prompt import data as as_data
from mmrag.vision.reply import read_reply

from ..vision_fixtures import colours, result_of
from .cases import ODD_TEXTS, VALUES, case, fuzz, spoil_bytes, spoil_value

REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Ranked list: [1, 0, 2]", "refusal": None},
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {}},
}
CHUNK = {
    "id": "x",
    "object": "chat.completion.chunk",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "It costs 3."}, "finish_reason": None}],
    "usage": None,
}


class Says:
    """A server that answers every request with the same bytes."""

    def __init__(self) -> None:
        self.status, self.body, self.kind = 200, b"", "application/json"
        says = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(says.status)
                self.send_header("Content-Type", says.kind)
                self.send_header("Content-Length", str(len(says.body)))
                self.end_headers()
                self.wfile.write(says.body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture(scope="module")
def says() -> Iterator[Says]:
    server = Says()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def asked(says: Says, monkeypatch: pytest.MonkeyPatch) -> Says:
    monkeypatch.setenv("OPENAI_BASE_URL", says.url)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-for-tests")
    return says


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return result_of(tmp_path_factory.mktemp("hits"), colours(3), image=False, texts=True)


def spoiled(draw: Any, whole: dict[str, Any]) -> bytes:
    if draw(st.booleans()):
        return json.dumps(spoil_value(draw, whole)).encode()
    return spoil_bytes(draw, json.dumps(whole).encode())


@fuzz(800)
@given(st.data())
def test_completions_are_read_or_are_none(data: st.DataObject) -> None:
    read_completion(spoiled(data.draw, REPLY).decode("utf-8", "replace"))


def read_completion(body: str) -> None:
    with case(__file__):
        try:
            reply = read_reply(body)
        except ValueError as error:
            assert str(error) == "no chat completion"  # noqa: PT017
            return
        assert isinstance(reply.text, str)
        assert reply.prompt_tokens is None or reply.prompt_tokens >= reply.cached_tokens >= 0


@fuzz(900)
@given(
    ODD_TEXTS
    | st.builds(lambda value: json.dumps({"ranking": value, "reason": value}), VALUES)
    | st.builds(lambda text, value: f"Ranked list: {value} {text} Reasons: {text}", ODD_TEXTS, VALUES),
    st.integers(1, 25),
)  # fmt: skip
def test_rankings_are_permutations(text: str, n: int) -> None:
    rank(text, n)


def rank(text: str, n: int) -> None:
    with case(__file__):
        ranking = read_ranking(text, n)
        assert sorted(ranking.order) == list(range(n))
        assert (ranking.status == "complete") == (not ranking.problems)


def test_a_server_that_answers_anything(asked: Says, result: SearchResult) -> None:
    """The hits stay the hits, whatever it says; at most their order changes."""
    reranker = load_reranker("openai:m", cache=False, retries=0)
    before = {hit.image_id: (hit.path, hit.text, hit.score) for hit in result.hits}

    @fuzz(50)
    @given(st.data(), st.sampled_from([200, 200, 200, 200, 201, 204, 300, 400, 418, 500]))
    def run(data: st.DataObject, status: int) -> None:
        asked.status, asked.kind = status, "application/json"
        asked.body = b"" if status == 204 else spoiled(data.draw, REPLY)
        with case(__file__):
            done = reranker.rerank(result)
            assert done.rerank is not None
            after = {hit.image_id: (hit.path, hit.text, hit.score) for hit in done.hits}
            assert after == before
            assert [hit.rank for hit in done.hits] == [1, 2, 3]

    run()


def test_streams_of_anything(asked: Says, result: SearchResult) -> None:
    model = VisionModel("m", cache=False, retries=0)

    @fuzz(60)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        asked.status, asked.kind = 200, "text/event-stream"
        events = [spoiled(data.draw, CHUNK) for _ in range(data.draw(st.integers(0, 3)))]
        lines = [b"data: " + event.replace(b"\n", b" ") + b"\n\n" for event in events]
        asked.body = b"".join(lines) + data.draw(st.sampled_from([b"data: [DONE]\n\n", b"", b"\0"]))
        with case(__file__):
            said = answer("What does it cost?", model, query=Query(text="a mug"))
            assert isinstance(said.answer, str)

    run()


@fuzz(200)
@given(ODD_TEXTS)
def test_data_cannot_leave_its_quotes(text: str) -> None:
    with case(__file__):
        quoted = as_data(text)
        inner = quoted.removeprefix("<data>").removesuffix("</data>")
        assert quoted == f"<data>{inner}</data>"
        assert not set(inner) & {"<", ">", "\n"}
        assert not any(ord(character) < 32 for character in inner)
        assert isinstance(json.loads(inner), str)


def test_nothing_is_reordered_that_is_no_permutation(result: SearchResult, tmp_path: Path) -> None:
    @fuzz(100)
    @given(st.lists(st.integers(-2, 5), max_size=5))
    def run(order: list[int]) -> None:
        with case(__file__):
            good = sorted(order) == list(range(len(order))) and len(order) <= 3
            try:
                done = reorder(result, order, RerankReport("x", "complete"), 1.0)
            except ValueError:
                assert not good
                return
            assert good
            assert {hit.image_id for hit in done.hits} == {hit.image_id for hit in result.hits}

    run()
