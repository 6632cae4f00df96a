"""Pairs of images whose vectors nearly agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrag.encoders.encoder import Vectors

MAX_IMAGES = 20_000


@dataclass(frozen=True)
class NearDuplicates:
    """(row, row, cosine) of the closest pairs, closest first, and how many there are in all."""

    pairs: list[tuple[int, int, float]]
    found: int


def near_duplicates(
    vectors: Vectors, threshold: float = 0.95, limit: int = 500, block: int = 1024
) -> NearDuplicates:
    """Find pairs of rows with a cosine of at least `threshold`; the `limit` closest are kept.

    Every row is compared with every other, block by block, so memory does not grow with their
    number: it holds a block's cosines and the pairs kept.

    Args:
        vectors: (n, dim) float32, unit rows.
        threshold: cosine, -1 to 1. Float32 rounding does not lose a pair at 1.
        limit: pairs to keep.
        block: rows compared at a time.
    """
    kept = np.empty((0, 3))
    found, least = 0, threshold - 1e-6
    for first in range(0, len(vectors), block):
        left = vectors[first : first + block]
        for second in range(first, len(vectors), block):
            cosines = left @ vectors[second : second + block].T
            close = cosines >= threshold - 1e-6
            if first == second:
                close = np.triu(close, k=1)
            found += int(close.sum())
            rows, columns = np.nonzero(close & (cosines >= least))
            pairs = np.column_stack([rows + first, columns + second, cosines[rows, columns]])
            kept = _closest(np.concatenate([kept, pairs]), limit)
            if len(kept) == limit:
                least = max(least, kept[-1, 2])
    pairs_of = [(int(a), int(b), min(1.0, float(cosine))) for a, b, cosine in kept]
    return NearDuplicates(pairs_of, found)


def _closest(pairs: npt.NDArray[np.float64], limit: int) -> npt.NDArray[np.float64]:
    """The pairs with the largest cosine, largest first; ties in the order of the rows."""
    if len(pairs) > limit:
        # Cheaper than sorting all; ties at the border stay until the sort.
        pairs = pairs[pairs[:, 2] >= np.partition(pairs[:, 2], -limit)[-limit]]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -pairs[:, 2]))[:limit]]
