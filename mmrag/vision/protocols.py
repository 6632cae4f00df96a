"""The two APIs for requests: Chat Completions and Responses."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmrag.vision.models import EFFORTS
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply, ResponsesReading, StreamReading, read_reply, read_response

if TYPE_CHECKING:
    import openai

# Errors not caused by an option.
_NOT_ABOUT_OPTIONS = ("content_filter", "context_length_exceeded")


@dataclass
class Options:
    """How one model is asked; refused options are left out, or changed, from then on."""

    detail: str = "high"
    effort: str | None = None
    temperature: float | None = 0
    left_out: set[str] = field(default_factory=set)
    refused_efforts: set[str] = field(default_factory=set)

    def learn(self, error: openai.APIStatusError, arguments: dict[str, Any], api: Api) -> None:
        """Learn from a server's "bad request"; raise the error if it teaches nothing."""
        said = str(error).lower()
        sent = [name for name in api.optional if name in arguments]
        param = str(getattr(error, "param", None) or "").partition(".")[0]
        named = {name: found.start() for name in sent if (found := re.search(rf"\b{name}\b", said))}
        refused = param if param in sent else min(named, key=named.__getitem__, default=None)
        if refused is None and api.form in sent and error.code not in _NOT_ABOUT_OPTIONS:
            # Servers without structured output say so in many ways.
            refused = api.form
        if refused is None:
            raise error
        if refused == api.thinking:
            effort = str(api.effort(arguments))
            self.refused_efforts.add(effort)
            others = [
                one for one in EFFORTS if f"'{one}'" in said and one not in self.refused_efforts
            ]
            if effort != self.effort:
                return
            self.effort = others[0] if others else None
            if others:
                return
        self.left_out.add(refused)


class Api(ABC):
    """An API: what is sent, where, and how the answer is read.

    `optional` names the arguments that a server may refuse, `form` the one for structured output,
    `thinking` the one for effort.
    """

    name: str
    path: str
    optional: tuple[str, ...]
    form: str
    thinking: str

    @abstractmethod
    def arguments(self, model: str, prompt: Prompt, limit: int, options: Options) -> dict[str, Any]:
        """The arguments of `resource(...).create`."""

    @abstractmethod
    def effort(self, arguments: dict[str, Any]) -> str | None:
        """The effort in `arguments`."""

    @abstractmethod
    def resource(self, client: Any) -> Any:
        """The part of a client that has `create`."""

    @abstractmethod
    def read(self, body: str) -> Reply:
        """Read an answer; raise `ValueError` if it is not one."""

    @abstractmethod
    def reading(self) -> StreamReading:
        """A reader for a stream."""


class ChatApi(Api):
    """`POST /chat/completions`, which nearly every server speaks."""

    name = "chat"
    path = "/v1/chat/completions"
    optional = (
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "response_format",
        "reasoning_effort",
        "stream_options",
    )
    form = "response_format"
    thinking = "reasoning_effort"

    def arguments(self, model: str, prompt: Prompt, limit: int, options: Options) -> dict[str, Any]:
        """As `Api.arguments`."""
        given: dict[str, Any] = {"max_completion_tokens": limit}
        if options.temperature is not None:
            given["temperature"] = options.temperature
        if options.effort is not None:
            given["reasoning_effort"] = options.effort
        if prompt.schema is not None:
            named = {"name": "answer", "strict": True, "schema": prompt.schema}
            given["response_format"] = {"type": "json_schema", "json_schema": named}
        if "max_completion_tokens" in options.left_out:
            given["max_tokens"] = limit
        given = {name: value for name, value in given.items() if name not in options.left_out}
        return {"model": model, "messages": prompt.messages(options.detail), **given}

    def effort(self, arguments: dict[str, Any]) -> str | None:
        """As `Api.effort`."""
        return arguments.get("reasoning_effort")

    def resource(self, client: Any) -> Any:
        """As `Api.resource`."""
        return client.chat.completions

    def read(self, body: str) -> Reply:
        """As `Api.read`."""
        return read_reply(body)

    def reading(self) -> StreamReading:
        """As `Api.reading`."""
        return StreamReading()


class ResponsesApi(Api):
    """`POST /responses`; answers are not stored at the server."""

    name = "responses"
    path = "/v1/responses"
    optional = ("max_output_tokens", "temperature", "text", "reasoning", "store")
    form = "text"
    thinking = "reasoning"

    def arguments(self, model: str, prompt: Prompt, limit: int, options: Options) -> dict[str, Any]:
        """As `Api.arguments`."""
        given: dict[str, Any] = {"max_output_tokens": limit, "store": False}
        if options.temperature is not None:
            given["temperature"] = options.temperature
        if options.effort is not None:
            given["reasoning"] = {"effort": options.effort}
        if prompt.schema is not None:
            named = {"name": "answer", "strict": True, "schema": prompt.schema}
            given["text"] = {"format": {"type": "json_schema", **named}}
        given = {name: value for name, value in given.items() if name not in options.left_out}
        asked = [{"role": "user", "content": prompt.response_parts(options.detail)}]
        return {"model": model, "instructions": prompt.rules, "input": asked, **given}

    def effort(self, arguments: dict[str, Any]) -> str | None:
        """As `Api.effort`."""
        return (arguments.get("reasoning") or {}).get("effort")

    def resource(self, client: Any) -> Any:
        """As `Api.resource`."""
        return client.responses

    def read(self, body: str) -> Reply:
        """As `Api.read`."""
        return read_response(body)

    def reading(self) -> StreamReading:
        """As `Api.reading`."""
        return ResponsesReading()


APIS: dict[str, Api] = {"chat": ChatApi(), "responses": ResponsesApi()}
