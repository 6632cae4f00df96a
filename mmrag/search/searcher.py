"""From a query to hits: encode, search and filter, with each stage timed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.encoders.queries import query_notes, query_vectors
from mmrag.errors import IndexStoreError, MmragError
from mmrag.images.decode import read_bytes
from mmrag.index.image_index import ImageIndex
from mmrag.rerank.reranker import Reranker
from mmrag.search.pools import PoolVectors
from mmrag.types import Hit, Query, RewriteReport, SearchResult

if TYPE_CHECKING:
    from mmrag.search.rewrite import Rewriter


class Searcher:
    """Searches one index with one encoder.

    Args:
        index: opened with `encoder`.
        encoder: turns queries into vectors.
        reranker: reorders the hits; None keeps the order of retrieval.
        rewriter: rewords queries before they are encoded; see `search.rewrite`.

    Raises:
        IndexStoreError: the collection is absent, or was built with another encoder.

    Example:
        >>> from mmrag import ImageIndex, Query, load_encoder, open_gallery
        >>> encoder = load_encoder("demo")
        >>> with ImageIndex.open(collection="example", encoder=encoder) as index:
        ...     report = index.add(open_gallery("photos"))
        ...     result = Searcher(index, encoder).search(Query(text="a red apple"), k=3)
        >>> report.added, [hit.rank for hit in result.hits]
        (296, [1, 2, 3])
    """

    def __init__(
        self,
        index: ImageIndex,
        encoder: Encoder,
        reranker: Reranker | None = None,
        rewriter: Rewriter | None = None,
    ) -> None:
        self.index = index
        self.encoder = encoder
        self.reranker = reranker
        self.rewriter = rewriter
        self._pools = PoolVectors(index)
        index.encoder = encoder
        if not index.exists():
            raise IndexStoreError(
                f"There is no collection {index.collection!r} in {index.store.uri}; "
                "`mmrag index FOLDER` makes it."
            )
        index.check_encoder()

    def search(
        self,
        query: Query,
        k: int = 9,
        *,
        filter: str | None = None,
        exclude_query_image: bool = False,
    ) -> SearchResult:
        """The k best images for one query; see `search_many`."""
        return self.search_many([query], k, filter=filter, exclude_query_image=exclude_query_image)[
            0
        ]

    def search_many(
        self,
        queries: Sequence[Query],
        k: int = 9,
        *,
        filter: str | None = None,
        exclude_query_image: bool = False,
        batch_size: int = 32,
    ) -> list[SearchResult]:
        """The k best images for each query, encoded and searched in batches.

        Args:
            queries: pictures, text or both, and what is not wanted.
            k: how many hits, 1 to 10,000.
            filter: Milvus expression, such as `metadata["price"] < 10`.
            exclude_query_image: leave the query's own picture out (same file or same bytes).
            batch_size: queries per forward pass.

        Returns:
            Results in the order of the queries. `timings_ms` holds `encode` and `search` as shares
            of their batch, `rewrite` and `rerank` if there were any, and `total`.
        """
        if not 1 <= k <= 10_000:
            raise MmragError(f"k must be between 1 and 10,000, not {k}.")
        if not queries:
            return []
        rewritten = self.rewriter.rewrite_many(queries) if self.rewriter else []
        encoded = [one.query for one in rewritten] if self.rewriter else queries
        clock = _Clock(len(queries))
        vectors = self.encode(encoded, batch_size)
        clock.lap("encode")
        found = self.search_vectors(
            queries,
            vectors,
            k,
            filter=filter,
            exclude_query_image=exclude_query_image,
            batch_size=batch_size,
        )
        clock.lap("search")
        results = [
            SearchResult(query, hits, dict(clock.shares), notes=query_notes(self.encoder, asked))
            for query, asked, hits in zip(queries, encoded, found, strict=True)
        ]
        if self.rewriter is not None:
            name = self.rewriter.name
            results = [
                replace(
                    result,
                    timings_ms={"rewrite": one.ms, **result.timings_ms},
                    rewrite=RewriteReport(name, one.text, one.problem, one.usage),
                )
                for result, one in zip(results, rewritten, strict=True)
            ]
        if self.reranker is not None:
            results = self.reranker.rerank_many(results)
        for result in results:
            result.timings_ms["total"] = sum(result.timings_ms.values())
        return results

    def encode(self, queries: Sequence[Query], batch_size: int = 32) -> Vectors:
        """(n, dim) float32 vectors of queries, unit rows."""
        return query_vectors(self.encoder, queries, batch_size)

    def search_vectors(
        self,
        queries: Sequence[Query],
        vectors: Vectors,
        k: int = 9,
        *,
        filter: str | None = None,
        exclude_query_image: bool = False,
        batch_size: int = 32,
    ) -> list[list[Hit]]:
        """The k best images for queries whose vectors are known; as `search_many`."""
        own = [_OwnPictures(query) if exclude_query_image else None for query in queries]
        extra = max((len(query.images) for query in queries), default=1)
        extra = max(1, extra) if exclude_query_image else 0
        rows: list[list[dict[str, Any]]] = []
        for start in range(0, len(queries), batch_size):
            batch = vectors[start : start + batch_size]
            rows += self.index.search(batch, k + extra, filter)
        for i, picture in enumerate(own):
            if picture is None:
                continue
            wanted = k + extra
            kept = [row for row in rows[i] if not picture.is_in(row)]
            # Several copies of the query's picture may be at the top.
            while len(kept) < k and len(rows[i]) == wanted and wanted < 16_384:
                wanted = min(4 * wanted, 16_384)
                rows[i] = self.index.search(vectors[i : i + 1], wanted, filter)[0]
                kept = [row for row in rows[i] if not picture.is_in(row)]
            rows[i] = kept[:k]
        return [[_hit(rank, row) for rank, row in enumerate(some, start=1)] for some in rows]

    def search_pool(
        self,
        query: Query,
        vector: Vectors,
        pool: tuple[str, ...],
        k: int = 9,
        *,
        exclude_query_image: bool = False,
    ) -> dict[str, float]:
        """Id to cosine of the k nearest images among some candidates, exactly; best first.

        Args:
            query: its own pictures may be left out.
            vector: the query's, (dim,).
            pool: ids of the candidates.
            k: how many.
            exclude_query_image: as for `search_many`.
        """
        own = _OwnPictures(query).is_in if exclude_query_image else None
        return self._pools.nearest(pool, vector, k, own)


class _OwnPictures:
    """Recognises the query's pictures among rows, by file and by content."""

    def __init__(self, query: Query) -> None:
        self.paths: set[str] = set()
        self.content_hashes: set[str] = set()
        for image in query.images:
            if isinstance(image, str | os.PathLike):
                path = os.path.realpath(os.fspath(image))
                self.paths.add(path)
                data = read_bytes(Path(path))
            elif isinstance(image, bytes):
                data = image
            else:
                raise MmragError(
                    "To leave the query's picture out, give it as a path or as the file's bytes."
                )
            self.content_hashes.add(hashlib.sha256(data).hexdigest())

    def is_in(self, row: dict[str, Any]) -> bool:
        return row["content_hash"] in self.content_hashes or row["path"] in self.paths


class _Clock:
    def __init__(self, queries: int) -> None:
        self.shares: dict[str, float] = {}
        self._queries = queries
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.shares[stage] = 1000 * (now - self._last) / self._queries
        self._last = now


def _hit(rank: int, row: dict[str, Any]) -> Hit:
    return Hit(
        rank=rank,
        image_id=row["image_id"],
        path=row["path"],
        score=float(row["score"]),
        retrieval_rank=rank,
        text=row["text"],
        metadata=row["metadata"] or {},
    )
