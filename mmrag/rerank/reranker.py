"""The interface of every reranker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmrag.errors import ModelServerError
from mmrag.types import SearchResult, Usage

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder
    from mmrag.vision.budget import Budget

OnDone = Callable[[int, SearchResult], None]


class GaveUp(ModelServerError):
    """Several queries in a row had no usable answer; `usage` is their total."""

    def __init__(self, message: str, paid: Sequence[Usage] = ()) -> None:
        super().__init__(message)
        self.usage = sum(paid, Usage())


class Reranker(ABC):
    """Reorders the hits of results, and may explain the best one.

    Attributes:
        name: as `load_reranker` knows it.
        depth: how many of the first hits are reranked, the others keep their places after them;
            None for all.
        fingerprint: of the weights that score, "" if they are not local.
        costs_money: whether it asks a service that charges for it.
        together: how many results it prefers at once.
        on_wait: called while it waits for many answers, with how many have arrived and the total.
        budget: the limit on that cost, if any.
    """

    name: str
    depth: int | None = None
    fingerprint: str = ""
    costs_money: bool = False
    together: int = 1
    on_wait: Callable[[int, int], object] | None = None
    budget: Budget | None = None

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything needed to build it again, as plain JSON values, without any key."""
        return {"name": self.name, "depth": self.depth}

    def notices(self) -> list[str]:
        """Sentences to show before it is used; empty if there are none."""
        return []

    def again(self, number: int) -> Reranker:
        """The same to be asked anew, 1 for the first time; itself if that is pointless."""
        return self

    def rerank(self, result: SearchResult) -> SearchResult:
        """As `rerank_many` for one result."""
        return self.rerank_many([result])[0]

    @abstractmethod
    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        """Rerank many results, side by side or in batches if that is quicker.

        Never fails because of a picture or a model's answer: the report in `SearchResult.rerank`
        says how it went. General failures are raised, such as a server that is gone or a budget
        that is spent.

        Args:
            results: each is reranked separately.
            on_done: called in this thread with the position and the outcome of each result as it
                becomes ready, in any order.

        Returns:
            Outcomes in the order of `results`: the same hits with new ranks and scores and the old
            `retrieval_rank`; `timings_ms["rerank"]` is set in each.
        """


@dataclass(frozen=True)
class RerankerDescription:
    """A kind of reranker, what it does, and whether it can be used here."""

    name: str
    description: str
    available: bool
    how_to_get: str


@dataclass(frozen=True)
class RerankOptions:
    """The arguments of `load_reranker` that a kind may use; see there."""

    presentation: str
    window: int
    stride: int | None
    depth: int | None
    device: str
    precision: str
    cache: bool
    budget: Budget
    concurrency: int
    timeout: float
    retries: int
    effort: str | None
    max_answer_tokens: int | None
    api: str | None
    detail: str
    picture_size: int | None
    prompt: str
    batch: bool
    encoder: Encoder | None
    trust_reranker_code: bool = False


class Kind(Protocol):
    """A module with these names, and a line in `KINDS` of `mmrag.rerank`."""

    def takes(self, name: str) -> bool:
        """Whether a reranker of this name is of this kind."""

    def describe(self) -> list[RerankerDescription]:
        """Descriptions of its rerankers, without loading anything."""

    def load(self, name: str, options: RerankOptions) -> Reranker:
        """Load a reranker.

        Raises:
            MmragError: an option is out of its range.
            ModelServerError: no key; says what to set.
            CheckpointError: weights are absent or wrong.
        """
