"""A second, stronger encoder scores the hits again: a cascade of a fast and a slow stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mmrag.encoders.encoder import Encoder
from mmrag.errors import ImageError
from mmrag.rerank.embeddings import EmbeddingCache
from mmrag.rerank.reorder import by_score
from mmrag.types import SearchResult

# Results that are scored together: enough to fill batches, few enough to show progress.
_TOGETHER = 32


class EncoderReranker:
    """Orders the hits by the cosine of query and image under another encoder.

    Args:
        encoder: the second stage.
        name: as `load_reranker` knows it.
        depth: how many of the first hits are reranked; None for all.
        cache: whether embeddings of candidates are kept under `MMRAG_HOME/cache`.
    """

    def __init__(
        self, encoder: Encoder, name: str, *, depth: int | None = None, cache: bool = True
    ) -> None:
        self.encoder = encoder
        self.name = name
        self.depth = depth
        self.candidates = EmbeddingCache(encoder, disk=cache)

    @property
    def configuration(self) -> dict[str, Any]:
        """The arguments of `load_reranker` that shape the outcome."""
        return {"name": self.name, "depth": self.depth}

    @property
    def fingerprint(self) -> str:
        """Of the weights that score."""
        return self.encoder.info.fingerprint

    def rerank(self, result: SearchResult) -> SearchResult:
        """As `rerank_many` for one result."""
        return self.rerank_many([result])[0]

    def rerank_many(
        self,
        results: Sequence[SearchResult],
        on_done: Callable[[int, SearchResult], None] | None = None,
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`; hits get the new cosine as their score.

        Raises:
            ImageError: a query's picture cannot be read.
        """
        outcomes: list[SearchResult] = []
        for start in range(0, len(results), _TOGETHER):
            for outcome in self._score(results[start : start + _TOGETHER]):
                outcomes.append(outcome)
                if on_done is not None:
                    on_done(len(outcomes) - 1, outcome)
        return outcomes

    def _score(self, results: Sequence[SearchResult]) -> list[SearchResult]:
        started = time.perf_counter()
        queries = self.encoder.encode(
            [result.query.image for result in results],
            [result.query.text or None for result in results],
        )
        shown = [result.hits[: self.depth] for result in results]
        vectors = self.candidates.embed([hit.path for hits in shown for hit in hits])
        ms = 1000 * (time.perf_counter() - started) / len(results)
        outcomes = []
        for result, query, hits in zip(results, queries, shown, strict=True):
            scores, problems = {}, []
            for i, hit in enumerate(hits):
                vector = vectors[hit.path]
                if isinstance(vector, ImageError):
                    problems.append(f"{hit.image_id} cannot be scored: {vector}")
                else:
                    scores[i] = float(query @ vector)
            outcomes.append(by_score(result, scores, len(hits), self.name, problems, ms))
        return outcomes
