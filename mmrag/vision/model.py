"""A vision model behind the OpenAI protocol: one request, one readable answer, its price."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mmrag.errors import BudgetReached, MmragError, ModelServerError
from mmrag.types import Usage
from mmrag.vision.budget import Budget
from mmrag.vision.cache import ResponseCache
from mmrag.vision.endpoint import RequestFailed, find_endpoint
from mmrag.vision.models import find_model
from mmrag.vision.prompt import Prompt
from mmrag.vision.protocols import APIS, Options
from mmrag.vision.reply import Reply
from mmrag.vision.retry import seconds_to_wait
from mmrag.vision.server_models import VISION, notice, resolve

if TYPE_CHECKING:
    import openai

Result = TypeVar("Result")
DETAILS = ("low", "high", "auto", "original")
# Tokens that thought may take besides the answer, by effort: several times the usual.
_THOUGHT = {
    "none": 0,
    "minimal": 2_000,
    "low": 4_000,
    "medium": 8_000,
    "high": 16_000,
    "xhigh": 32_000,
    "max": 64_000,
}
# An answer cut for length is asked for again with this many times the room.
MORE_ROOM = 4
_MOST_ROOM = MORE_ROOM**2


class VisionModel:
    """A model by name at the server that the environment names.

    Args:
        name: as the server knows it; a deployment's name on Azure; "vision" for the best model of
            the table that the server has.
        cache: answer repeated requests from `MMRAG_HOME/cache`.
        budget: shared by everything that must stay below one limit.
        timeout: seconds that one answer may take in all, from the request to the last byte,
            including further attempts but not the pauses between them.
        retries: further attempts after lost connections, 408, 409, 429 and 5xx, with exponential
            backoff, or after the time that `Retry-After` names (up to two minutes).
        effort: how much it thinks, one of `models.EFFORTS`; None for the least it accepts.
        max_answer_tokens: room for the answer; thought has room of its own. None for what the
            prompt wants.
        detail: how closely pictures are looked at: "low", "high", "auto" or "original".
        api: "chat" or "responses"; None for what the table says.

    Raises:
        ModelServerError: no key; says what to set.
        MmragError: a limit is given for a model without a price, or an option is invalid.
    """

    def __init__(
        self,
        name: str = VISION,
        *,
        cache: bool = True,
        budget: Budget | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        effort: str | None = None,
        max_answer_tokens: int | None = None,
        detail: str = "high",
        api: str | None = None,
    ) -> None:
        if not name:
            raise MmragError("Name the model, for example openai:gpt-6-luna.")
        if not 0 < timeout < math.inf:
            raise MmragError(f"A timeout is a positive number of seconds, not {timeout}.")
        if max_answer_tokens is not None and max_answer_tokens < 1:
            raise MmragError(f"An answer needs a token or more, not {max_answer_tokens}.")
        if detail not in DETAILS:
            raise MmragError(f"Detail is one of {', '.join(DETAILS)}, not {detail!r}.")
        self.endpoint = find_endpoint()
        self.name = name = resolve(name, self.endpoint)
        self.facts = find_model(name)
        self.effort = self.facts.effort(effort)
        self.max_answer_tokens = max_answer_tokens
        self.detail = detail
        if api is not None and api not in APIS:
            raise MmragError(f"The API is one of {', '.join(APIS)}, not {api!r}.")
        self.api = APIS[api or self.facts.api]
        self.cache = ResponseCache() if cache else None
        self.budget = budget or Budget()
        self.price = self.facts.price
        self.timeout = timeout
        self.retries = retries
        # Keeps answers to the same request, asked anew, apart.
        self.repetition = 0
        # Models that think accept only their own temperature.
        temperature = None if self.facts.reasoning else 0
        self.options = Options(detail, self.effort, temperature)
        self._room = 1
        self._under_way: set[str] = set()
        # Factor by which measured prompts exceeded `Prompt.most_tokens`; 1 until they do.
        self._excess = 1.0
        if self.budget.limit is not None and self.price is None:
            raise MmragError(
                f"{name!r} has no price, so its cost cannot be limited; give it one in a table "
                "of your own and name that in MMRAG_MODELS."
            )

    def notice(self) -> str | None:
        """A sentence if the model is gone or leaves soon."""
        return notice(self.name, self.endpoint)

    def async_client(self) -> openai.AsyncOpenAI:
        """A client for `complete`, to use as an asynchronous context on one event loop."""
        return self.endpoint.async_client(self.timeout, 0)

    async def complete(self, client: openai.AsyncOpenAI, prompt: Prompt) -> tuple[Reply, Usage]:
        """Ask once, and again with more room if the answer was cut for length.

        Only whole answers are kept in the cache.

        Raises:
            RequestFailed: this request has no answer after all attempts.
            ModelServerError: no request can work: wrong key, unknown model, no quota.
            BudgetReached: the request could exceed the limit; it was not sent.
        """
        if self.cache is None:
            return await self._ask(client, prompt)
        key = self.key(prompt)
        # The same request at the same time is sent once: its answers must agree.
        while key in self._under_way:
            await asyncio.sleep(0.02)
        known = self.recall(prompt)
        if known is not None:
            return known, Usage(cached=1)
        self._under_way.add(key)
        try:
            return await self._ask(client, prompt)
        finally:
            self._under_way.discard(key)

    def limit(self, prompt: Prompt) -> int:
        """Tokens that thought and answer may take together."""
        assumed = "medium" if self.facts.reasoning else "none"
        thought = _THOUGHT[self.options.effort or assumed]
        wanted = ((self.max_answer_tokens or prompt.max_tokens) + thought) * self._room
        return self.at_most(wanted)

    def key(self, prompt: Prompt) -> str:
        """The key of an answer in the cache."""
        content = {"model": self.name, **prompt.content(), **self.unusual}
        if self.repetition:
            content["repetition"] = self.repetition
        return ResponseCache.key(self.endpoint.address, content)

    @property
    def unusual(self) -> dict[str, Any]:
        """The arguments that shape its answers, where they differ from the original defaults."""
        given = {
            "effort": self.effort,
            "max_answer_tokens": self.max_answer_tokens,
            "detail": None if self.detail == "high" else self.detail,
            "api": None if self.api.name == "chat" else self.api.name,
        }
        return {name: value for name, value in given.items() if value is not None}

    def recall(self, prompt: Prompt) -> Reply | None:
        """The answer in the cache; an incomplete one is not used."""
        if self.cache is None:
            return None
        stored = self.cache.get(self.key(prompt))
        reply = Reply(**stored) if stored is not None else None
        if reply is not None and not reply.whole:
            self.cache.forget(self.key(prompt))
            return None
        return reply

    def forget(self, prompt: Prompt) -> None:
        """Do not use an answer again."""
        if self.cache is not None and self.cache.path.is_file():
            self.cache.forget(self.key(prompt))

    def arguments(self, prompt: Prompt, limit: int) -> dict[str, Any]:
        """The body of a request."""
        return self.api.arguments(self.name, prompt, limit, self.options)

    async def _ask(self, client: openai.AsyncOpenAI, prompt: Prompt) -> tuple[Reply, Usage]:
        limit = self.limit(prompt)
        reply, usage = await self._once(client, prompt, limit)
        more = self.at_most(limit * MORE_ROOM)
        if not reply.cut or more <= limit:
            return reply, usage
        try:
            reply, used = await self._once(client, prompt, more)
        except BudgetReached:
            return reply, usage
        except RequestFailed as failure:
            failure.usage += usage
            raise
        self.learn_room(reply)
        return reply, usage + used

    async def _once(
        self, client: openai.AsyncOpenAI, prompt: Prompt, limit: int
    ) -> tuple[Reply, Usage]:
        import openai

        most = self.most(prompt, limit)
        await self.budget.reserve_in_turn(most)
        # A sent request may be charged, whatever becomes of it.
        failure, spent = None, most

        async def attempt(arguments: dict[str, Any]) -> str:
            raw = await self.api.resource(client).with_raw_response.create(**arguments)
            return str(raw.text)

        try:
            reply = self.clean(self.api.read(await self.persist(prompt, limit, attempt)))
            spent = self.spent(reply, most)
        except (openai.OpenAIError, ValueError, TimeoutError) as error:
            failure, spent = self.failure(error, most)
        finally:
            self.budget.settle(most, spent)
        if failure is not None:
            # Raised here, so that the client's error, which may hold the key, is not its context.
            raise failure
        return reply, self.account(prompt, reply)

    async def persist(
        self, prompt: Prompt, limit: int, attempt: Callable[[dict[str, Any]], Awaitable[Result]]
    ) -> Result:
        """Make attempts until one has an answer, learning from refusals.

        Together they may take `timeout` seconds; the pauses between them are not counted.

        Raises:
            TimeoutError: the time is up.
            openai.OpenAIError: another attempt is pointless.
        """
        import openai

        attempts, deadline = 0, asyncio.get_running_loop().time() + self.timeout
        while True:
            arguments = self.arguments(prompt, limit)
            try:
                async with asyncio.timeout_at(deadline):
                    return await attempt(arguments)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                self.options.learn(error, arguments, self.api)
            except openai.OpenAIError as error:
                attempts += 1
                wait = seconds_to_wait(error, attempts)
                if wait is None or attempts > self.retries:
                    raise
                await asyncio.sleep(wait)
                deadline += wait

    def account(self, prompt: Prompt, reply: Reply, share: float = 1.0) -> Usage:
        """Remember the answer and return its usage, at a `share` of the price."""
        if self.cache is not None and reply.whole:
            self.cache.put(self.key(prompt), asdict(reply))
        if self.price is not None and reply.prompt_tokens:
            measured = reply.prompt_tokens / prompt.most_tokens(self.facts.image, self.detail)
            self._excess = max(self._excess, measured)
        cost = self._cost(reply)
        counted = reply.prompt_tokens is not None
        return Usage(
            requests=1,
            prompt_tokens=reply.prompt_tokens or 0,
            completion_tokens=reply.completion_tokens or 0,
            reasoning_tokens=reply.reasoning_tokens,
            expected_tokens=prompt.likely_tokens(self.facts.image, self.detail) if counted else 0,
            cost_usd=None if cost is None else share * cost,
        )

    def clean(self, reply: Reply) -> Reply:
        """Remove a key that the server echoes, so that it enters neither outputs nor the cache."""
        refusal = None if reply.refusal is None else self.endpoint.redact(reply.refusal)
        return replace(reply, text=self.endpoint.redact(reply.text), refusal=refusal)

    def at_most(self, tokens: int) -> int:
        """Limit tokens to what the model can give."""
        return min(tokens, self.facts.most_output or tokens)

    def learn_room(self, reply: Reply) -> None:
        """Give a model that needed more room that much from then on."""
        if not reply.cut:
            self._room = min(_MOST_ROOM, self._room * MORE_ROOM)

    def failure(
        self, error: Exception, most: float, answered: bool = False
    ) -> tuple[ModelServerError, float]:
        """The error in a sentence, and what the request, perhaps half answered, may have cost."""
        found = self.endpoint.failure(error, self.name)
        charged = answered or may_be_charged(error)
        spent = most if charged else 0.0
        if isinstance(found, RequestFailed):
            unknown = charged and self.price is None
            cost = None if unknown else spent
            found.usage = Usage(requests=1, cost_usd=cost, unanswered=int(charged))
        return found, spent

    def most(self, prompt: Prompt, limit: int) -> float:
        """The most US dollars that a request can cost; 0 if the price is unknown."""
        if self.price is None:
            return 0.0
        tokens = prompt.most_tokens(self.facts.image, self.detail)
        return self.price.cost(math.ceil(tokens * self._excess), limit)

    def spent(self, reply: Reply, most: float) -> float:
        """The cost of a request; the most it can be if the server does not say."""
        cost = self._cost(reply)
        return most if cost is None else cost

    def _cost(self, reply: Reply) -> float | None:
        if self.price is None or reply.prompt_tokens is None or reply.completion_tokens is None:
            return None
        return self.price.cost(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)


def may_be_charged(error: Exception) -> bool:
    """Whether a request with this error may have been answered, and charged."""
    import openai

    return isinstance(error, openai.APITimeoutError | ValueError | TimeoutError)
