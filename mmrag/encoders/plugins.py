"""Encoders of other installed packages, through the entry points `mmrag.encoders`.

An entry point has the encoder's name and is a function without arguments that returns an
`EmbeddingModel` in float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.errors import MmragError
from mmrag.system import entry_points

GROUP = "mmrag.encoders"
USAGE = ""
OPTIONS: frozenset[str] = frozenset()


def takes(name: str) -> bool:
    """Whether an installed package adds an encoder of this name."""
    return name in entry_points.added(GROUP)


def describe(search: str | None = None) -> list[EncoderDescription]:
    """All that are added; their dimensions are known only after loading."""
    return [
        EncoderDescription(name, 0, 0, True, _licence(point), entry_points.package(point), "")
        for name, point in entry_points.added(GROUP).items()
    ]


def load(name: str, options: LoadOptions) -> LoadedModel:
    """The result of the package's function."""
    point = entry_points.added(GROUP)[name]
    make = entry_points.load(GROUP, name)
    try:
        model = make()
    # A third-party model can fail in any way.
    except Exception as error:
        raise MmragError(
            f"The encoder {name!r} of {entry_points.package(point)} cannot be loaded: {error}"
        ) from error
    version = point.dist.version if point.dist is not None else ""
    return LoadedModel(
        model,
        _licence(point),
        f"{entry_points.package(point)} {version}".strip(),
        {"plugin": point.value},
    )


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch nothing: the package fetches what it needs."""
    raise MmragError(f"Nothing to download for {name!r}: its package brings it.")


def _licence(point: Any) -> str:
    metadata = point.dist.metadata if point.dist is not None else {}
    return metadata.get("License-Expression") or metadata.get("License") or "unknown"
