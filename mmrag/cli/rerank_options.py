"""The options of reranking, shared by `search`, `ask` and `evaluate`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import printable
from mmrag.cli.vision_options import CONCURRENCY, DETAIL, EFFORT, TIMEOUT
from mmrag.system.words import counted

if TYPE_CHECKING:
    from mmrag.rerank.reranker import Reranker
    from mmrag.search.rewrite import Rewriter
    from mmrag.types import RerankReport, Usage
    from mmrag.vision.budget import Budget
    from mmrag.vision.model import VisionModel


@dataclass(frozen=True)
class RerankChoice:
    """The values of the options."""

    rerank: str | None
    rerank_k: int | None
    presentation: str
    window: int
    stride: int | None
    cache: bool
    max_cost: float | None
    concurrency: int
    timeout: float
    effort: str | None
    max_answer_tokens: int | None
    api: str | None
    detail: str
    picture_size: int | None
    prompt: str
    trust_reranker_code: bool
    rewrite: str | None
    rewrite_prompt: str

    def hits_needed(self, k: int, reranker: Reranker | None) -> int:
        """How many hits to retrieve, so that enough can be reranked and k shown."""
        return max(k, reranker.depth or 0) if reranker else k


_OPTIONS = [
    click.option(
        "--rerank",
        metavar="R",
        help="vision, openai:MODEL, encoder:NAME, ce:NAME_OR_FOLDER, bge-reranker, or "
        "bge-reranker:NAME_OR_FOLDER. encoder:NAME@100,vision@9 reranks the first 100, then 9.",
    ),
    click.option(
        "--rerank-k",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="How many of the first hits are reranked. Default: for ce:, as many as fit in a "
        "second; else 10 in an evaluation and all requested hits in a search.",
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
        help="Stop before the requests cost more; a resumed evaluation counts what it already "
        "spent.",
    ),
    CONCURRENCY,
    TIMEOUT,
    EFFORT,
    click.option(
        "--max-answer-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="Room for an answer; a model's thought before it has room of its own.",
    ),
    click.option(
        "--api",
        type=click.Choice(["chat", "responses"]),
        help="API that a vision model is asked through. Default: as the table of models says.",
    ),
    DETAIL,
    click.option(
        "--picture-size",
        type=click.IntRange(64, 4096),
        metavar="PX",
        help="Shorter side of the pictures sent to a vision model; less costs less.",
    ),
    click.option(
        "--prompt",
        default="ranking-1",
        show_default=True,
        metavar="NAME",
        help="Prompt that asks a vision model for a ranking: ranking-1, marks-1 (coloured frames "
        "and more numbers), or a .toml file of your own.",
    ),
    click.option(
        "--trust-reranker-code",
        is_flag=True,
        help="ce: run Python code that the reranker brings, with all your rights.",
    ),
    click.option(
        "--rewrite",
        metavar="M",
        help="vision or openai:MODEL: let a model reword the query before it is encoded.",
    ),
    click.option(
        "--rewrite-prompt",
        default="describe-1",
        show_default=True,
        metavar="NAME",
        help="Prompt for --rewrite: describe-1 (a description of the wanted picture, which is "
        "encoded alone), instruct-1 (a clearer instruction beside the picture), or a .toml file.",
    ),
]


def rerank_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --rerank, --rewrite and related options.

    The command gets them as one `reranking: RerankChoice`.
    """

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
    batch: bool = False,
) -> Reranker | None:
    """The reranker that the options name; None without --rerank.

    Args:
        choice: the options.
        device: for local models.
        precision: for local models.
        budget: shared with other requests of the command; by default --max-cost alone.
        batch: whether a vision model is asked through the Batch API.
    """
    if choice.rerank is None:
        return None
    from mmrag.rerank import load_reranker

    loaded = load_reranker(
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
        effort=choice.effort,
        max_answer_tokens=choice.max_answer_tokens,
        api=choice.api,
        detail=choice.detail,
        picture_size=choice.picture_size,
        prompt=choice.prompt,
        batch=batch,
        trust_reranker_code=choice.trust_reranker_code,
    )
    for notice in loaded.notices():
        click.echo(f"Note: {printable(notice)}", err=True)
    return loaded


def open_rewriter(
    choice: RerankChoice, budget: Budget | None = None, reranker: Reranker | None = None
) -> Rewriter | None:
    """The model that rewrites queries, asked as the options say; None without --rewrite.

    Args:
        choice: the options.
        budget: shared with other requests of the command; by default the reranker's.
        reranker: from `open_reranker`.
    """
    if choice.rewrite is None:
        return None
    from mmrag.search.rewrite import load_rewriter

    shared = budget or (reranker.budget if reranker else None)
    loaded = load_rewriter(
        choice.rewrite,
        prompt=choice.rewrite_prompt,
        concurrency=choice.concurrency,
        max_cost=choice.max_cost if shared is None else shared,
        cache=choice.cache,
        timeout=choice.timeout,
        effort=choice.effort,
        max_answer_tokens=choice.max_answer_tokens,
        api=choice.api,
        detail=choice.detail,
    )
    notice = loaded.model.notice()
    if notice and choice.rewrite != choice.rerank:
        click.echo(f"Note: {printable(notice)}", err=True)
    return loaded


def open_answering_model(
    name: str, choice: RerankChoice, budget: Budget | None = None
) -> VisionModel:
    """The vision model that answers questions, asked as the options say."""
    from mmrag.vision.model import VisionModel

    model = VisionModel(
        name.removeprefix("openai:"),
        cache=choice.cache,
        budget=budget,
        timeout=choice.timeout,
        effort=choice.effort,
        max_answer_tokens=choice.max_answer_tokens,
        api=choice.api,
        detail=choice.detail,
    )
    notice = model.notice()
    if notice and name.removeprefix("openai:") != (choice.rerank or "").removeprefix("openai:"):
        click.echo(f"Note: {printable(notice)}", err=True)
    return model


def usage_line(usage: Usage) -> str:
    """Requests, tokens and cost in words."""
    answers = f"{counted(usage.cached, 'answer')} from the cache"
    if usage.requests == 0 and usage.cached:
        return f"{answers}, no request"
    cached = f" and {answers}" if usage.cached else ""
    cost = "no price known" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    line = f"{counted(usage.requests, 'request')}{cached}, {usage.tokens}, {cost}"
    if usage.unanswered:
        line += f" at most; {counted(usage.unanswered, 'unanswered request')} may have been charged"
    return f"{line}; {usage.surprise}" if usage.surprise else line


def rerank_line(report: RerankReport) -> str:
    """How reranking went, in words."""
    effort = report.details.get("effort")
    stages = report.details.get("stages", [])
    line = f"Reranked by {report.reranker}{f', effort {effort}' if effort else ''}: {report.status}"
    if report.problems:
        line += f" ({'; '.join(report.problems)})"
    for one in stages:
        memory = f", {one['memory_mb']:,} MB" if "memory_mb" in one else ""
        line += f"; {one['reranker']} on {one['depth']}: {one['ms']:.0f} ms{memory}"
    used = report.usage
    if "memory_mb" in report.details:
        pairs, memory = report.details["pairs"], report.details["memory_mb"]
        line += f"; {counted(pairs, 'pair')}, {memory:,} MB of memory at most"
    return line + (f"; {usage_line(used)}" if used.requests or used.cached else "")
