"""A vision model looks at the hits, ranks them, and says why the best one is best."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mmrag.errors import ImageError, MmragError, ModelServerError
from mmrag.rerank.prompts import Presentation, ranking_prompt
from mmrag.rerank.reorder import reorder
from mmrag.rerank.reply_order import Ranking, read_ranking
from mmrag.rerank.reranker import OnDone, Reranker, RerankerDescription, RerankOptions
from mmrag.types import RerankReport, SearchResult, Usage
from mmrag.vision.endpoint import RequestFailed, endpoint_or_problem
from mmrag.vision.jobs import run_jobs
from mmrag.vision.model import VisionModel
from mmrag.vision.reply import Reply

if TYPE_CHECKING:
    import openai

WINDOW, STRIDE = 20, 10
LARGEST_WINDOW = 25
# So many queries in a row without any answer mean that the server is gone.
_GIVE_UP = 5


def takes(name: str) -> bool:
    """Whether it is `gpt-4o` or `openai:MODEL`."""
    kind, _, rest = name.partition(":")
    return name == "gpt-4o" or (kind == "openai" and bool(rest))


def describe() -> list[RerankerDescription]:
    """By name, and for any model of the server."""
    key = not endpoint_or_problem()[1]
    return [
        RerankerDescription(
            "gpt-4o", "GPT-4o looks at the hits and explains the best", key, "set OPENAI_API_KEY"
        ),
        RerankerDescription(
            "openai:MODEL",
            "any vision model of OpenAI, Azure, or OPENAI_BASE_URL",
            key,
            "set OPENAI_API_KEY; any value for servers that need none",
        ),
    ]


def load(name: str, options: RerankOptions) -> Reranker:
    """A vision model at the server that the environment names."""
    model = VisionModel(
        name.removeprefix("openai:"),
        cache=options.cache,
        budget=options.budget,
        timeout=options.timeout,
        retries=options.retries,
    )
    stride = options.stride
    return VisionReranker(
        model,
        presentation=options.presentation,
        window=options.window,
        stride=max(1, options.window // 2) if stride is None else stride,
        depth=options.depth,
        concurrency=options.concurrency,
    )


class VisionReranker(Reranker):
    """Shows the hits to a vision model, as one panorama or as single pictures.

    More hits than one prompt holds are ranked with a sliding window from the back to the front, so
    that the best ones move up from window to window (W. Sun et al.: "Is ChatGPT Good at Search?
    Investigating Large Language Models as Re-Ranking Agents", EMNLP 2023; its window of 20 and
    stride of 10 are the defaults). Hits keep their retrieval scores.

    Args:
        model: what is asked.
        presentation: `grid`, one picture of all candidates, or `images`, a picture each.
        window: candidates in one prompt, 2 to 25.
        stride: how far the window moves, 1 to `window`.
        depth: how many of the first hits are reranked; None for all.
        concurrency: requests under way at once.
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
        self.name = f"openai:{model.name}"
        self.presentation: Presentation = "grid" if presentation == "grid" else "images"
        self.window = window
        self.stride = stride
        self.depth = depth
        self.concurrency = concurrency

    @property
    def configuration(self) -> dict[str, Any]:
        """The arguments of `load_reranker` that shape the outcome."""
        return {
            "name": self.name,
            "presentation": self.presentation,
            "window": self.window,
            "stride": self.stride,
            "depth": self.depth,
        }

    def rerank_many(
        self,
        results: Sequence[SearchResult],
        on_done: OnDone | None = None,
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`.

        Raises:
            BudgetReached: before a request that could exceed the limit.
            ModelServerError: wrong key, unknown model, or no answer to several queries in a row.
        """
        outcomes: dict[int, SearchResult] = {}
        for i, outcome in self._in_any_order(results):
            outcomes[i] = outcome
            if on_done is not None:
                on_done(i, outcome)
        return [outcomes[i] for i in range(len(results))]

    def _in_any_order(self, results: Sequence[SearchResult]) -> Iterator[tuple[int, SearchResult]]:
        jobs = [partial(self._rank, result) for result in results]
        # Queries without an answer are handed out once another one shows that the server is there.
        held: list[tuple[int, SearchResult]] = []
        running = run_jobs(jobs, self.model.async_client, self.concurrency)
        with closing(running):
            for i, (outcome, failure) in running:
                held.append((i, outcome))
                if failure is None:
                    yield from held
                    held.clear()
                elif len(held) == _GIVE_UP:
                    raise ModelServerError(
                        f"{_GIVE_UP} queries in a row had no answer, the last one because: "
                        f"{failure} What is finished is kept."
                    )
        yield from held

    async def _rank(
        self, result: SearchResult, client: openai.AsyncOpenAI
    ) -> tuple[SearchResult, RequestFailed | None]:
        started = time.perf_counter()
        n = len(result.hits[: self.depth])
        order = list(range(n))
        usage, problems, explanation = Usage(), [], None
        statuses: set[str] = set()
        failure: RequestFailed | None = None
        for start, end in windows(n, self.window, self.stride):
            try:
                shown = [result.hits[i] for i in order[start:end]]
                prompt = await asyncio.to_thread(
                    ranking_prompt, result.query, shown, self.presentation
                )
                reply, used = await self.model.complete(client, prompt)
            except ImageError as error:
                statuses.add("failed")
                problems.append(f"the query picture: {error}")
                break
            except RequestFailed as error:
                failure = error
                usage += Usage(requests=1)
                statuses.add("failed")
                problems.append(str(error))
                break
            usage += used
            ranking = _read(reply, end - start)
            order[start:end] = [order[start:end][i] for i in ranking.order]
            statuses.add(ranking.status)
            problems += ranking.problems
            explanation = ranking.reason if start == 0 else None
        report = RerankReport(
            reranker=self.name,
            status=_overall(statuses),
            problems=tuple(problems),
            usage=usage,
            details={"presentation": self.presentation, "endpoint": self.model.endpoint.address},
        )
        ms = 1000 * (time.perf_counter() - started)
        return reorder(result, order, report, ms, explanation=explanation), failure


def windows(n: int, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Start and end of each window over n candidates, the last ones first."""
    end = n
    while end > 0:
        start = max(0, end - size)
        yield start, end
        if start == 0:
            return
        end -= stride


def _read(reply: Reply, n: int) -> Ranking:
    """The ranking in a reply; a refusal or an empty one keeps the order."""
    kept = list(range(n))
    if reply.refusal is not None:
        return Ranking(kept, None, "failed", (f"the model refused: {reply.refusal[:300]}",))
    if not reply.text.strip():
        why = f" ({reply.finish})" if reply.finish not in ("", "stop") else ""
        return Ranking(kept, None, "failed", (f"the answer is empty{why}",))
    return read_ranking(reply.text, n)


def _overall(statuses: set[str]) -> Literal["complete", "repaired", "failed"]:
    if statuses <= {"complete"}:
        return "complete"
    return "failed" if statuses == {"failed"} else "repaired"
