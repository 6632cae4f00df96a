"""The options of commands that have a vision model judge or word something."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import printable
from mmrag.errors import MmragError

if TYPE_CHECKING:
    from mmrag.labels.asking import Asker


@dataclass(frozen=True)
class AskChoice:
    """The values of the options; `by` is None if a person does it."""

    by: str | None
    prompt: str | None
    cache: bool
    max_cost: float | None
    concurrency: int
    timeout: float
    effort: str | None
    detail: str
    batch: bool


# Shared with reranking.
CONCURRENCY = click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Requests under way at once.",
)
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds that one answer of a vision model may take.",
)
EFFORT = click.option(
    "--effort",
    type=click.Choice(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    help="How much a vision model thinks. Default: the least it accepts.",
)
DETAIL = click.option(
    "--detail",
    type=click.Choice(["low", "high", "auto", "original"]),
    default="high",
    show_default=True,
    help="How closely a vision model looks; less costs less.",
)

_OPTIONS = [
    click.option(
        "--by",
        metavar="MODEL",
        help="Let a vision model do it: vision, or openai:MODEL of the server.",
    ),
    click.option(
        "--prompt",
        metavar="FILE",
        help="A .toml file with a prompt to use instead of the built-in one.",
    ),
    click.option(
        "--cache/--no-cache",
        default=True,
        help="Keep answers under MMRAG_HOME/cache, and use them.  [default: cache]",
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(0),
        metavar="USD",
        help="Stop before the requests cost more; what is finished is kept.",
    ),
    CONCURRENCY,
    TIMEOUT,
    EFFORT,
    DETAIL,
    click.option(
        "--batch", is_flag=True, help="Ask through the Batch API: half the price, within a day."
    ),
]


def ask_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --by and related options; the command gets them as one `asking: AskChoice`."""

    @functools.wraps(command)
    def with_choice(*args: Any, **kwargs: Any) -> Any:
        chosen = {field.name: kwargs.pop(field.name) for field in fields(AskChoice)}
        asking = AskChoice(**chosen)
        if asking.by is None and (asking.prompt or asking.batch or asking.max_cost is not None):
            raise click.UsageError("--prompt, --batch and --max-cost need --by MODEL.")
        return command(*args, asking=asking, **kwargs)

    decorated: Callable[..., Any] = with_choice
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def open_asker(choice: AskChoice) -> Asker | None:
    """The vision model that the options name; None without --by."""
    if choice.by is None:
        return None
    from mmrag.labels.asking import Asker
    from mmrag.rerank.vision import takes
    from mmrag.vision.budget import Budget
    from mmrag.vision.model import VisionModel

    if not takes(choice.by):
        raise MmragError(
            f"{choice.by!r} is no vision model; use vision, or name one as openai:MODEL."
        )
    model = VisionModel(
        choice.by.removeprefix("openai:"),
        cache=choice.cache,
        budget=Budget(choice.max_cost),
        timeout=choice.timeout,
        effort=choice.effort,
        detail=choice.detail,
    )
    if notice := model.notice():
        click.echo(f"Note: {printable(notice)}", err=True)

    def say(done: int, total: int) -> None:
        click.echo(f"Batch: {done:,} of {total:,} answers are there.", err=True)

    return Asker(model, choice.concurrency, choice.batch, say)


def show_problems(problems: list[str], most: int = 5) -> None:
    """Print the first problems on standard error."""
    for problem in problems[:most]:
        click.echo(printable(problem), err=True)
    if len(problems) > most:
        click.echo(f"... and {len(problems) - most} more without an answer.", err=True)
