"""Rerankers by name: `load_reranker(name)` loads one, `list_rerankers()` describes all of them.

A reranker looks at the first hits and puts them in a better order. A new kind is one file with a
`Reranker` and a branch in `load_reranker`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag.errors import MmragError

if TYPE_CHECKING:
    import threading

    from mmrag.encoders.encoder import Encoder
    from mmrag.rerank.reranker import Reranker
    from mmrag.vision.budget import Budget


@dataclass(frozen=True)
class RerankerDescription:
    """A kind of reranker, what it does, and whether what it needs is here."""

    name: str
    description: str
    available: bool
    how_to_get: str


def list_rerankers() -> list[RerankerDescription]:
    """The kinds of rerankers, without loading anything."""
    from mmrag.vision.endpoint import endpoint_or_problem

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
        RerankerDescription(
            "encoder:NAME", "a second encoder scores the hits again", True, "any encoder's name"
        ),
        RerankerDescription(
            "bge-reranker",
            "a cross-encoder scores instruction against description; bge-reranker:NAME_OR_FOLDER "
            "names another",
            True,
            "fetched from the hub on first use",
        ),
    ]


def load_reranker(
    name: str,
    *,
    presentation: str = "grid",
    window: int = 20,
    stride: int | None = None,
    depth: int | None = None,
    model: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: bool = True,
    max_cost: float | Budget | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 3,
    encoder: Encoder | None = None,
    cancel: threading.Event | None = None,
) -> Reranker:
    """Load a reranker.

    Args:
        name: `gpt-4o`, `openai:MODEL`, `encoder:NAME` with any name `load_encoder` takes,
            `bge-reranker`, or `bge-reranker:HUB_NAME_OR_FOLDER`.
        presentation: how a vision model is shown the candidates: `grid`, one picture of all, or
            `images`, a picture each.
        window: candidates in one prompt, 2 to 25.
        stride: how far the window moves when there are more; by default half the window.
        depth: how many of the first hits are reranked; the others keep their places behind them.
            None for all.
        model: the model's name at the server, where it is another than `name` says.
        device: for local models, as `load_encoder`.
        precision: for local models, as `load_encoder`.
        cache: keep answers and embeddings under `MMRAG_HOME/cache`, and use them.
        max_cost: US dollars that the requests may cost together.
        concurrency: requests under way at once.
        timeout: seconds for one attempt of a request.
        retries: further attempts of a failed request; see `VisionModel`.
        encoder: for `encoder:NAME`, when it is loaded already.
        cancel: an event that, once set, stops reranking by a vision model.

    Raises:
        MmragError: unknown name, or an option out of its range.
        ModelServerError: no key; says what to set.
        CheckpointError: weights are absent or wrong.
    """
    if depth is not None and depth < 1:
        raise MmragError(f"At least one hit must be reranked, not {depth}.")
    kind, _, rest = name.partition(":")
    if name == "gpt-4o" or (kind == "openai" and rest):
        from mmrag.rerank.vision import VisionReranker
        from mmrag.vision.budget import Budget
        from mmrag.vision.model import VisionModel

        budget = max_cost if isinstance(max_cost, Budget) else Budget(max_cost)
        return VisionReranker(
            VisionModel(
                model or rest or name, cache=cache, budget=budget, timeout=timeout, retries=retries
            ),
            presentation=presentation,
            window=window,
            stride=max(1, window // 2) if stride is None else stride,
            depth=depth,
            concurrency=concurrency,
            cancel=cancel,
        )
    if kind == "encoder" and rest:
        from mmrag.rerank.encoder import EncoderReranker

        if encoder is None:
            from mmrag.encoders import load_encoder

            encoder = load_encoder(rest, device=device, precision=precision)
        return EncoderReranker(encoder, name, depth=depth, cache=cache)
    if kind == "bge-reranker":
        from mmrag.rerank.cross_encoder import DEFAULT_MODEL, CrossEncoderReranker

        return CrossEncoderReranker(
            rest or DEFAULT_MODEL, name, depth=depth, device=device, precision=precision
        )
    known = ", ".join(description.name for description in list_rerankers())
    raise MmragError(f"Unknown reranker {name!r}; use one of {known}.")
