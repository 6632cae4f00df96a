"""The stages of an evaluation: rankings are made in batches and stored as they come.

An interrupted run has the same batches as any other, and so the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from mmrag.errors import Cancelled, ImageError
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.metrics.metrics import trec_order
from mmrag.rerank.reranker import Reranker
from mmrag.runs.run import REWRITTEN, Ranked
from mmrag.runs.store import RunStore
from mmrag.search.rewrite import Rewriter, Rewritten
from mmrag.search.searcher import Searcher
from mmrag.system.jobs import Progress
from mmrag.types import GalleryImage, Hit, Query, SearchResult

# Outcomes are stored one by one; a batch of queries keeps a server's connections busy.
_RERANK_BATCH = 128


@dataclass(frozen=True)
class Variant:
    """A labelled query as it is encoded: whole, in part, or in other words."""

    labelled: EvalQuery
    query: Query


class Ranker(Protocol):
    """A ranker of batches of queries elsewhere, with the searcher's encoder and index."""

    def __call__(
        self, batches: Sequence[Sequence[Variant]], k: int, exclude_query_image: bool
    ) -> Iterator[list[Ranked]]:
        """The results of `rank_batch` for each batch, in order."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a run notes."""


class Stages:
    """Makes and stores the rankings of one run.

    Args:
        store: where they are kept.
        run_id: the run they belong to.
        batch_size: queries per batch.
        on_progress: called after each batch or reranked query.
        should_stop: called between them; when true, `Cancelled` is raised.
        ranker: ranks instead of this process.
        pictures: path to SHA-256 of the queries' pictures, kept with their rankings.
    """

    def __init__(
        self,
        store: RunStore,
        run_id: str,
        batch_size: int,
        on_progress: Callable[[Progress], Any] | None,
        should_stop: Callable[[], bool] | None,
        ranker: Ranker | None = None,
        pictures: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.run_id = run_id
        self.batch_size = batch_size
        self._on_progress = on_progress or (lambda _: None)
        self._should_stop = should_stop or (lambda: False)
        self._ranker = ranker
        self._pictures = pictures or {}

    def retrieve(
        self,
        stage: str,
        searcher: Searcher,
        variants: Sequence[Variant],
        k: int,
        *,
        exclude_query_image: bool,
        rewritten: Mapping[str, Ranked] | None = None,
    ) -> dict[str, Ranked]:
        """Rank the gallery for each query, resuming an interrupted run.

        A query whose picture cannot be read gets an empty ranking and its `reason`. The words that
        `rewrite` gave, and what they took, are kept with their query.
        """
        done = self.store.read(self.run_id, stage)
        self.report(stage, len(done), len(variants))
        batches = [
            batch
            for batch in self._batches(variants, self.batch_size)
            if not all(one.labelled.query_id in done for one in batch)
        ]
        if batches:
            self.check_stop()
        if self._ranker is not None:
            rankings = self._ranker(batches, k, exclude_query_image)
        else:
            rankings = (rank_batch(searcher, one, k, exclude_query_image) for one in batches)
        pictures = {
            one.labelled.query_id: self._pictures[one.labelled.image]
            for one in variants
            if one.labelled.image and one.labelled.image in self._pictures
        }
        for left, found in enumerate(rankings, start=1):
            ranked = [_with_picture(one, pictures) for one in found]
            ranked = [_with_words(one, (rewritten or {}).get(one.query_id)) for one in ranked]
            self.store.write(self.run_id, stage, ranked)
            done.update((one.query_id, one) for one in ranked)
            self.report(stage, len(done), len(variants))
            if left < len(batches):
                self.check_stop()
        return done

    def rewrite(
        self, rewriter: Rewriter, variants: Sequence[Variant], first: Mapping[str, Ranked]
    ) -> tuple[list[Variant], dict[str, Ranked]]:
        """Put queries into other words; each is stored as soon as it is ready.

        Args:
            rewriter: gives the words.
            variants: the queries.
            first: queries already ranked, which keep their words and are not rewritten again.

        Returns:
            The queries as they are encoded, and what was stored.
        """
        done = self.store.read(self.run_id, REWRITTEN)
        missing = [v for v in variants if v.labelled.query_id not in (done.keys() | first.keys())]
        total = len(done) + len(missing)
        self.report(REWRITTEN, len(done), total)
        if missing:
            self.check_stop()

        def keep(position: int, outcome: Rewritten) -> None:
            query_id = missing[position].labelled.query_id
            said = {"rewritten": outcome.text, "rewrite_problem": outcome.problem}
            details = {key: value for key, value in said.items() if value is not None}
            one = Ranked(query_id, [], [], {"rewrite": outcome.ms}, outcome.usage, details)
            self.store.write(self.run_id, REWRITTEN, [one])
            done[query_id] = one
            self.report(REWRITTEN, len(done), total)
            self.check_stop()

        rewriter.rewrite_many([one.query for one in missing], keep)
        words = {query_id: one.details.get("rewritten") for query_id, one in first.items()}
        words |= {query_id: one.details.get("rewritten") for query_id, one in done.items()}
        asked = []
        for one in variants:
            text = words.get(one.labelled.query_id)
            asked.append(replace(one, query=rewriter.rewritten(one.query, text)) if text else one)
        return asked, done

    def rerank(
        self,
        stage: str,
        reranker: Reranker,
        queries: Sequence[EvalQuery],
        first: Mapping[str, Ranked],
        images: Mapping[str, GalleryImage],
        rerank_k: int,
    ) -> dict[str, Ranked]:
        """Reorder the first `rerank_k` of each ranking; each is stored as soon as it is ready."""
        done = self.store.read(self.run_id, stage)
        self.report(stage, len(done), len(queries))

        def wait(there: int, of: int) -> None:
            self.report(f"{stage}, batch", there, of)
            self.check_stop()

        reranker.on_wait = wait
        size = max(_RERANK_BATCH, self.batch_size, reranker.together)
        for batch in self._batches(queries, size):
            missing = [query for query in batch if query.query_id not in done]
            if not missing:
                continue
            self.check_stop()

            def keep(position: int, result: SearchResult, missing: Any = missing) -> None:
                ranked = _reranked(first[missing[position].query_id], result)
                self.store.write(self.run_id, stage, [ranked])
                done[ranked.query_id] = ranked
                self.report(stage, len(done), len(queries))
                self.check_stop()

            results = [_result(q, first[q.query_id], images, rerank_k) for q in missing]
            reranker.rerank_many(results, keep)
        return done

    def read(self, stage: str) -> dict[str, Ranked]:
        """The stored rankings of a stage, by query id."""
        return self.store.read(self.run_id, stage)

    def check_stop(self) -> None:
        """Raise `Cancelled` if a stop was requested."""
        if self._should_stop():
            raise Cancelled("Stopped on request; what was finished is kept.")

    def report(self, stage: str, done: int, total: int) -> None:
        """Report a stage's progress."""
        self._on_progress(Progress(stage, done, total))

    def _batches(self, items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
        for start in range(0, len(items), size):
            yield items[start : start + size]


def rank_batch(
    searcher: Searcher, batch: Sequence[Variant], k: int, exclude_query_image: bool
) -> list[Ranked]:
    """The rankings of one batch; a query whose picture cannot be read has an empty one."""
    try:
        return _rank(searcher, batch, k, exclude_query_image)
    except ImageError:
        reasons = {one.labelled.query_id: _unreadable(searcher, one) for one in batch}
    readable = [one for one in batch if reasons[one.labelled.query_id] is None]
    unreadable = [
        Ranked(query_id, [], [], details={"reason": reason})
        for query_id, reason in reasons.items()
        if reason is not None
    ]
    return _rank(searcher, readable, k, exclude_query_image) + unreadable


def _with_words(ranked: Ranked, rewritten: Ranked | None) -> Ranked:
    if rewritten is None or "reason" in ranked.details:
        return ranked
    return replace(
        ranked,
        timings_ms={**rewritten.timings_ms, **ranked.timings_ms},
        usage=rewritten.usage,
        details={**ranked.details, **rewritten.details},
    )


def _with_picture(ranked: Ranked, pictures: Mapping[str, str]) -> Ranked:
    if ranked.query_id not in pictures:
        return ranked
    return replace(ranked, details={**ranked.details, "picture": pictures[ranked.query_id]})


def _rank(
    searcher: Searcher, batch: Sequence[Variant], k: int, exclude_query_image: bool
) -> list[Ranked]:
    if not batch:
        return []
    started = time.perf_counter()
    vectors = searcher.encode([one.query for one in batch], len(batch))
    encoded = time.perf_counter()
    found = _search(searcher, batch, vectors, k, exclude_query_image)
    searched = time.perf_counter()
    timings = {
        "encode": 1000 * (encoded - started) / len(batch),
        "search": 1000 * (searched - encoded) / len(batch),
    }
    subsets = _subset_orders(searcher, batch, vectors)
    ranked = []
    for one, scores in zip(batch, found, strict=True):
        order = trec_order(scores)
        query_id = one.labelled.query_id
        details = {"subset": subsets[query_id]} if query_id in subsets else {}
        values = [scores[image_id] for image_id in order]
        ranked.append(Ranked(query_id, order, values, dict(timings), details=details))
    return ranked


def _search(
    searcher: Searcher,
    batch: Sequence[Variant],
    vectors: np.ndarray[Any, Any],
    k: int,
    exclude_query_image: bool,
) -> list[dict[str, float]]:
    """Id to score of what each query finds: in the gallery, or among its own candidates."""
    found: dict[int, dict[str, float]] = {}
    whole = [i for i, one in enumerate(batch) if not one.labelled.pool]
    # The labelled query's picture is left out even where only its text is searched.
    if whole:
        hits = searcher.search_vectors(
            [batch[i].labelled.query() for i in whole],
            vectors[whole],
            k,
            exclude_query_image=exclude_query_image,
            batch_size=len(batch),
        )
        for i, some in zip(whole, hits, strict=True):
            found[i] = {hit.image_id: hit.score for hit in some}
    for i, one in enumerate(batch):
        if one.labelled.pool:
            found[i] = searcher.search_pool(
                one.labelled.query(),
                vectors[i],
                one.labelled.pool,
                k,
                exclude_query_image=exclude_query_image,
            )
    return [found[i] for i in range(len(batch))]


def _subset_orders(
    searcher: Searcher, batch: Sequence[Variant], vectors: np.ndarray[Any, Any]
) -> dict[str, list[str]]:
    """The order of each query's own subset (CIRR), which the first k may not reach."""
    subsets = {
        one.labelled.query_id: [str(i) for i in one.labelled.metadata.get("subset") or ()]
        for one in batch
    }
    members = sorted({image_id for subset in subsets.values() for image_id in subset})
    if not members:
        return {}
    rows = searcher.index.get(members, ["vector"])
    orders = {}
    for one, vector in zip(batch, vectors, strict=True):
        present = [i for i in subsets[one.labelled.query_id] if i in rows]
        if present:
            scores = {i: float(np.asarray(rows[i]["vector"], np.float32) @ vector) for i in present}
            orders[one.labelled.query_id] = trec_order(scores)
    return orders


def _unreadable(searcher: Searcher, one: Variant) -> str | None:
    """Why a query's picture cannot be read; None when it can."""
    for path in one.labelled.pictures or (None,):
        try:
            searcher.encoder.prepare(path, one.query.text)
        except ImageError as error:
            return str(error)
    return None


def _result(
    query: EvalQuery, first: Ranked, images: Mapping[str, GalleryImage], rerank_k: int
) -> SearchResult:
    best = zip(first.image_ids[:rerank_k], first.scores, strict=False)
    hits = [
        Hit(rank, i, images[i].path, score, rank, images[i].text, images[i].metadata)
        for rank, (i, score) in enumerate(best, start=1)
    ]
    return SearchResult(query.query(), hits, dict(first.timings_ms))


def _reranked(first: Ranked, result: SearchResult) -> Ranked:
    """The candidates in their new order, followed by the results that were not reranked."""
    details: dict[str, Any] = {}
    if result.explanation:
        details["explanation"] = result.explanation
    if result.rerank is not None:
        details["status"] = result.rerank.status
        if result.rerank.problems:
            details["problems"] = list(result.rerank.problems)
        told = result.rerank.details
        details |= {key: told[key] for key in ("stages", "memory_mb") if key in told}
    looked_at = len(result.hits)
    return replace(
        first,
        image_ids=[hit.image_id for hit in result.hits] + first.image_ids[looked_at:],
        scores=[hit.score for hit in result.hits] + first.scores[looked_at:],
        timings_ms={"rerank": result.timings_ms.get("rerank", 0.0)},
        usage=result.rerank.usage if result.rerank else None,
        details=details,
    )
