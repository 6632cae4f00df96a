"""A vision model behind the OpenAI protocol: one request, one readable answer, its price."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mmrag.errors import MmragError
from mmrag.types import Usage
from mmrag.vision.budget import Budget
from mmrag.vision.cache import ResponseCache
from mmrag.vision.endpoint import find_endpoint, transport_error
from mmrag.vision.prices import find_price
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply, StreamReading, read_reply

if TYPE_CHECKING:
    import openai

DEFAULT_MODEL = "gpt-4o"
# Options that some servers and models refuse; what is refused once is left out from then on.
_OPTIONAL = ("max_completion_tokens", "temperature", "response_format", "stream_options")
_NOT_ABOUT_OPTIONS = ("content_filter", "context_length_exceeded")


class VisionModel:
    """A model by name at the server that the environment names.

    Args:
        name: as the server knows it; a deployment's name on Azure.
        cache: answer repeated requests from `MMRAG_HOME/cache`.
        budget: shared by everything that must stay below one limit.
        timeout: seconds for one attempt of a request.
        retries: further attempts after connection errors, timeouts, 408, 409, 429 and 5xx, with
            exponential backoff, or after the time that `Retry-After` names (up to two minutes).

    Raises:
        ModelServerError: no key; says what to set.
        MmragError: a limit is given for a model that has no price.
    """

    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        *,
        cache: bool = True,
        budget: Budget | None = None,
        timeout: float = 60.0,
        retries: int = 3,
    ) -> None:
        if not name:
            raise MmragError("Name the model, for example openai:gpt-4o.")
        if not 0 < timeout < math.inf:
            raise MmragError(f"A timeout is a positive number of seconds, not {timeout}.")
        self.name = name
        self.endpoint = find_endpoint()
        self.cache = ResponseCache() if cache else None
        self.budget = budget or Budget()
        self.price = find_price(name)
        self.timeout = timeout
        self.retries = retries
        self._left_out: set[str] = set()
        self._under_way: set[str] = set()
        # How far measured prompts went beyond `Prompt.most_tokens`; 1 as long as they did not.
        self._excess = 1.0
        if self.budget.limit is not None and self.price is None:
            raise MmragError(
                f"{name!r} has no price, so its cost cannot be limited; "
                "add it to a copy of the price table and name that in MMRAG_PRICES."
            )

    def async_client(self) -> openai.AsyncOpenAI:
        """A client for `complete`, to be used as an asynchronous context on one event loop."""
        return self.endpoint.async_client(self.timeout, self.retries)

    async def complete(self, client: openai.AsyncOpenAI, prompt: Prompt) -> tuple[Reply, Usage]:
        """Ask once.

        Raises:
            RequestFailed: this request has no answer after all attempts.
            ModelServerError: no request can work: wrong key, unknown model, no quota.
            BudgetReached: the request could exceed the limit; it was not sent.
        """
        if self.cache is None:
            return await self._ask(client, prompt)
        key = self._key(prompt)
        # The same request at the same time is sent once: its answers must agree.
        while key in self._under_way:
            await asyncio.sleep(0.02)
        known = self._recall(prompt)
        if known is not None:
            return known, Usage(cached=1)
        self._under_way.add(key)
        try:
            return await self._ask(client, prompt)
        finally:
            self._under_way.discard(key)

    def stream(self, prompt: Prompt) -> ReplyStream:
        """Ask once, and get the answer in pieces as it is written."""
        return ReplyStream(self, prompt)

    def arguments(self, prompt: Prompt, left_out: set[str]) -> dict[str, Any]:
        """The arguments of `chat.completions.create`."""
        options: dict[str, Any] = {
            "temperature": 0,
            "max_completion_tokens": prompt.max_tokens,
        }
        if prompt.schema is not None:
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": prompt.schema},
            }
        options = {name: value for name, value in options.items() if name not in left_out}
        if "max_completion_tokens" in left_out:
            options["max_tokens"] = prompt.max_tokens
        return {"model": self.name, "messages": prompt.messages(), **options}

    async def _ask(self, client: openai.AsyncOpenAI, prompt: Prompt) -> tuple[Reply, Usage]:
        import openai

        most = self._most(prompt)
        await self.budget.reserve_in_turn(most)
        # What was sent may be charged, whatever becomes of it.
        failure, spent = None, most
        try:
            text = await self._send(client, prompt)
            reply = self._clean(read_reply(text))
            spent = self._spent(reply, most)
        except (openai.OpenAIError, ValueError) as error:
            failure = self.endpoint.failure(error, self.name)
            spent = most if _may_be_charged(error) else 0.0
        finally:
            self.budget.settle(most, spent)
        if failure is not None:
            # Raised out here, so that the client's error, which may hold the key, is no context.
            raise failure
        return reply, self._account(prompt, reply)

    async def _send(self, client: openai.AsyncOpenAI, prompt: Prompt) -> str:
        import openai

        left_out = set(self._left_out)
        while True:
            arguments = self.arguments(prompt, left_out)
            try:
                raw = await client.chat.completions.with_raw_response.create(**arguments)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                left_out.add(_refused_option(error, arguments))
                continue
            self._left_out |= left_out
            return str(raw.text)

    def _recall(self, prompt: Prompt) -> Reply | None:
        stored = self.cache.get(self._key(prompt)) if self.cache is not None else None
        return Reply(**stored) if stored is not None else None

    def _key(self, prompt: Prompt) -> str:
        content = {"model": self.name, **prompt.content()}
        return ResponseCache.key(self.endpoint.address, content)

    def _most(self, prompt: Prompt) -> float:
        if self.price is None:
            return 0.0
        tokens = math.ceil(prompt.most_tokens(self.price) * self._excess)
        return self.price.cost(tokens, prompt.max_tokens)

    def _spent(self, reply: Reply, most: float) -> float:
        cost = self._cost(reply)
        return most if cost is None else cost

    def _cost(self, reply: Reply) -> float | None:
        if self.price is None or reply.prompt_tokens is None or reply.completion_tokens is None:
            return None
        return self.price.cost(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)

    def _account(self, prompt: Prompt, reply: Reply) -> Usage:
        """Remember the answer and say what it came to."""
        if self.cache is not None:
            self.cache.put(self._key(prompt), asdict(reply))
        if self.price is not None and reply.prompt_tokens:
            measured = reply.prompt_tokens / prompt.most_tokens(self.price)
            self._excess = max(self._excess, measured)
        return Usage(
            requests=1,
            prompt_tokens=reply.prompt_tokens or 0,
            completion_tokens=reply.completion_tokens or 0,
            cost_usd=self._cost(reply),
        )

    def _clean(self, reply: Reply) -> Reply:
        """A server that echoes the key must not get it into outputs or the cache."""
        refusal = None if reply.refusal is None else self.endpoint.redact(reply.refusal)
        return replace(reply, text=self.endpoint.redact(reply.text), refusal=refusal)


class ReplyStream:
    """The pieces of one answer; after the last one, `reply` and `usage` are complete.

    Raises:
        ModelServerError, BudgetReached: as `VisionModel.complete`, while it is iterated over.
    """

    def __init__(self, model: VisionModel, prompt: Prompt) -> None:
        self.reply = Reply("")
        self.usage = Usage()
        self._model = model
        self._prompt = prompt

    def __iter__(self) -> Iterator[str]:
        import openai

        model, prompt = self._model, self._prompt
        known = model._recall(prompt)
        if known is not None:
            self.reply, self.usage = known, Usage(cached=1)
            yield known.text
            return
        most = model._most(prompt)
        model.budget.reserve(most)
        failure, spent = None, most
        reading = StreamReading()
        try:
            with model.endpoint.client(model.timeout, model.retries) as client:
                for chunk in self._open(client):
                    piece = reading.add(chunk)
                    if piece:
                        yield model.endpoint.redact(piece)
            self.reply = model._clean(reading.reply())
            spent = model._spent(self.reply, most)
        except (openai.OpenAIError, transport_error(), ValueError) as error:
            failure = model.endpoint.failure(error, model.name)
            spent = most if reading.pieces or _may_be_charged(error) else 0.0
        finally:
            model.budget.settle(most, spent)
        if failure is not None:
            raise failure
        self.usage = model._account(prompt, self.reply)

    def _open(self, client: openai.OpenAI) -> Any:
        import openai

        left_out = set(self._model._left_out)
        while True:
            arguments = self._model.arguments(self._prompt, left_out)
            if "stream_options" not in left_out:
                arguments["stream_options"] = {"include_usage": True}
            try:
                stream = client.chat.completions.create(stream=True, **arguments)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                left_out.add(_refused_option(error, arguments))
                continue
            self._model._left_out |= left_out
            return stream


def _may_be_charged(error: Exception) -> bool:
    import openai

    return isinstance(error, openai.APITimeoutError | ValueError)


def _refused_option(error: openai.APIStatusError, arguments: dict[str, Any]) -> str:
    """The option that a server's "bad request" is about; raises the error when it is about none."""
    said = str(error).lower()
    sent = [name for name in _OPTIONAL if name in arguments]
    for name in sent:
        if name in said:
            return name
    # Servers that do not know structured output say so in many ways.
    if "response_format" in sent and error.code not in _NOT_ABOUT_OPTIONS:
        return "response_format"
    raise error
