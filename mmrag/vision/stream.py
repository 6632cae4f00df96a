"""One answer of a vision model in pieces, as it is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mmrag.types import Usage
from mmrag.vision.endpoint import transport_error
from mmrag.vision.model import MORE_ROOM, VisionModel
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply
from mmrag.vision.retry import seconds_to_wait

if TYPE_CHECKING:
    import openai


class ReplyStream:
    """The pieces of one answer; after the last one, `reply` and `usage` are complete.

    An answer that was cut for length before its first word is asked for again with more room.

    Raises:
        ModelServerError, BudgetReached: as `VisionModel.complete`, while it is iterated over.
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
        try:
            with model.endpoint.client(model.timeout, 0) as client:
                for chunk in self._open(client, limit):
                    piece = reading.add(chunk)
                    if piece:
                        yield model.endpoint.redact(piece)
            self.reply = model.clean(reading.reply())
            spent = model.spent(self.reply, most)
        except (openai.OpenAIError, transport_error(), ValueError) as error:
            failure, spent = model.failure(error, most)
            spent = most if reading.said else spent
        finally:
            model.budget.settle(most, spent)
        if failure is not None:
            raise failure
        self.usage += model.account(prompt, self.reply)

    def _open(self, client: openai.OpenAI, limit: int) -> Any:
        import openai

        model, attempt = self._model, 0
        while True:
            arguments = model.arguments(self._prompt, limit)
            streams = "stream_options" in model.api.optional
            if streams and "stream_options" not in model.options.left_out:
                arguments["stream_options"] = {"include_usage": True}
            try:
                return model.api.resource(client).create(stream=True, **arguments)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                model.options.learn(error, arguments, model.api)
            except openai.OpenAIError as error:
                attempt += 1
                wait = seconds_to_wait(error, attempt)
                if wait is None or attempt > model.retries:
                    raise
                time.sleep(wait)
