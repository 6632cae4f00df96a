"""Rerankers of other installed packages, through the entry points `mmrag.rerankers`.

An entry point has the reranker's name and is a function of the depth (an int or None) that returns
a `Reranker`.
"""

from __future__ import annotations

from mmrag.errors import MmragError
from mmrag.rerank.reranker import Reranker, RerankerDescription, RerankOptions
from mmrag.system import entry_points

GROUP = "mmrag.rerankers"


def takes(name: str) -> bool:
    """Whether an installed package adds a reranker of this name."""
    return name in entry_points.added(GROUP)


def describe() -> list[RerankerDescription]:
    """All rerankers that are added."""
    return [
        RerankerDescription(name, f"of the package {entry_points.package(point)}", True, "")
        for name, point in entry_points.added(GROUP).items()
    ]


def load(name: str, options: RerankOptions) -> Reranker:
    """The result of the package's function."""
    make = entry_points.load(GROUP, name)
    try:
        loaded: Reranker = make(options.depth)
    # A third-party reranker can fail in any way.
    except Exception as error:
        package = entry_points.package(entry_points.added(GROUP)[name])
        raise MmragError(f"The reranker {name!r} of {package} cannot be loaded: {error}") from error
    return loaded
