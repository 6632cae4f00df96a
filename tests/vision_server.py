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

from .vision_batches import Batches
from .vision_eyes import CannotSee, Seen, answer, colour, grade, look, name, rank, worded

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
    # What is in the message beside or instead of text: tool calls, the thought of local servers.
    message: dict[str, Any] = field(default_factory=dict)
    # Text that is put around the answer, with {} for it.
    around: str = "{}"
    # Half of the answer comes, then nothing more for so many seconds.
    stall: float = 0.0
    # So many seconds between two words of a stream, or two bytes of a body.
    drip: float = 0.0


class VisionServer:
    """Runs on a thread; `script` holds scenes for the next requests, one each.

    Args:
        port: 0 takes a free one.
        key: the only key that is accepted; None accepts any.
        structured: whether `response_format` is known.
        unknown_options: options that are refused, as servers of other ages do.
        delay: seconds that every answer takes.
        thinks: tokens of thought before each answer at medium effort; a model that thinks refuses
            `max_tokens`, and temperatures but 1.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        key: str | None = None,
        structured: bool = True,
        unknown_options: tuple[str, ...] = (),
        delay: float = 0.0,
        thinks: int = 0,
    ) -> None:
        self.key = key
        self.thinks = thinks
        self.efforts = ("none", "low", "medium", "high")
        self.batches = Batches(self)
        self.models: list[dict[str, Any]] = [{"id": "gpt-4o", "object": "model"}]
        self.listed = 0
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
        # Prompt, completion, and of those thought.
        self.tokens = [0, 0, 0]
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
        server: VisionServer = self.server.server  # type: ignore[attr-defined]
        path = self.path.split("?")[0].rstrip("/")
        if "/batches/" in path:
            self._send(200, server.batches.look(path.rpartition("/")[2]))
            return
        if path.endswith("/content"):
            self._raw(200, server.batches.files[path.split("/")[-2]], "application/jsonl")
            return
        if "/files/" in path:
            self._send(200, server.batches.file(path.rpartition("/")[2]))
            return
        server.listed += 1
        self._send(200, {"object": "list", "data": server.models})

    def do_POST(self) -> None:
        server: VisionServer = self.server.server  # type: ignore[attr-defined]
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        azure = "api-key" in self.headers
        assert azure == path.startswith("/openai/") == ("api-version=" in self.path)
        if "/files" in path or "/batches" in path:
            self._send(200, server.batches.take(path, content))
            return
        body = json.loads(content)
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
        refused = refusal(server, body)
        if refused:
            self._fail(400, refused)
            return
        path = self.path.split("?")[0]
        if not path.endswith(("/chat/completions", "/responses")):
            self._fail(404, {"message": f"no {self.path}"})
            return
        if scene.body is not None:
            self._raw(200, scene.body, "application/json")
            return
        try:
            reply = answer_to(server, body, scene)
        except (CannotSee, KeyError, ValueError, OSError) as error:
            self._fail(400, {"message": f"cannot see: {error}", "code": "content_filter"})
            return
        if body.get("stream"):
            self._stream(body, reply, scene)
            return
        if path.endswith("/responses"):
            reply = as_response(reply)
        if scene.stall:
            self._stall(json.dumps(reply).encode(), scene.stall)
            return
        if scene.drip:
            self._drip(json.dumps(reply).encode(), scene.drip)
            return
        self._send(200, reply)

    def _drip(self, body: bytes, pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(pause)

    def _stall(self, body: bytes, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        time.sleep(seconds)
        self.close_connection = True

    def _stream(self, body: dict[str, Any], reply: dict[str, Any], scene: Scene) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
        message, finish = reply["choices"][0]["message"], reply["choices"][0]["finish_reason"]
        words = (message["content"] or "").split(" ")
        deltas = [{"content": word if i == 0 else f" {word}"} for i, word in enumerate(words)]
        if message["refusal"]:
            deltas = [{"refusal": message["refusal"]}]
        responses = "input" in body
        for i, delta in enumerate(deltas):
            if i == scene.drop_after_words:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if scene.stall and i >= len(deltas) / 2:
                time.sleep(scene.stall)
                self.close_connection = True
                return
            time.sleep(scene.drip)
            if responses:
                kind = "refusal" if "refusal" in delta else "output_text"
                event = {"type": f"response.{kind}.delta", "delta": next(iter(delta.values()))}
                event |= {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
                self._event(json.dumps(event | {"sequence_number": i}))
                continue
            last = i == len(deltas) - 1
            choice = {"index": 0, "delta": delta, "finish_reason": finish if last else None}
            self._event(json.dumps(base | {"choices": [choice]}))
        if responses:
            whole = as_response(reply)
            kind = "completed" if whole["status"] == "completed" else "incomplete"
            self._event(
                json.dumps({"type": f"response.{kind}", "response": whole, "sequence_number": 99})
            )
        elif (body.get("stream_options") or {}).get("include_usage") and not scene.no_usage:
            self._event(json.dumps(base | {"choices": [], "usage": reply["usage"]}))
        if not responses:
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
        for header, value in (headers or {}).items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)


def refusal(server: VisionServer, body: dict[str, Any]) -> dict[str, Any] | None:
    """The error for an option that the server does not take."""
    unknown = sorted(server.unknown & body.keys())
    if unknown:
        return {"message": f"Unrecognized request argument supplied: {unknown[0]}"}
    if not server.thinks:
        return None
    effort = _effort(body)
    if effort is not None and effort not in server.efforts:
        known = ", ".join(f"'{one}'" for one in server.efforts)
        return {
            "message": f"Unsupported value: 'reasoning_effort' does not support '{effort}' with "
            f"this model. Supported values are: {known}.",
            "param": "reasoning.effort" if "input" in body else "reasoning_effort",
            "code": "unsupported_value",
        }
    if body.get("temperature", 1) != 1:
        return {
            "message": "Unsupported value: 'temperature' does not support 0 with this model. "
            "Only the default (1) value is supported.",
            "param": "temperature",
            "code": "unsupported_value",
        }
    if "max_tokens" in body:
        return {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        }
    return None


def answer_to(server: VisionServer, body: dict[str, Any], scene: Scene) -> dict[str, Any]:
    """A chat completion for a request of either API."""
    messages = body.get("messages") or _as_messages(body)
    seen = look(messages)
    text = scene.text if scene.text is not None else _say(seen, body)
    text = scene.around.replace("{}", text)
    share = {"none": 0.0, "minimal": 0.1, "low": 0.3, "high": 3.0}.get(_effort(body) or "", 1.0)
    thought, finish = int(server.thinks * share), scene.finish
    written = thought + max(1, len(text) // 4)
    limits = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    limit = next((body[name] for name in limits if name in body), written)
    if written > limit:
        text, finish = text[: 4 * max(0, limit - thought)], "length"
        written, thought = limit, min(thought, limit)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if scene.refusal is not None:
        message |= {"content": None, "refusal": scene.refusal}
    message |= scene.message
    tokens = [seen.tokens(str(body["model"])), written, thought]
    with server.lock:
        server.seen.append(seen)
        server.tokens = [a + b for a, b in zip(server.tokens, tokens, strict=True)]
    usage = {
        "prompt_tokens": tokens[0],
        "completion_tokens": written,
        "total_tokens": tokens[0] + written,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    choice = {"index": 0, "message": message, "finish_reason": finish}
    reply = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
    return reply | {"choices": [choice]} | ({} if scene.no_usage else {"usage": usage})


def as_response(reply: dict[str, Any]) -> dict[str, Any]:
    """A chat completion in the form of the Responses API."""
    message, finish = reply["choices"][0]["message"], reply["choices"][0]["finish_reason"]
    part = {"type": "output_text", "text": message["content"], "annotations": []}
    if message["refusal"]:
        part = {"type": "refusal", "refusal": message["refusal"]}
    said = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    output = [{"type": "reasoning", "id": "r", "summary": []}]
    output += [said | {"content": [part]}] if message["refusal"] or message["content"] else []
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    response = {"id": "x", "object": "response", "created_at": 0, "model": reply["model"]}
    response |= {"parallel_tool_calls": False, "tool_choice": "auto", "tools": []}
    response |= {"output": output, "status": "incomplete" if finish in reasons else "completed"}
    response["incomplete_details"] = {"reason": reasons[finish]} if finish in reasons else None
    if "usage" in reply:
        used = reply["usage"]
        response["usage"] = {
            "input_tokens": used["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used["completion_tokens"],
            "output_tokens_details": used["completion_tokens_details"],
            "total_tokens": used["total_tokens"],
        }
    return response


def _effort(body: dict[str, Any]) -> str | None:
    effort: str | None = body.get("reasoning_effort", (body.get("reasoning") or {}).get("effort"))
    return effort


def _as_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a request of the Responses API."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": body["instructions"]}]
    for one in body["input"]:
        parts = [
            {"type": "text", "text": part["text"]}
            if part["type"] == "input_text"
            else {"type": "image_url", "image_url": {"url": part["image_url"]}}
            for part in one["content"]
        ]
        messages.append({"role": one["role"], "content": parts})
    return messages


def _say(seen: Seen, body: dict[str, Any]) -> str:
    if seen.question is not None:
        return answer(seen)
    if seen.texts[0].startswith("A search finds pictures"):
        shown = f" {name(colour(seen.query))}" if seen.query is not None else ""
        return json.dumps({"query": f"{seen.instruction or 'something'}{shown}"})
    form = body.get("response_format") or body.get("text")
    if seen.target is not None:
        return json.dumps(worded(seen))
    if "The grades:" in seen.texts[0]:
        said = {"reason": "By its colour.", "grade": grade(seen)}
        return json.dumps(said) if form else f"Reason: {said['reason']}\nGrade: {said['grade']}"
    ranking = rank(seen)
    reason = "Its colour is the nearest to the query's."
    if seen.query is None:
        reason = "It is the brightest."
    if form is None:
        return f"Ranked list: {ranking}\nReasons: {reason}"
    wanted = form.get("json_schema") or form["format"]
    properties = wanted["schema"]["properties"]
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
    parser.add_argument("--thinks", type=int, default=0, help="Tokens of thought an answer.")
    given = parser.parse_args()
    server = VisionServer(
        given.port,
        key=given.key,
        structured=not given.unstructured,
        delay=given.delay,
        thinks=given.thinks,
    )
    print(f"OPENAI_BASE_URL={server.url}", flush=True)
    try:
        server.thread.join()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
