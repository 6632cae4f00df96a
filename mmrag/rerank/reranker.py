"""What every reranker provides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mmrag.types import SearchResult


class Reranker(Protocol):
    """Reorders the hits of results, and may explain the best one."""

    name: str

    @property
    def configuration(self) -> dict[str, Any]:
        """What is needed to make it again, as plain JSON values, without any key."""

    def rerank(self, result: SearchResult) -> SearchResult:
        """The same hits, reordered, with new ranks and scores and the old `retrieval_rank`.

        Never fails because of the candidates or of a model's answer: the report in
        `SearchResult.rerank` says how it went.
        """

    def rerank_many(
        self,
        results: Sequence[SearchResult],
        on_done: Callable[[int, SearchResult], None] | None = None,
    ) -> list[SearchResult]:
        """Rerank many results, side by side or in batches where that is quicker.

        Args:
            results: each is reranked by itself.
            on_done: called in this thread with the position and the outcome of each result as it
                becomes ready, in any order.

        Returns:
            Outcomes in the order of `results`; `timings_ms["rerank"]` is set in each.
        """
