"""What a model said, read defensively: servers differ in what they send."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What a model said. `refusal` is its words when it refused; `finish` is the server's word."""

    text: str
    refusal: str | None = None
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0


class StreamReading:
    """Puts the chunks of a streamed answer together."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.refusal = ""
        self.finish = ""
        self.usage: Any = None

    def add(self, chunk: Any) -> str:
        """Take a chunk; returns its piece of text."""
        # The client checks no types: a server may send anything in any place.
        self.usage = getattr(chunk, "usage", None) or self.usage
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            return ""
        delta = getattr(choices[0], "delta", None)
        self.finish = _text(getattr(choices[0], "finish_reason", None)) or self.finish
        self.refusal += _text(getattr(delta, "refusal", None))
        piece = _text(getattr(delta, "content", None))
        self.pieces.append(piece)
        return piece

    def reply(self) -> Reply:
        """What the chunks so far amount to."""
        usage = self.usage.model_dump() if hasattr(self.usage, "model_dump") else self.usage
        return Reply("".join(self.pieces), self.refusal or None, self.finish, *_tokens(usage))


def read_reply(body: str) -> Reply:
    """Read a chat completion, whatever a server made of it.

    Raises:
        ValueError: it is no chat completion.
    """
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
        refusal = message.get("refusal")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("no chat completion") from None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return Reply(
        content if isinstance(content, str) else "",
        refusal if isinstance(refusal, str) and refusal else None,
        str(choice.get("finish_reason") or ""),
        *_tokens(answer.get("usage")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tokens(usage: Any) -> tuple[int | None, int | None, int]:
    if not isinstance(usage, dict):
        return None, None, 0
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    prompt = _count(usage.get("prompt_tokens"))
    return prompt, _count(usage.get("completion_tokens")), min(cached or 0, prompt or 0)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
