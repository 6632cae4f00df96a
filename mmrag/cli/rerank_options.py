"""The options of reranking, shared by `search`, `ask` and `evaluate`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmrag.rerank.reranker import Reranker
    from mmrag.types import RerankReport, Usage
    from mmrag.vision.budget import Budget


@dataclass(frozen=True)
class RerankChoice:
    """What the options say."""

    rerank: str | None
    rerank_k: int | None
    presentation: str
    window: int
    stride: int | None
    cache: bool
    max_cost: float | None
    concurrency: int
    timeout: float

    def hits_needed(self, k: int) -> int:
        """How many hits to retrieve, so that `rerank_k` can be reranked and k shown."""
        return max(k, self.rerank_k or 0) if self.rerank else k


_OPTIONS = [
    click.option(
        "--rerank",
        metavar="R",
        help="gpt-4o, openai:MODEL, encoder:NAME, bge-reranker, or bge-reranker:NAME_OR_FOLDER.",
    ),
    click.option(
        "--rerank-k",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="How many of the first hits are reranked. Default: all that are asked for.",
    ),
    click.option(
        "--presentation",
        type=click.Choice(["grid", "images"]),
        default="grid",
        show_default=True,
        help="What a vision model is shown: one panorama, or each candidate by itself.",
    ),
    click.option(
        "--window",
        type=click.IntRange(2, 25),
        default=20,
        show_default=True,
        help="Candidates in one prompt; more are ranked with a sliding window.",
    ),
    click.option(
        "--stride", type=click.IntRange(1), help="How far the window moves. Default: half of it."
    ),
    click.option(
        "--cache/--no-cache",
        default=True,
        help="Keep answers and embeddings under MMRAG_HOME/cache, and use them.  [default: cache]",
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(0),
        metavar="USD",
        help="Stop before the requests of this command cost more.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 256),
        default=4,
        show_default=True,
        help="Requests under way at once.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds for one attempt of a request.",
    ),
]


def rerank_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--rerank and what belongs to it; the command gets them as one `reranking: RerankChoice`."""

    @functools.wraps(command)
    def with_choice(*args: Any, **kwargs: Any) -> Any:
        chosen = {field.name: kwargs.pop(field.name) for field in fields(RerankChoice)}
        return command(*args, reranking=RerankChoice(**chosen), **kwargs)

    decorated: Callable[..., Any] = with_choice
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def open_reranker(
    choice: RerankChoice,
    *,
    device: str = "auto",
    precision: str = "auto",
    budget: Budget | None = None,
) -> Reranker | None:
    """The reranker that the options name; None without --rerank.

    Args:
        choice: the options.
        device: for local models.
        precision: for local models.
        budget: shared with other requests of the command; by default --max-cost alone.
    """
    if choice.rerank is None:
        return None
    from mmrag.rerank import load_reranker

    return load_reranker(
        choice.rerank,
        presentation=choice.presentation,
        window=choice.window,
        stride=choice.stride,
        depth=choice.rerank_k,
        device=device,
        precision=precision,
        cache=choice.cache,
        max_cost=budget if budget is not None else choice.max_cost,
        concurrency=choice.concurrency,
        timeout=choice.timeout,
    )


def usage_line(usage: Usage) -> str:
    """Requests, tokens and cost in words."""
    if usage.requests == 0 and usage.cached:
        return f"{usage.cached} answers from the cache, no request"
    cached = f" and {usage.cached} answers from the cache" if usage.cached else ""
    cost = "no price known" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    return (
        f"{usage.requests} requests{cached}, {usage.prompt_tokens:,} + "
        f"{usage.completion_tokens:,} tokens, {cost}"
    )


def rerank_line(report: RerankReport) -> str:
    """How reranking went, in words."""
    line = f"Reranked by {report.reranker}: {report.status}"
    if report.problems:
        line += f" ({'; '.join(report.problems)})"
    used = report.usage
    return line + (f"; {usage_line(used)}" if used.requests or used.cached else "")
