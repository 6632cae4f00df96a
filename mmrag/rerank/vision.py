"""A vision model looks at the hits, ranks them, and says why the best one is best."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mmrag.errors import ImageError, MmragError, ModelServerError
from mmrag.images.grid import SMALLEST_CELL
from mmrag.images.unreadable import query_problem
from mmrag.rerank.prompt_files import DEFAULT_PROMPT, load_prompt
from mmrag.rerank.ranking_prompt import Look, Presentation, ranking_prompt
from mmrag.rerank.reorder import reorder
from mmrag.rerank.reply_order import Ranking, read_ranking
from mmrag.rerank.reranker import GaveUp, OnDone, Reranker, RerankerDescription, RerankOptions
from mmrag.types import RerankReport, SearchResult, Usage
from mmrag.vision.batch import Answers, ask_batch
from mmrag.vision.endpoint import RequestFailed, endpoint_or_problem
from mmrag.vision.jobs import run_jobs
from mmrag.vision.model import VisionModel
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply
from mmrag.vision.server_models import VISION

if TYPE_CHECKING:
    import openai

WINDOW, STRIDE = 20, 10
LARGEST_WINDOW = 25
_LARGEST_PICTURE = 4096
# Results whose pictures are in memory together.
_IN_ONE_BATCH = 2000
# This many queries in a row without any answer mean that the server is gone.
_GIVE_UP = 5


def takes(name: str) -> bool:
    """Whether the name is `vision`, `gpt-4o` or `openai:MODEL`."""
    kind, _, rest = name.partition(":")
    return name in (VISION, "gpt-4o") or (kind == "openai" and bool(rest))


def describe() -> list[RerankerDescription]:
    """The server's models, and any of its models by name."""
    key = not endpoint_or_problem()[1]
    return [
        RerankerDescription(
            VISION,
            "the recommended vision model of the server looks at the hits and explains the best",
            key,
            "set OPENAI_API_KEY",
        ),
        RerankerDescription("gpt-4o", "GPT-4o, while it is there", key, "set OPENAI_API_KEY"),
        RerankerDescription(
            "openai:MODEL",
            "any vision model of OpenAI, Azure, or OPENAI_BASE_URL",
            key,
            "set OPENAI_API_KEY; any value for servers that need none",
        ),
    ]


