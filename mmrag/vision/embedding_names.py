"""Hosted encoders by name: `api:PROVIDER/MODEL`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.errors import MmragError

USAGE = "api:PROVIDER/MODEL"
OPTIONS = frozenset(
    {
        "dim",
        "fusion",
        "image_weight",
        "embedding_max_cost",
        "embedding_concurrency",
        "embedding_timeout",
    }
)


def takes(name: str) -> bool:
    """Whether the name begins with `api:`."""
    return name.startswith("api:")


def describe(search: str | None = None) -> list[EncoderDescription]:
    """None: providers know their models, and pages would offer ones that cost money."""
    return []


def load(name: str, options: LoadOptions) -> LoadedModel:
    """Make a client of the provider; one request tells the dimension."""
    from mmrag.vision.embedding_protocols import PROTOCOLS
    from mmrag.vision.embeddings import HostedModel, Limits

    provider, _, model = name.removeprefix("api:").partition("/")
    protocol = PROTOCOLS.get(provider)
    if protocol is None or not model:
        raise MmragError(
            f"{name!r} is no hosted encoder: write api:PROVIDER/MODEL with one of "
            f"{', '.join(PROTOCOLS)}, such as api:cohere/embed-v4.0."
        )
    if protocol.composes and options.fusion is not None:
        raise MmragError(f"{name} does not fuse separate vectors; leave --fusion out.")
    weight = 0.5 if options.image_weight is None else options.image_weight
    limits = Limits.of(
        options.embedding_max_cost, options.embedding_concurrency, options.embedding_timeout
    )
    fusion = options.fusion or "sum-unit"
    loaded = HostedModel(name, protocol, model, options.dim, fusion, weight, limits)
    settings = {
        "address": loaded.address,
        "composition": "by the model" if protocol.composes else f"fusion {loaded.fusion}",
        "dim": loaded.dim,
        **({} if protocol.composes else {"image_weight": weight}),
    }
    return LoadedModel(
        loaded,
        "the provider's terms",
        f"{provider} {model}",
        {"class": "api", "provider": provider, "model": model, **settings},
        settings,
        dict.fromkeys(("composition", "image_weight")),
    )


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch nothing: it is hosted."""
    raise MmragError(f"Nothing to download for {name!r}: it is hosted.")
