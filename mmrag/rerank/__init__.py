"""Rerankers by name: `load_reranker(name)` loads one, `list_rerankers()` describes all of them.

A reranker looks at the first hits and puts them in a better order. A new kind is one file (see
`reranker.Kind`) and one line in `KINDS`; other packages add rerankers through the entry points
`mmrag.rerankers` (see `plugins`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmrag.errors import MmragError
from mmrag.rerank.cascade import Cascade, parse_stages
from mmrag.rerank.prompt_files import DEFAULT_PROMPT
from mmrag.rerank.reranker import Kind, Reranker, RerankerDescription, RerankOptions
from mmrag.system.hub_client import asked_once

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder
    from mmrag.vision.budget import Budget

__all__ = [
    "KINDS",
    "RerankerDescription",
    "download_reranker",
    "has_weights",
    "list_rerankers",
    "load_reranker",
]

# Asked in this order if they know a name.
KINDS = (
    "mmrag.rerank.vision",
    "mmrag.rerank.encoder",
    "mmrag.rerank.cross_encoder",
    "mmrag.rerank.pairs",
    "mmrag.rerank.plugins",
)


def list_rerankers() -> list[RerankerDescription]:
    """The kinds of rerankers, without loading anything."""
    return [description for kind in _kinds() for description in kind.describe()]


@asked_once()
def load_reranker(
    name: str,
    *,
    presentation: str = "grid",
    window: int = 20,
    stride: int | None = None,
    depth: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: bool = True,
    max_cost: float | Budget | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 3,
    effort: str | None = None,
    max_answer_tokens: int | None = None,
    api: str | None = None,
    detail: str = "high",
    picture_size: int | None = None,
    prompt: str = DEFAULT_PROMPT,
    batch: bool = False,
    encoder: Encoder | None = None,
    trust_reranker_code: bool = False,
) -> Reranker:
    """Load a reranker.

    Args:
        name: as `list_rerankers` names them: `vision`, `openai:MODEL`, `encoder:NAME` with any
            name `load_encoder` takes, `ce:HUB_NAME_OR_FOLDER`, `bge-reranker`, or
            `bge-reranker:HUB_NAME_OR_FOLDER`; or several as stages, each with how many of the
            first hits it sees: `encoder:NAME@100,ce:NAME@20,vision@9`.
        presentation: how a vision model is shown the candidates: `grid`, one picture of all, or
            `images`, a picture each.
        window: candidates in one prompt, 2 to 25.
        stride: how far the window moves when there are more; by default half the window.
        depth: how many of the first hits are reranked; the others keep their places after them.
            None for all, or for `ce:` as many as it scores in about a second.
        device: for local models, as `load_encoder`.
        precision: for local models, as `load_encoder`.
        cache: keep answers and embeddings under `MMRAG_HOME/cache`, and use them.
        max_cost: US dollars that the requests may cost together.
        concurrency: requests under way at once.
        timeout: seconds that one answer may take.
        retries: further attempts of a failed request; see `VisionModel`.
        effort: how much a vision model thinks; None for the least it accepts.
        max_answer_tokens: room for a vision model's answer, not counting thought.
        api: "chat" or "responses"; None for what the table of models says.
        detail: how closely a vision model looks at pictures; see `VisionModel`.
        picture_size: pixels of the shorter side of a picture sent; see `Look`.
        prompt: how a vision model is asked: a name from `prompt_names`, or a .toml file.
        batch: ask a vision model through the Batch API: cheaper, and within a day.
        encoder: for `encoder:NAME`, if it is loaded already.
        trust_reranker_code: for `ce:`, run Python code that the model brings, with all this
            process's rights.

    Raises:
        MmragError: unknown name, or an option out of its range.
        ModelServerError: no key; says what to set.
        CheckpointError: weights are absent or wrong.
    """
    if depth is not None and depth < 1:
        raise MmragError(f"At least one hit must be reranked, not {depth}.")
    from mmrag.vision.budget import Budget

    budget = max_cost if isinstance(max_cost, Budget) else Budget(max_cost)
    options = RerankOptions(
        presentation=presentation,
        window=window,
        stride=stride,
        depth=depth,
        device=device,
        precision=precision,
        cache=cache,
        budget=budget,
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        effort=effort,
        max_answer_tokens=max_answer_tokens,
        api=api,
        detail=detail,
        picture_size=picture_size,
        prompt=prompt,
        batch=batch,
        encoder=encoder,
        trust_reranker_code=trust_reranker_code,
    )
    stages = parse_stages(name)
    if not stages:
        return _load(name, options)
    if depth is not None:
        raise MmragError(
            f"The stages of {name!r} say how many hits each reranks; leave --rerank-k out."
        )
    return Cascade([_load(one, replace(options, depth=n)) for one, n in stages], name)


def has_weights(name: str) -> bool:
    """Whether the reranker has its own weights, which `download_reranker` fetches."""
    from mmrag.rerank import cross_encoder, pairs

    return pairs.takes(name) or cross_encoder.takes(name)


def download_reranker(
    name: str, progress: Callable[..., Any] | None = None, *, prove: bool = True
) -> list[Path]:
    """As `download_encoder`, for `ce:NAME`, `bge-reranker` or `bge-reranker:NAME`.

    Raises:
        MmragError: another name.
        CheckpointError: as `download_encoder`.
    """
    from mmrag.rerank import cross_encoder, pairs
    from mmrag.system.hub import offline

    if cross_encoder.takes(name):
        files = cross_encoder.download(name, progress)
        if prove:
            with offline():
                load_reranker(name)
        return files
    return pairs.download(name, progress, prove=prove)


def _load(name: str, options: RerankOptions) -> Reranker:
    for kind in _kinds():
        if kind.takes(name):
            return kind.load(name, options)
    known = ", ".join(description.name for description in list_rerankers())
    raise MmragError(f"Unknown reranker {name!r}; use one of {known}.")


def _kinds() -> Iterator[Kind]:
    for module in KINDS:
        yield cast(Kind, importlib.import_module(module))
