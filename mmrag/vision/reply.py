"""A model's reply, read defensively: servers differ in what they send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmrag.system.words import counted

_THOUGHT = re.compile(r"^\s*<(think|thinking)>.*?</\1>\s*", re.S)
_OPENS_THOUGHT = re.compile(r"^\s*<think(ing)?>")
_LONGEST_THOUGHT = 20_000
_STARTS = ("<think>", "<thinking>")


@dataclass(frozen=True)
class Reply:
    """A model's reply, without its thought.

    `refusal` is its wording if it refused; `finish` is the server's word for why it ended.
    `completion_tokens` includes `reasoning_tokens`, `prompt_tokens` includes `cached_tokens`.
    """

    text: str
    refusal: str | None = None
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def cut(self) -> bool:
        """Whether it ended for lack of room."""
        return self.finish == "length"

    @property
    def problem(self) -> str | None:
        """The reason there is nothing to read; None if there is something."""
        if self.refusal is not None:
            return f"the model refused: {self.refusal[:300]}"
        if self.finish == "content_filter":
            return "the server's content filter withheld the answer"
        if self.text.strip():
            return None
        if not self.cut:
            return "the answer is empty"
        return self.cut_off if self.reasoning_tokens else f"{self.cut_off}, still empty"

    @property
    def cut_off(self) -> str:
        """The limit at which an answer was cut off, in words."""
        if self.reasoning_tokens:
            tokens = counted(self.reasoning_tokens, "token")
            return f"the answer was cut off after {tokens} of thought"
        if self.completion_tokens:
            tokens = counted(self.completion_tokens, "token")
            return f"the answer was cut off after {tokens}"
        return "the answer was cut off"

    @property
    def whole(self) -> bool:
        """Whether it is complete, so worth keeping."""
        return self.problem is None and not self.cut


class StreamReading:
    """Puts the chunks of a streamed chat completion together."""

    def __init__(self) -> None:
        self.said = ""
        self.refusal = ""
        self.finish = ""
        self.usage: Any = None
        self._shown = 0

    def add(self, chunk: Any) -> str:
        """Take a chunk; return the piece of text, without thought, to show next."""
        # The client checks no types: a server may send anything in any place.
        self.usage = getattr(chunk, "usage", None) or self.usage
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            return ""
        delta = getattr(choices[0], "delta", None)
        self.finish = _text(getattr(choices[0], "finish_reason", None)) or self.finish
        self.refusal += _text(getattr(delta, "refusal", None))
        return self.take(_text(getattr(delta, "content", None)))

    def take(self, piece: str) -> str:
        """Add text; return the part that is new and not thought."""
        self.said += piece
        visible = without_thought(self.said)
        start = self.said.lstrip()
        if self._shown == 0 and start and any(one.startswith(start) for one in _STARTS):
            # Perhaps the beginning of a tag.
            return ""
        fresh, self._shown = visible[self._shown :], max(self._shown, len(visible))
        return fresh

    def reply(self) -> Reply:
        """The reply so far."""
        dump = getattr(self.usage, "model_dump", None)
        usage = self.usage if dump is None else dump()
        text = without_thought(self.said)
        return Reply(text, self.refusal or None, self.finish, *_tokens(usage))


class ResponsesReading(StreamReading):
    """Puts the events of a streamed response of the Responses API together."""

    def add(self, chunk: Any) -> str:
        """Take an event; return the piece of text to show next."""
        kind = _text(getattr(chunk, "type", None))
        if kind == "response.output_text.delta":
            return self.take(_text(getattr(chunk, "delta", None)))
        if kind == "response.refusal.delta":
            self.refusal += _text(getattr(chunk, "delta", None))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            dump = getattr(getattr(chunk, "response", None), "model_dump", None)
            answer = {} if dump is None else dump()
            self.finish, self.usage = _finish(answer), _as_chat(answer.get("usage"))
        return ""


def read_reply(body: str) -> Reply:
    """Read a chat completion, tolerating servers' variations.

    Raises:
        ValueError: it is not a chat completion.
    """
    answer = _document(body, "no chat completion")
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
        refusal = message.get("refusal")
        finish = str(choice.get("finish_reason") or "")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("no chat completion") from None
    if isinstance(content, list):
        content = "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    text = without_thought(_text(content))
    if not text.strip() and finish != "length":
        text = _called(message.get("tool_calls")) or _last_json(
            _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
        )
    return Reply(text, _text(refusal) or None, finish, *_tokens(answer.get("usage")))


def read_response(body: str) -> Reply:
    """Read an answer of the Responses API.

    Raises:
        ValueError: it is not one.
    """
    answer = _document(body, "no response")
    output = answer.get("output")
    if not isinstance(output, list):
        raise ValueError("no response")
    items = [one for one in output if isinstance(one, dict)]
    contents = [one.get("content") for one in items if one.get("type") == "message"]
    lists = [content for content in contents if isinstance(content, list)]
    parts = [part for content in lists for part in content if isinstance(part, dict)]
    text = without_thought("".join(_text(part.get("text")) for part in parts))
    refusal = "".join(_text(part.get("refusal")) for part in parts)
    if not text.strip():
        calls = [one for one in items if one.get("type") == "function_call"]
        text = _text(calls[-1].get("arguments")) if calls else text
    usage = _as_chat(answer.get("usage"))
    return Reply(text, refusal or None, _finish(answer), *_tokens(usage))


def without_thought(text: str) -> str:
    """A text without `<think>…</think>` at its start; empty if the thought has no end."""
    if _OPENS_THOUGHT.match(text) is None:
        # If the chat template opens the tag itself, only its end is in the answer.
        head, tag, tail = text.partition("</think>")
        return tail.lstrip() if tag and "<think>" not in head else text
    rest = _THOUGHT.sub("", text)
    return "" if _OPENS_THOUGHT.match(rest) else rest


def json_documents(text: str, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The JSON objects in a text that fit, in order, without nested ones."""
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        end = start + 1
        try:
            document, end = decoder.raw_decode(text, start)
        # Overlong numbers raise their own error.
        except ValueError:
            document = None
        except RecursionError:
            return found
        if isinstance(document, dict) and fits(document):
            found.append(document)
        start = text.find("{", end)
    return found


