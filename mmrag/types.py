"""The domain types that the parts exchange."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

if TYPE_CHECKING:
    import pandas as pd

ImageSource = str | os.PathLike[str] | bytes | Image.Image


@dataclass(frozen=True)
class GalleryImage:
    """An image that can be found."""

    image_id: str
    path: str
    text: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """One or more pictures, a text, or both (a composed query).

    Args:
        image: the picture, the first of `images` if there are several.
        text: the instruction or description.
        images: all pictures; default: just `image`.
        without: what is not wanted, a text or a query; its vector is subtracted.
        without_weight: how much of it, 0 or more; see `mmrag.encoders.queries`.

    Example:
        >>> Query("leopard.jpg", "phone case with this image theme").images
        ('leopard.jpg',)
    """

    image: ImageSource | None = None
    text: str | None = None
    images: Sequence[ImageSource] = ()
    without: Query | str | None = None
    without_weight: float = 0.5

    def __post_init__(self) -> None:
        images = tuple(self.images) or (() if self.image is None else (self.image,))
        if self.image is not None and images[0] is not self.image and images[0] != self.image:
            raise ValueError("Give `image`, or `images`; with both, `image` is the first of them.")
        if not images and not self.text:
            raise ValueError("A query needs an image, a text, or both.")
        if not 0 <= self.without_weight < math.inf:
            raise ValueError(f"`without_weight` must be 0 or more, not {self.without_weight}.")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "image", images[0] if images else None)
        if isinstance(self.without, str):
            object.__setattr__(self, "without", Query(text=self.without) if self.without else None)

    @property
    def unwanted(self) -> Query | None:
        """`without` as a query."""
        return None if isinstance(self.without, str) else self.without

    @property
    def image_path(self) -> str | None:
        """The image's path, if it is given as one."""
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


# A token estimate that is this far off is mentioned.
_FAR_OFF = 0.2


@dataclass(frozen=True)
class Usage:
    """Totals of requests to a model server.

    `cached` answers came from disk and cost nothing now; their tokens are not counted.
    `completion_tokens` includes `reasoning_tokens`, the model's thought. `expected_tokens` is the
    estimate, before sending, of the prompts that `prompt_tokens` counts. `cost_usd` is None if the
    model has no price. `unanswered` requests timed out, or their answer could not be read: they may
    have been charged, and `cost_usd` includes the most that they can cost.
    """

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    reasoning_tokens: int = 0
    expected_tokens: int = 0
    unanswered: int = 0

    @property
    def tokens(self) -> str:
        """Tokens of prompts, of answers, and of thought among these, in words."""
        thought = f" ({self.reasoning_tokens:,} of them thought)" if self.reasoning_tokens else ""
        return f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens{thought}"

    @property
    def surprise(self) -> str:
        """How far the prompts were from their estimate, if over a fifth, in words."""
        if not self.expected_tokens:
            return ""
        change = self.prompt_tokens / self.expected_tokens - 1
        if abs(change) <= _FAR_OFF:
            return ""
        return f"{abs(change):.0%} {'more' if change > 0 else 'fewer'} prompt tokens than estimated"

    def __add__(self, other: Usage) -> Usage:
        counts = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self)
            if one.name != "cost_usd"
        }
        known = self.cost_usd is not None and other.cost_usd is not None
        cost = (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None
        return Usage(**counts, cost_usd=cost)


@dataclass(frozen=True)
class RerankReport:
    """How reranking one result went.

    `status` is "complete" (the answer ranked every candidate), "repaired" (it left some out,
    repeated some or named some that were not shown) or "failed" (no usable answer: the order of
    retrieval stands). `problems` gives the details in sentences.
    """

    reranker: str
    status: Literal["complete", "repaired", "failed"]
    problems: tuple[str, ...] = ()
    usage: Usage = Usage()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RewriteReport:
    """How rewriting one query went: `text` is its new wording.

    If the model gave none, `text` is None, `problem` says why, and the query was asked as it is.
    """

    rewriter: str
    text: str | None
    problem: str | None = None
    usage: Usage = Usage()

    @property
    def sentence(self) -> str:
        """The report in words."""
        if self.text is None:
            return f"Not rewritten by {self.rewriter}: {self.problem}"
        return f"Rewritten by {self.rewriter}: {self.text}"


@dataclass(frozen=True)
class SearchResult:
    """The hits of one query, best first, and the milliseconds that each stage took.

    `notes` are sentences on how the query was encoded, if needed. `query` is as asked, even if a
    rewording (see `rewrite`) was encoded.
    """

    query: Query
    hits: list[Hit]
    timings_ms: dict[str, float]
    explanation: str | None = None
    rerank: RerankReport | None = None
    notes: tuple[str, ...] = ()
    rewrite: RewriteReport | None = None

    def _repr_html_(self) -> str:
        from mmrag import notebook

        return notebook.search_result_html(self)

    def to_pandas(self) -> pd.DataFrame:
        """The hits, one per row."""
        from mmrag import notebook

        return notebook.hits_frame(self)
