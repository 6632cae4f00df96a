"""A server that speaks the chat-completions protocol and looks at what it is sent.

`python -m tests.vision_server --port 8123`, then OPENAI_BASE_URL=http://127.0.0.1:8123/v1 and any
OPENAI_API_KEY. It ranks candidates by likeness of their colour to the query's, and answers
questions from descriptions and colours; see `vision_eyes`. Nothing in the package knows about it.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .vision_eyes import CannotSee, Seen, answer, look, rank

# What the fixture `server` wants of those who ask it, and tests look for where no key may be.
KEY = "sk-test-0123456789abcdef"


@dataclass
class Scene:
    """What the server does with one request instead of, or beside, answering it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    text: str | None = None
    refusal: str | None = None
    finish: str = "stop"
    body: bytes | None = None
    error: dict[str, Any] = field(default_factory=lambda: {"message": "as the test wants it"})
    drop: bool = False
    drop_after_words: int | None = None
    no_usage: bool = False


class VisionServer:
    """Runs on a thread; `script` holds scenes for the next requests, one each.

    Args:
        port: 0 takes a free one.
        key: the only key that is accepted; None accepts any.
        structured: whether `response_format` is known.
        unknown_options: options that are refused, as servers of other ages do.
        delay: seconds that every answer takes.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        key: str | None = None,
        structured: bool = True,
        unknown_options: tuple[str, ...] = (),
        delay: float = 0.0,
    ) -> None:
        self.key = key
        self.delay = delay
        # Answers wait until so many requests are under way.
        self.gather = 0
        self.unknown = {*unknown_options} | (set() if structured else {"response_format"})
        self.script: deque[Scene] = deque()
        self.always: Scene | None = None
        self.bodies: list[dict[str, Any]] = []
        self.seen: list[Seen] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.under_way = 0
        self.most_under_way = 0
        self.tokens = [0, 0]
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self.http.daemon_threads = True
        self.http.server = self  # type: ignore[attr-defined]
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    @property
    def requests(self) -> int:
        return len(self.bodies)

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def __enter__(self) -> VisionServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]})

    def do_POST(self) -> None:
        server: VisionServer = self.server.server  # type: ignore[attr-defined]
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        with server.lock:
            server.bodies.append(body)
            server.paths.append(self.path)
            server.times.append(time.monotonic())
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            scene = server.script.popleft() if server.script else server.always or Scene()
        try:
            self._play(server, body, scene)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.under_way -= 1

    def _play(self, server: VisionServer, body: dict[str, Any], scene: Scene) -> None:
        time.sleep(server.delay + scene.delay)
        patience = time.monotonic() + 20
        while server.most_under_way < server.gather and time.monotonic() < patience:
            time.sleep(0.01)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        given = self.headers.get("api-key") or bearer
        if scene.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if server.key is not None and given != server.key:
            self._fail(401, {"message": f"Incorrect API key provided: {given}"})
            return
        if scene.status != 200:
            self._fail(scene.status, scene.error, scene.headers)
            return
        unknown = sorted(server.unknown & body.keys())
        if unknown:
            self._fail(400, {"message": f"Unrecognized request argument supplied: {unknown[0]}"})
            return
        if not self.path.split("?")[0].endswith("/chat/completions"):
            self._fail(404, {"message": f"no {self.path}"})
            return
        if scene.body is not None:
            self._raw(200, scene.body, "application/json")
            return
        try:
            seen = look(body["messages"])
            text = scene.text if scene.text is not None else _say(seen, body)
        except (CannotSee, KeyError, ValueError, OSError) as error:
            self._fail(400, {"message": f"cannot see: {error}", "code": "content_filter"})
            return
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if scene.refusal is not None:
            message |= {"content": None, "refusal": scene.refusal}
        tokens = [seen.tokens, max(1, len(text) // 4)]
        with server.lock:
            server.seen.append(seen)
            server.tokens = [a + b for a, b in zip(server.tokens, tokens, strict=True)]
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        usage["total_tokens"] = sum(tokens)
        if body.get("stream"):
            self._stream(body, message, usage, scene)
            return
        choice = {"index": 0, "message": message, "finish_reason": scene.finish}
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        reply |= {"choices": [choice]} | ({} if scene.no_usage else {"usage": usage})
        self._send(200, reply)

    def _stream(
        self, body: dict[str, Any], message: dict[str, Any], usage: dict[str, int], scene: Scene
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
        words = (message["content"] or "").split(" ")
        deltas = [{"content": word if i == 0 else f" {word}"} for i, word in enumerate(words)]
        if message["refusal"]:
            deltas = [{"refusal": message["refusal"]}]
        for i, delta in enumerate(deltas):
            if i == scene.drop_after_words:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            last = i == len(deltas) - 1
            choice = {"index": 0, "delta": delta, "finish_reason": scene.finish if last else None}
            self._event(json.dumps(base | {"choices": [choice]}))
        if (body.get("stream_options") or {}).get("include_usage") and not scene.no_usage:
            self._event(json.dumps(base | {"choices": [], "usage": usage}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, text: str) -> None:
        chunk = f"data: {text}\n\n".encode()
        self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.flush()

    def _fail(
        self, status: int, error: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        self._send(
            status, {"error": {"type": "test", "param": None, "code": None} | error}, headers
        )

    def _send(
        self, status: int, reply: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        self._raw(status, json.dumps(reply).encode(), "application/json", headers)

    def _raw(
        self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _say(seen: Seen, body: dict[str, Any]) -> str:
    if seen.question is not None:
        return answer(seen)
    ranking = rank(seen)
    reason = "Its colour is the nearest to the query's."
    if seen.query is None:
        reason = "It is the brightest."
    wanted = body.get("response_format")
    if wanted is None:
        return f"Ranked list: {ranking}\nReasons: {reason}"
    properties = wanted["json_schema"]["schema"]["properties"]
    filled: dict[str, Any] = {
        name: ranking if kind["type"] == "array" else reason for name, kind in properties.items()
    }
    return json.dumps(filled)


def main() -> None:
    parser = argparse.ArgumentParser(description="A vision model that only knows colours.")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--key", help="The only key that is accepted.")
    parser.add_argument("--unstructured", action="store_true", help="Refuse response_format.")
    parser.add_argument("--delay", type=float, default=0.0, help="Seconds an answer takes.")
    given = parser.parse_args()
    server = VisionServer(
        given.port, key=given.key, structured=not given.unstructured, delay=given.delay
    )
    print(f"OPENAI_BASE_URL={server.url}", flush=True)
    try:
        server.thread.join()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
