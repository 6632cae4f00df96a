"""Latency of single queries; an evaluation's own timings are shares of batches."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mmrag.evaluation.run_header import sample_of
from mmrag.evaluation.stages import Variant, rank_batch
from mmrag.runs.run import Ranked, percentiles
from mmrag.search.searcher import Searcher

QUERIES = 20
_SECONDS = 2.0


def measure_latency(
    searcher: Searcher,
    variants: Sequence[Variant],
    k: int,
    *,
    exclude_query_image: bool,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Encode and search a sample of queries one by one: at most `QUERIES`, for about 2 seconds.

    Returns:
        "encode", "search" and "total" to p50, p95 and mean in milliseconds and `queries`, how many
        were measured; empty when no query can be read.
    """
    chosen = sample_of(variants, QUERIES, seed)
    # The first query of a size may take longer than all others.
    rank_batch(searcher, chosen[:1], k, exclude_query_image)
    measured: dict[str, Ranked] = {}
    end = time.monotonic() + _SECONDS
    for one in chosen:
        ranked = rank_batch(searcher, [one], k, exclude_query_image)
        measured |= {found.query_id: found for found in ranked if found.timings_ms}
        if time.monotonic() > end:
            break
    found = percentiles(measured)
    return {part: {**times, "queries": float(len(measured))} for part, times in found.items()}
