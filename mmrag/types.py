"""The nouns of the field that the parts hand to each other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from mmrag.images import ImageSource


@dataclass(frozen=True)
class GalleryImage:
    """An item that can be found."""

    image_id: str
    path: str
    text: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """A picture, a text, or both (a composed query)."""

    image: ImageSource | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.image is None and not self.text:
            raise ValueError("A query needs an image, a text, or both.")

    @property
    def image_path(self) -> str | None:
        """The image's path, when it is one."""
        return os.fspath(self.image) if isinstance(self.image, str | os.PathLike) else None


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Hit:
    """One result: `score` is the cosine of query and image, ranks count from 1."""

    rank: int
    image_id: str
    path: str
    score: float
    retrieval_rank: int
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """The hits of one query, best first, and the milliseconds that each stage took."""

    query: Query
    hits: list[Hit]
    timings_ms: dict[str, float]
    explanation: str | None = None
    rerank: dict[str, Any] | None = None