def _document(body: str, otherwise: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError(otherwise) from None
    if not isinstance(answer, dict):
        raise ValueError(otherwise)
    return answer


def _called(calls: Any) -> str:
    """The arguments of the last tool that a model called instead of answering."""
    try:
        given = calls[-1]["function"]["arguments"]
    except (KeyError, IndexError, TypeError):
        return ""
    return given if isinstance(given, str) else json.dumps(given)


def _last_json(thought: str) -> str:
    """The last JSON object in a thought, for servers that mistake a whole answer for thought."""
    found = json_documents(thought[-_LONGEST_THOUGHT:], lambda _: True)
    return json.dumps(found[-1]) if found else ""


def _finish(answer: dict[str, Any]) -> str:
    """A response's finish reason, in the terms of chat completions."""
    details = answer.get("incomplete_details")
    reason = _text(details.get("reason")) if isinstance(details, dict) else ""
    return {"max_output_tokens": "length"}.get(reason, reason or _text(answer.get("status")))


def _as_chat(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return None
    return {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tokens(usage: Any) -> tuple[int | None, int | None, int, int]:
    """Prompt, completion, cached and reasoning tokens."""
    if not isinstance(usage, dict):
        return None, None, 0, 0
    prompt, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cached = _detail(usage.get("prompt_tokens_details"), "cached_tokens")
    thought = _detail(usage.get("completion_tokens_details"), "reasoning_tokens")
    return prompt, written, min(cached, prompt or 0), min(thought, written or 0)


def _detail(details: Any, name: str) -> int:
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
