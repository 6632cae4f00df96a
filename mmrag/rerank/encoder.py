"""A second, stronger encoder scores the hits again: a cascade of a fast and a slow stage."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.encoders.queries import query_vectors
from mmrag.errors import ImageError
from mmrag.images.unreadable import query_problem
from mmrag.rerank.embeddings import EmbeddingCache
from mmrag.rerank.reorder import by_score
from mmrag.rerank.reranker import OnDone, Reranker, RerankerDescription, RerankOptions
from mmrag.types import SearchResult

# Results scored together: enough to fill batches, few enough to show progress.
_TOGETHER = 32


def takes(name: str) -> bool:
    """Whether the name is `encoder:NAME`."""
    kind, _, rest = name.partition(":")
    return kind == "encoder" and bool(rest)


def describe() -> list[RerankerDescription]:
    """The kind; any encoder can be one."""
    return [
        RerankerDescription(
            "encoder:NAME", "a second encoder scores the hits again", True, "any encoder's name"
        )
    ]


def load(name: str, options: RerankOptions) -> Reranker:
    """`options.encoder`, or the encoder of that name."""
    encoder = options.encoder
    if encoder is None:
        from mmrag.encoders import load_encoder

        rest = name.removeprefix("encoder:")
        encoder = load_encoder(rest, device=options.device, precision=options.precision)
    return EncoderReranker(encoder, name, depth=options.depth, cache=options.cache)


class EncoderReranker(Reranker):
    """Orders hits by the cosine of query and image under another encoder.

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
        self.fingerprint = encoder.info.fingerprint_of("both")
        self.candidates = EmbeddingCache(encoder, disk=cache)

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`; hits get the new cosine as their score."""
        outcomes: list[SearchResult] = []
        for start in range(0, len(results), _TOGETHER):
            for outcome in self._score(results[start : start + _TOGETHER]):
                outcomes.append(outcome)
                if on_done is not None:
                    on_done(len(outcomes) - 1, outcome)
        return outcomes

    def _score(self, results: Sequence[SearchResult]) -> list[SearchResult]:
        started = time.perf_counter()
        queries = self._queries(results)
        shown = [result.hits[: self.depth] for result in results]
        vectors = self.candidates.embed([hit.path for hits in shown for hit in hits])
        ms = 1000 * (time.perf_counter() - started) / len(results)
        outcomes = []
        for result, query, hits in zip(results, queries, shown, strict=True):
            scores, problems = {}, []
            if isinstance(query, ImageError):
                problems.append(query_problem(query))
            for i, hit in enumerate(hits):
                vector = vectors[hit.path]
                if isinstance(query, ImageError):
                    break
                if isinstance(vector, ImageError):
                    problems.append(f"{hit.image_id} cannot be scored: {vector}")
                else:
                    scores[i] = float(query @ vector)
            outcomes.append(by_score(result, scores, len(hits), self.name, problems, ms))
        return outcomes

    def _queries(self, results: Sequence[SearchResult]) -> Sequence[Vectors | ImageError]:
        """Each query's vector, or the reason its picture cannot be read."""
        try:
            return list(query_vectors(self.encoder, [result.query for result in results]))
        except ImageError as error:
            if len(results) == 1:
                return [error]
        return [found for result in results for found in self._queries([result])]