def load(name: str, options: RerankOptions) -> Reranker:
    """Load a vision model at the server that the environment names."""
    model = VisionModel(
        name.removeprefix("openai:"),
        cache=options.cache,
        budget=options.budget,
        timeout=options.timeout,
        retries=options.retries,
        effort=options.effort,
        max_answer_tokens=options.max_answer_tokens,
        api=options.api,
        detail=options.detail,
    )
    stride = options.stride
    return VisionReranker(
        model,
        presentation=options.presentation,
        window=options.window,
        stride=max(1, options.window // 2) if stride is None else stride,
        depth=options.depth,
        concurrency=options.concurrency,
        picture_size=options.picture_size,
        prompt=options.prompt,
        batch=options.batch,
    )


class _Wanted(Exception):
    """A prompt has no answer yet; it goes into the next batch."""


class VisionReranker(Reranker):
    """Shows hits to a vision model, as one panorama or as single pictures.

    More hits than one prompt holds are ranked with a sliding window from the back to the front, so
    that the best ones move up from window to window (W. Sun et al.: "Is ChatGPT Good at Search?
    Investigating Large Language Models as Re-Ranking Agents", EMNLP 2023; its window of 20 and
    stride of 10 are the defaults). Hits keep their retrieval scores.

    Args:
        model: the model to ask.
        presentation: `grid`, one picture of all candidates, or `images`, a picture each.
        window: candidates in one prompt, 2 to 25.
        stride: how far the window moves, 1 to `window`.
        depth: how many of the first hits are reranked; None for all.
        concurrency: requests under way at once.
        picture_size: pixels of the shorter side of a picture sent; see `Look`.
        prompt: the name of a prompt, or the path of a .toml file.
        batch: whether many results are asked for through the Batch API.
    """

    costs_money = True

    def __init__(
        self,
        model: VisionModel,
        *,
        presentation: str = "grid",
        window: int = WINDOW,
        stride: int = STRIDE,
        depth: int | None = None,
        concurrency: int = 4,
        picture_size: int | None = None,
        prompt: str = DEFAULT_PROMPT,
        batch: bool = False,
    ) -> None:
        if presentation not in ("grid", "images"):
            raise MmragError(f"Candidates are shown as grid or as images, not {presentation!r}.")
        if not 2 <= window <= LARGEST_WINDOW:
            raise MmragError(f"A window holds 2 to {LARGEST_WINDOW} candidates, not {window}.")
        if not 1 <= stride <= window:
            raise MmragError(f"The stride must be 1 to {window}, the window, not {stride}.")
        if concurrency < 1:
            raise MmragError(f"Concurrency must be 1 or more, not {concurrency}.")
        self.model = model
        self.budget = model.budget
        self.name = f"openai:{model.name}"
        if picture_size is not None and not SMALLEST_CELL <= picture_size <= _LARGEST_PICTURE:
            raise MmragError(
                f"A picture has {SMALLEST_CELL} to {_LARGEST_PICTURE:,} pixels, not {picture_size}."
            )
        self.presentation: Presentation = "grid" if presentation == "grid" else "images"
        facts = model.facts
        self.look = Look(
            self.presentation,
            load_prompt(prompt),
            facts.image if facts.image_known else None,
            model.detail,
            picture_size,
        )
        # A custom prompt is part of its identity, as weights are for other rerankers.
        self.fingerprint = "" if prompt == DEFAULT_PROMPT else self.look.prompt.sha256
        self.window = window
        self.stride = stride
        self.depth = depth
        self.concurrency = concurrency
        self.batch = batch
        self._tried = False
        self.together = _IN_ONE_BATCH if batch else 1

    @property
    def configuration(self) -> dict[str, Any]:
        """The arguments of `load_reranker` that shape the outcome."""
        return {
            "name": self.name,
            "presentation": self.presentation,
            "window": self.window,
            "stride": self.stride,
            "depth": self.depth,
            "prompt": self.look.prompt.name,
            **({} if self.look.picture_size is None else {"picture_size": self.look.picture_size}),
            **({"batch": True} if self.batch else {}),
            **self.model.unusual,
        }

    def again(self, number: int) -> VisionReranker:
        """The same, with answers kept apart in the cache."""
        other = copy.copy(self)
        other.model = copy.copy(self.model)
        other.model.repetition = number
        return other

    def notices(self) -> list[str]:
        """A notice if the model is gone or leaves soon."""
        found = self.model.notice()
        return [found] if found else []

    def rerank_many(
        self,
        results: Sequence[SearchResult],
        on_done: OnDone | None = None,
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`.

        Raises:
            BudgetReached: before a request that could exceed the limit.
            GaveUp: several queries in a row had no usable answer, for whatever reason.
            ModelServerError: wrong key, unknown model.
        """
        outcomes: dict[int, SearchResult] = {}
        ranked = self._in_batches(results) if self.batch else self._in_any_order(results)
        for i, outcome in ranked:
            outcomes[i] = outcome
            if on_done is not None:
                on_done(i, outcome)
        return [outcomes[i] for i in range(len(results))]

    def _in_any_order(self, results: Sequence[SearchResult]) -> Iterator[tuple[int, SearchResult]]:
        jobs = [partial(self._ask_and_rank, result) for result in results]
        # Queries without an answer are handed out once another shows that the server is there.
        held: list[tuple[int, SearchResult]] = []
        running = run_jobs(jobs, self.model.async_client, self.concurrency)
        with closing(running):
            for i, outcome in running:
                held.append((i, outcome))
                report = outcome.rerank
                if report is None or report.status != "failed":
                    yield from held
                    held.clear()
                elif len(held) == _GIVE_UP:
                    raise GaveUp(
                        f"{_GIVE_UP} queries in a row had no answer, the last one because: "
                        f"{_sentence(report.problems)} What is finished is kept.",
                        [one.rerank.usage for _, one in held if one.rerank],
                    )
        yield from held

    def _in_batches(self, results: Sequence[SearchResult]) -> Iterator[tuple[int, SearchResult]]:
        """Rerank in rounds: a window's prompt is known once the window behind it is answered."""
        answers: Answers = {}
        left = list(range(len(results)))
        while left:
            wanted: dict[str, Prompt] = {}
            jobs = [partial(self._rank_or_wait, results[i], answers, wanted) for i in left]
            waiting, ready = [], []
            with closing(run_jobs(jobs, self.model.async_client, self.concurrency)) as running:
                for place, outcome in running:
                    if outcome is None:
                        waiting.append(left[place])
                    else:
                        ready.append((left[place], outcome))
            self._check_some_worked([outcome for _, outcome in ready])
            yield from ready
            left = sorted(waiting)
            if left:
                fresh = ask_batch(self.model, wanted, self.on_wait or (lambda *_: None))
                missing = len(wanted.keys() - fresh.keys())
                if missing == len(wanted):
                    raise ModelServerError(
                        "The batch ended without an answer: it has expired, or was cancelled. The "
                        "same command sends it again."
                    )
                answers |= fresh

    def _check_some_worked(self, outcomes: Sequence[SearchResult]) -> None:
        """Raise after a batch without any usable answer, so that no other is sent."""
        reports = [one.rerank for one in outcomes if one.rerank is not None]
        if len(reports) >= _GIVE_UP and all(one.status == "failed" for one in reports):
            raise GaveUp(
                f"None of {len(reports)} queries had an answer, the last one because: "
                f"{_sentence(reports[-1].problems)} What is finished is kept.",
                [one.usage for one in reports],
            )

    async def _ask_and_rank(self, result: SearchResult, client: openai.AsyncOpenAI) -> SearchResult:
        return await self._rank(result, partial(self.model.complete, client))

    async def _rank_or_wait(
        self,
        result: SearchResult,
        answers: Answers,
        wanted: dict[str, Prompt],
        client: openai.AsyncOpenAI,
    ) -> SearchResult | None:
        """The outcome, or None while an answer is missing, whose prompt is added to `wanted`."""

        async def ask(prompt: Prompt) -> tuple[Reply, Usage]:
            key = self.model.key(prompt)
            found = answers.get(key)
            if isinstance(found, RequestFailed):
                raise found
            if found is not None:
                return found
            known = self.model.recall(prompt)
            if known is not None:
                return known, Usage(cached=1)
            if not self.model.facts.known and not self._tried:
                # One answer of an unknown model tells what it refuses.
                self._tried = True
                return await self.model.complete(client, prompt)
            wanted[key] = prompt
            raise _Wanted

        try:
            return await self._rank(result, ask)
        except _Wanted:
            return None

    async def _rank(
        self,
        result: SearchResult,
        ask: Callable[[Prompt], Awaitable[tuple[Reply, Usage]]],
    ) -> SearchResult:
        started = time.perf_counter()
        n = len(result.hits[: self.depth])
        order = list(range(n))
        usage, problems, explanation = Usage(), [], None
        statuses: set[str] = set()
        for start, end in windows(n, self.window, self.stride):
            try:
                shown = [result.hits[i] for i in order[start:end]]
                prompt = await asyncio.to_thread(ranking_prompt, result.query, shown, self.look)
                reply, used = await ask(prompt)
            except ImageError as error:
                statuses.add("failed")
                problems.append(query_problem(error))
                break
            except RequestFailed as error:
                usage += error.usage
                statuses.add("failed")
                problems.append(str(error))
                break
            usage += used
            ranking = _read(reply, end - start)
            if ranking.status == "failed":
                self.model.forget(prompt)
            order[start:end] = [order[start:end][i] for i in ranking.order]
            statuses.add(ranking.status)
            problems += ranking.problems
            explanation = ranking.reason if start == 0 else None
        report = RerankReport(
            reranker=self.name,
            status=_overall(statuses),
            problems=tuple(problems),
            usage=usage,
            details={
                "presentation": self.presentation,
                "endpoint": self.model.endpoint.address,
                "prompt": self.look.prompt.name,
                "effort": self.model.options.effort,
            },
        )
        ms = 1000 * (time.perf_counter() - started)
        return reorder(result, order, report, ms, explanation=explanation)


def windows(n: int, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Start and end of each window over n candidates, last first."""
    end = n
    while end > 0:
        start = max(0, end - size)
        yield start, end
        if start == 0:
            return
        end -= stride


def _read(reply: Reply, n: int) -> Ranking:
    """The ranking in a reply; an empty one, or one cut within the ranking, keeps the order."""
    ranking = read_ranking(reply.text, n)
    problem = reply.problem or (reply.cut_off if reply.cut and ranking.left_out else None)
    if problem is not None:
        return Ranking(list(range(n)), None, "failed", (problem,), n)
    return ranking


def _sentence(problems: Sequence[str]) -> str:
    last = problems[-1] if problems else "it holds no ranking"
    return last if last.endswith(".") else f"{last}."


def _overall(statuses: set[str]) -> Literal["complete", "repaired", "failed"]:
    if statuses <= {"complete"}:
        return "complete"
    return "failed" if statuses == {"failed"} else "repaired"
