"""Hosted encoders against a server that speaks each protocol and looks at the pictures."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrag import MmragError, Query, load_encoder
from mmrag.cli import run
from mmrag.encoders.queries import query_vectors
from mmrag.errors import BudgetReached, ModelServerError
from mmrag.vision import embeddings
from mmrag.vision.embeddings import Limits

SECRET = "secret-key-1234"
WORDS = {"red": (255, 0, 0), "green": (0, 255, 0), "a": (1, 1, 1)}


class Hosted:
    """A model whose vectors are mean colours, with one more value."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.failures: list[int] = []
        self.message = f"wrong key {SECRET}"
        self.retry_after: str | None = "0"
        self.told = True
        self.delay = 0.0
        model = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = 200, {}
                time.sleep(model.delay)
                if model.failures:
                    status = model.failures.pop()
                    answer = {"message": model.message}
                elif (
                    SECRET not in f"{self.headers['Authorization']}{self.headers['x-goog-api-key']}"
                ):
                    status = 401
                else:
                    model.bodies.append(body)
                    model.paths.append(self.path)
                    try:
                        answer = model.answer(self.path, body)
                    except AssertionError as wrong:
                        status, answer = 422, {"message": f"not as documented: {wrong}"}
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if model.retry_after is not None:
                    self.send_header("Retry-After", model.retry_after)
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """As the provider answers, to what its documents allow."""
        fields = set(body)
        if "batchEmbedContents" in path:
            requests = body["requests"]
            assert all(set(one) <= {"model", "content", "outputDimensionality"} for one in requests)
            parts = [one["content"]["parts"] for one in requests]
            assert sum("inline_data" in part for some in parts for part in some) <= 6
            details = [{"modality": "TEXT", "tokenCount": 3}, {"modality": "IMAGE"}]
            usage = {"promptTokenCount": 1003, "promptTokensDetails": details}
            return {
                "embeddings": [{"values": self.vector(some)} for some in parts],
                **({"usageMetadata": usage} if self.told else {}),
            }
        if path == "/v2/embed":
            assert body["input_type"] in ("search_query", "search_document")
            assert body["embedding_types"] == ["float"]
            assert len(body["inputs"]) <= 96
            found = [self.vector(one["content"]) for one in body["inputs"]]
            units = {"input_tokens": 1000, "image_tokens": 2000}
            meta = {"billed_units": units} if self.told else {}
            return {"embeddings": {"float": found}, "meta": meta}
        if "messages" in body:
            inputs = [one["content"] for one in body["messages"] if one["role"] == "user"]
            assert len(inputs) == 1
        elif "inputs" in body:
            assert path == "/v1/multimodalembeddings"
            assert body["input_type"] in ("query", "document")
            kinds = {part["type"] for one in body["inputs"] for part in one["content"]}
            assert kinds <= {"text", "image_base64"}
            inputs = [one["content"] for one in body["inputs"]]
        elif "modality" in body:
            assert path == "/embeddings"
            assert fields <= {"model", "modality", "input", "dimensions"}
            assert all(isinstance(one, str) for one in body["input"])
            assert len(body["input"]) <= 32
            inputs = [[one] for one in body["input"]]
        else:
            tasks = {"retrieval.query"}
            if "clip" not in body["model"]:
                tasks |= {"retrieval.passage", "text-matching"}
            assert body.get("task", "retrieval.query") in tasks, body["task"]
            assert all(set(one) in ({"image"}, {"text"}) for one in body["input"])
            inputs = [[one] for one in body["input"]]
        rows = [{"index": i, "embedding": self.vector(one)} for i, one in enumerate(inputs)]
        return {"data": rows[::-1], "usage": {"total_tokens": 3, "text_tokens": 3}}

    def vector(self, parts: list[Any]) -> list[float]:
        colours = [self.colour(part) for part in parts]
        return [*np.mean(colours, axis=0).tolist(), 10.0]

    def colour(self, part: Any) -> tuple[float, ...]:
        text = part if isinstance(part, str) else part.get("text")
        if text in WORDS:
            return WORDS[text]
        whole = json.dumps(part)
        data = whole.partition("base64,")[2] or json.dumps(
            (part.get("inline_data") or {}).get("data") or part.get("image")
        )
        picture = Image.open(io.BytesIO(base64.b64decode(data.strip('"}] '))))
        return tuple(np.asarray(picture.convert("RGB")).mean((0, 1)))


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    made = Hosted()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("MMRAG_EMBEDDING_URL", made.url)
    for name in ("COHERE_API_KEY", "VOYAGE_API_KEY", "GEMINI_API_KEY", "JINA_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("MMRAG_EMBEDDING_KEY", SECRET)
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def unit(*values: float) -> np.ndarray:
    return np.asarray(values) / np.linalg.norm(values)


BLUE, RED = Image.new("RGB", (40, 30), "blue"), Image.new("RGB", (2000, 1500), "red")


@pytest.mark.parametrize("provider", ["cohere", "voyage", "gemini", "jina", "vllm", "infinity"])
def test_each_protocol(hosted: Hosted, provider: str) -> None:
    encoder = load_encoder(f"api:{provider}/some/model")
    assert encoder.info.dim == 4
    pictures = encoder.encode([BLUE, RED])
    assert np.abs(pictures[0] - unit(0, 0, 255, 10)).max() < 1e-5
    assert np.abs(pictures[1] - unit(255, 0, 0, 10)).max() < 1e-5
    texts = encoder.encode(texts=["green", "red"], query=True)
    assert np.abs(texts[0] - unit(0, 255, 0, 10)).max() < 1e-5
    [both] = encoder.encode([BLUE], ["red"], query=True)
    expected = unit(127.5, 0, 127.5, 10)
    if provider in ("jina", "infinity"):
        expected = unit(*(unit(0, 0, 255, 10) + unit(255, 0, 0, 10)))
    assert np.abs(both - expected).max() < 1e-5
    several = query_vectors(encoder, [Query(images=[BLUE, RED], text="green")])[0]
    if provider not in ("jina", "infinity"):
        assert np.abs(several - unit(85, 85, 85, 10)).max() < 1e-5
    asked = len(hosted.bodies)
    assert load_encoder(f"api:{provider}/some/model").encode([BLUE, RED]).shape == (2, 4)
    assert len(hosted.bodies) == asked, "from the cache"
    assert encoder.usage is not None
    assert encoder.usage.requests == asked
    assert "some/model" in hosted.paths[-1] + str(hosted.bodies[-1])
    assert SECRET not in str(encoder.info) + str(hosted.bodies)


def test_what_models_want(hosted: Hosted) -> None:
    encoder = load_encoder("api:vllm/Qwen/Qwen3-VL-Embedding-2B")
    [both] = encoder.encode([BLUE], ["red"])
    assert np.abs(both - unit(127.5, 0, 127.5, 10)).max() < 1e-5
    body = hosted.bodies[-1]
    assert [one["role"] for one in body["messages"]] == ["system", "user", "assistant"]
    assert body["continue_final_message"]
    assert body["add_special_tokens"]
    clip = load_encoder("api:jina/jina-clip-v2")
    assert hosted.bodies[-1]["task"] == "retrieval.query"
    assert clip.encode([BLUE]).shape == (1, 4)
    assert "task" not in hosted.bodies[-1]


def test_what_fits_into_a_request(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    shades = [Image.new("RGB", (30, 30), (shade, 0, 0)) for shade in range(20)]
    load_encoder("api:gemini/gemini-embedding-2").encode(shades)
    assert sorted(len(body["requests"]) for body in hosted.bodies[1:]) == [2, 6, 6, 6]
    longest = max(len(embeddings._data_url(np.asarray(shade))) for shade in shades)
    monkeypatch.setattr(embeddings, "_MOST_BYTES", 2 * longest)
    hosted.bodies.clear()
    vectors = load_encoder("api:cohere/embed-v4.0").encode(shades[:5])
    assert np.abs(vectors[4] - unit(4, 0, 0, 10)).max() < 1e-5
    assert sorted(len(body["inputs"]) for body in hosted.bodies[1:]) == [1, 2, 2]


def test_a_cost_that_is_not_told_is_the_most(hosted: Hosted) -> None:
    told = load_encoder("api:gemini/gemini-embedding-2").usage
    assert told is not None
    assert told.cost_usd == pytest.approx((3 * 0.20 + 1000 * 0.45) / 1e6)
    hosted.told = False
    for name, price in (("cohere/embed-v4.0", 0.12), ("gemini/gemini-embedding-2-x", 0.20)):
        usage = load_encoder(f"api:{name}").usage
        assert usage is not None
        assert usage.cost_usd == pytest.approx(9 * price / 1e6)
    with pytest.raises(MmragError, match=r"No price of api:cohere/embed-v5\.0-pro is known"):
        load_encoder("api:cohere/embed-v5.0-pro", embedding_max_cost=1.0)


def test_the_time_to_wait_may_stand_in_the_message(hosted: Hosted) -> None:
    hosted.failures, hosted.retry_after = [429], None
    hosted.message = "You exceeded your quota. Please retry in 0.01s."
    assert load_encoder("api:gemini/gemini-embedding-2").info.dim == 4
    hosted.failures, hosted.message = [429], "Please retry in 4000.5s."
    with pytest.raises(ModelServerError, match=r"retry in 4000\.5s"):
        load_encoder("api:gemini/other")


def test_failures_limits_and_keys(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    hosted.failures = [503, 429]
    encoder = load_encoder("api:cohere/embed-v4.0")
    assert encoder.usage is not None
    assert encoder.usage.cost_usd == pytest.approx((1000 * 0.12 + 2000 * 0.47) / 1e6)
    hosted.failures = [401]
    with pytest.raises(ModelServerError, match="status 401") as caught:
        encoder.encode([BLUE])
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("MMRAG_EMBEDDING_MAX_COST", "0.0000001")
    with pytest.raises(BudgetReached):
        load_encoder("api:cohere/embed-v4.0").encode([RED])
    with pytest.raises(MmragError, match="No price of api:jina/x is known, so its cost"):
        load_encoder("api:jina/x")
    monkeypatch.delenv("MMRAG_EMBEDDING_MAX_COST")
    monkeypatch.delenv("COHERE_API_KEY")
    with pytest.raises(ModelServerError, match="set COHERE_API_KEY"):
        load_encoder("api:cohere/embed-v4.0")
    monkeypatch.delenv("MMRAG_EMBEDDING_URL")
    with pytest.raises(ModelServerError, match="set MMRAG_EMBEDDING_URL"):
        load_encoder("api:vllm/x")
    with pytest.raises(MmragError, match="with one of cohere, voyage, gemini"):
        load_encoder("api:nobody/x")


def test_limits_on_the_command_line(
    hosted: Hosted, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ["index", str(folder), "--encoder", "api:cohere/embed-v4.0"]
    assert run([*index, "--embedding-max-cost", "0.0000001"]) == 1
    assert "The limit of $1e-07 is reached" in capsys.readouterr().err
    options = {"embedding_concurrency": 2, "embedding_timeout": 0.2, "embedding_max_cost": 9.0}
    encoder = load_encoder("api:cohere/embed-v4.0", **options)
    assert encoder.model.limits == Limits(9.0, 2, 0.2)
    hosted.delay = 1.0
    with pytest.raises(ModelServerError, match=r"no answer within 0\.2 s; --embedding-timeout"):
        encoder.encode([RED])
    with pytest.raises(MmragError, match="does not take --embedding-timeout"):
        load_encoder("demo", embedding_timeout=1.0)
