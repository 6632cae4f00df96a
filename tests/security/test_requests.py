"""Requests to a model server go to the configured address, and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmrag import Query, load_reranker
from mmrag.errors import ModelServerError
from mmrag.search.answer import answer
from mmrag.types import SearchResult
from mmrag.vision.model import VisionModel

from ..vision_fixtures import colours, ids, result_of
from ..vision_server import KEY, Scene, VisionServer


class Listener:
    """Somewhere else: notes every request that arrives, whatever its kind."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                heard.append(f"{self.command} {self.path} {self.headers}")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_CONNECT = do_HEAD = do_GET

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def elsewhere() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.http.shutdown()
    listener.http.server_close()


@pytest.fixture
def result(tmp_path: Path) -> SearchResult:
    return result_of(tmp_path, colours(3))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("azure", [False, True])
def test_a_redirect_is_not_followed(
    server: VisionServer,
    result: SearchResult,
    elsewhere: Listener,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    azure: bool,
) -> None:
    if azure:
        monkeypatch.delenv("OPENAI_BASE_URL")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.address)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    server.always = Scene(status=status, headers={"Location": f"{elsewhere.url}/v1/chat"})
    done = load_reranker("gpt-4o", retries=0, cache=False).rerank(result)
    assert done.rerank is not None
    assert done.rerank.status == "failed"
    assert f"status {status}" in done.rerank.problems[0]
    assert ids(done) == ids(result)
    with pytest.raises(ModelServerError, match=f"status {status}"):
        answer(
            "What is it?", VisionModel("gpt-4o", retries=0, cache=False), query=Query(text="mug")
        )
    assert server.requests == 2
    assert elsewhere.heard == []


def test_proxies_of_the_environment_are_not_used(
    server: VisionServer,
    result: SearchResult,
    elsewhere: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)
        monkeypatch.setenv(name.lower(), elsewhere.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    done = load_reranker("gpt-4o", retries=0, cache=False).rerank(result)
    assert done.rerank is not None
    assert done.rerank.status == "complete"
    answer("What is it?", VisionModel("gpt-4o", retries=0, cache=False), query=Query(text="mug"))
    assert server.requests == 2
    assert elsewhere.heard == []


def test_a_proxy_that_is_named_for_this_is_used(
    server: VisionServer,
    result: SearchResult,
    elsewhere: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MMRAG_PROXY", elsewhere.url.replace("//", "//user:s3cret-word@"))
    done = load_reranker("gpt-4o", retries=0, cache=False).rerank(result)
    assert done.rerank is not None
    assert done.rerank.status == "failed"
    assert server.requests == 0
    assert elsewhere.heard
    assert "s3cret-word" not in repr(done)


def test_nothing_but_the_prompt_is_sent(server: VisionServer, result: SearchResult) -> None:
    """No path of this machine, no other setting; pictures as pixels, without their metadata."""
    load_reranker("gpt-4o", cache=False).rerank(result)
    sent = repr(server.bodies)
    for hit in result.hits:
        assert hit.path not in sent
    assert "image_url" in sent
    assert "http://" not in sent
    assert KEY not in sent
