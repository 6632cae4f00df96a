"""Many small questions to a vision model, side by side or through the Batch API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from mmrag.errors import ImageError
from mmrag.images.unreadable import picture_problem
from mmrag.rerank.reranker import GaveUp
from mmrag.types import Usage
from mmrag.vision.batch import ask_batch
from mmrag.vision.endpoint import RequestFailed
from mmrag.vision.jobs import run_jobs
from mmrag.vision.model import VisionModel
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply

if TYPE_CHECKING:
    import openai

Read = TypeVar("Read")
# After this many questions in a row without an answer, the server counts as gone.
_GIVE_UP = 5
# Questions per batch, whose pictures are in memory together.
_IN_ONE_BATCH = 2000


@dataclass(frozen=True)
class Answer(Generic[Read]):
    """The value read from an answer; None if there is none, with the reason in `problem`."""

    position: int
    read: Read | None
    problem: str
    usage: Usage


@dataclass(frozen=True)
class Asker:
    """Asks a vision model many questions.

    Args:
        model: the model asked; its cache and budget are used.
        concurrency: questions in progress at once.
        batch: whether to use the Batch API, at half the price.
        on_wait: called while a batch is pending, with the number of answers so far and in all.
    """

    model: VisionModel
    concurrency: int = 4
    batch: bool = False
    on_wait: Callable[[int, int], object] = lambda _done, _total: None

    def ask(
        self, prompts: Sequence[Callable[[], Prompt]], read: Callable[[str], Read | None]
    ) -> Iterator[Answer[Read]]:
        """Ask all questions; yield answers as they are ready.

        Args:
            prompts: make the prompts, each when its turn comes.
            read: reads an answer's text; None if unreadable; then the next command
                asks again.

        Raises:
            BudgetReached: before a request that could exceed the limit.
            GaveUp: several questions in a row had no answer.
            ModelServerError: wrong key, unknown model, no Batch API.
        """
        if self.batch:
            yield from self._in_batches(prompts, read)
            return
        jobs = [partial(self._one, i, make, read) for i, make in enumerate(prompts)]
        failed: list[Answer[Read]] = []
        with closing(run_jobs(jobs, self.model.async_client, self.concurrency)) as running:
            for _, (answer, unanswered) in running:
                failed = [*failed, answer] if unanswered else []
                yield answer
                if len(failed) == _GIVE_UP:
                    raise GaveUp(
                        f"{_GIVE_UP} questions in a row had no answer, the last one because: "
                        f"{answer.problem} What is finished is kept."
                    )

    async def _one(
        self,
        position: int,
        make: Callable[[], Prompt],
        read: Callable[[str], Read | None],
        client: openai.AsyncOpenAI,
    ) -> tuple[Answer[Read], bool]:
        try:
            prompt = await asyncio.to_thread(make)
            reply, usage = await self.model.complete(client, prompt)
        except ImageError as error:
            return Answer(position, None, picture_problem(error), Usage()), False
        except RequestFailed as error:
            return Answer(position, None, str(error), error.usage), True
        return self._read(position, prompt, reply, usage, read), False

    def _read(
        self,
        position: int,
        prompt: Prompt,
        reply: Reply,
        usage: Usage,
        read: Callable[[str], Read | None],
    ) -> Answer[Read]:
        found = None if reply.problem else read(reply.text)
        if found is None:
            self.model.forget(prompt)
        problem = reply.problem or ("" if found is not None else "the answer cannot be read")
        return Answer(position, found, problem, usage)

    def _in_batches(
        self, prompts: Sequence[Callable[[], Prompt]], read: Callable[[str], Read | None]
    ) -> Iterator[Answer[Read]]:
        for start in range(0, len(prompts), _IN_ONE_BATCH):
            wanted: dict[str, tuple[Prompt, list[int]]] = {}
            for position in range(start, min(len(prompts), start + _IN_ONE_BATCH)):
                try:
                    prompt = prompts[position]()
                except ImageError as error:
                    yield Answer(position, None, picture_problem(error), Usage())
                    continue
                known = self.model.recall(prompt)
                if known is not None:
                    yield self._read(position, prompt, known, Usage(cached=1), read)
                else:
                    wanted.setdefault(self.model.key(prompt), (prompt, []))[1].append(position)
            if not wanted:
                continue
            answers = ask_batch(
                self.model, {key: prompt for key, (prompt, _) in wanted.items()}, self.on_wait
            )
            for key, (prompt, positions) in wanted.items():
                answered = answers.get(key)
                for number, position in enumerate(positions):
                    if isinstance(answered, tuple):
                        paid = Usage(cached=1) if number else answered[1]
                        yield self._read(position, prompt, answered[0], paid, read)
                    elif answered is None:
                        yield Answer(position, None, "the batch ended without it", Usage())
                    else:
                        yield Answer(position, None, str(answered), answered.usage)
