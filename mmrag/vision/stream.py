"""One answer of a vision model in pieces, as it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mmrag.types import Usage
from mmrag.vision.endpoint import RequestFailed, transport_error
from mmrag.vision.jobs import run_beside
from mmrag.vision.model import MORE_ROOM, VisionModel
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply


class ReplyStream:
    """The pieces of one answer; after the last one, `reply` and `usage` are complete.

    The whole may take `VisionModel.timeout` seconds, however steadily it arrives. An answer cut for
    length before its first word is asked for again with more room and a new time limit.

    If it fails, `usage` is the usage until then.

    Raises:
        ModelServerError, BudgetReached: as `VisionModel.complete`, during iteration.
    """

    def __init__(self, model: VisionModel, prompt: Prompt) -> None:
        self.reply = Reply("")
        self.usage = Usage()
        self._model = model
        self._prompt = prompt

    def __iter__(self) -> Iterator[str]:
        model = self._model
        known = model.recall(self._prompt)
        if known is not None:
            self.reply, self.usage = known, Usage(cached=1)
            yield known.text
            return
        limit = model.limit(self._prompt)
        yield from self._once(limit)
        more = model.at_most(limit * MORE_ROOM)
        if self.reply.cut and not self.reply.text.strip() and more > limit:
            yield from self._once(more)
            model.learn_room(self.reply)

    def _once(self, limit: int) -> Iterator[str]:
        import openai

        model, prompt = self._model, self._prompt
        most = model.most(prompt, limit)
        model.budget.reserve(most)
        failure, spent = None, most
        reading = model.api.reading()

        async def read(put: Callable[[str], None]) -> None:
            async with model.async_client() as client:

                async def attempt(arguments: dict[str, Any]) -> None:
                    streams = "stream_options" in model.api.optional
                    if streams and "stream_options" not in model.options.left_out:
                        arguments["stream_options"] = {"include_usage": True}
                    chunks = await model.api.resource(client).create(stream=True, **arguments)
                    async for chunk in chunks:
                        piece = reading.add(chunk)
                        if piece:
                            put(model.endpoint.redact(piece))

                await model.persist(prompt, limit, attempt)

        try:
            yield from run_beside(read)
            self.reply = model.clean(reading.reply())
            spent = model.spent(self.reply, most)
        except (openai.OpenAIError, transport_error(), ValueError, TimeoutError) as error:
            failure, spent = model.failure(error, most, bool(reading.said))
        finally:
            model.budget.settle(most, spent)
        if isinstance(failure, RequestFailed):
            self.usage += failure.usage
        if failure is not None:
            raise failure
        self.usage += model.account(prompt, self.reply)
