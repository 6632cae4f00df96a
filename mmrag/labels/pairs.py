"""Pairs of pictures that a composed query could lead from and to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrag.encoders.encoder import Vectors
from mmrag.metrics.statistics import generator

# Ranks among a picture's neighbours: near ones need a fine instruction, far ones a coarse one.
BANDS = ((1, 5), (6, 20), (21, 60))
# Pictures nearer than this share of the usual distance show the same thing.
_NEAR = 0.05
NEGATIVES = 5


@dataclass(frozen=True)
class Pair:
    """Rows of two pictures, the band of their distance, and neighbours of the target.

    `negatives` are the rows nearest to the target, other than the two: what a retriever is likely
    to mistake for it.
    """

    source: int
    target: int
    band: int
    negatives: tuple[int, ...]


def draw_pairs(
    vectors: Vectors,
    number: int,
    *,
    near_duplicate: float | None = None,
    candidates: int = 1,
    seed: int = 0,
) -> list[list[Pair]]:
    """Draw sources spread over the gallery, each with pairs from one band of its neighbours.

    Sources are taken by farthest-first traversal (T. Gonzalez, 1985): each is the picture farthest
    from those taken before. Bands take turns.

    Args:
        vectors: (n, dim) float32, unit rows.
        number: of sources.
        near_duplicate: a pair with at least this cosine is left out; default: `usual_threshold`.
        candidates: pairs to offer for each source, in case some cannot be worded.
        seed: of the first source and of the choice within a band.

    Returns:
        The pairs of each source; sources without any are left out.
    """
    n = len(vectors)
    if n < 2:
        return []
    random = generator(seed, "draft")
    threshold = usual_threshold(vectors) if near_duplicate is None else near_duplicate
    found = []
    for turn, source in enumerate(_farthest_first(vectors, min(number, n), random)):
        cosines = vectors @ vectors[source]
        order = [int(row) for row in np.argsort(-cosines, kind="stable") if row != source]
        near = [row for row in order if cosines[row] < threshold]
        band = turn % len(BANDS)
        first, last = BANDS[band]
        # A small gallery has no far band: its farthest pictures serve instead.
        members = near[first - 1 : last] or near[-5:]
        drawn = random.permutation(len(members))[:candidates]
        pairs = [
            Pair(source, members[i], band, _negatives(vectors, source, members[i])) for i in drawn
        ]
        if pairs:
            found.append(pairs)
    return found


def usual_threshold(vectors: Vectors, seed: int = 0) -> float:
    """The cosine from which two pictures count as near-duplicates, for the encoder at hand.

    Encoders differ in how close their vectors lie, so it follows the median distance
    (1 - cosine) of random pairs: near-duplicates are nearer than a twentieth of it.
    """
    n = len(vectors)
    random = generator(seed, "near-duplicates")
    a, b = random.integers(0, n, 2000), random.integers(0, n, 2000)
    cosines = (vectors[a[a != b]] * vectors[b[a != b]]).sum(1)
    return float(1 - _NEAR * (1 - np.median(cosines))) if len(cosines) else 1.0


def _farthest_first(vectors: Vectors, number: int, random: np.random.Generator) -> Sequence[int]:
    taken = [int(random.integers(len(vectors)))]
    nearest = vectors @ vectors[taken[0]]
    while len(taken) < number:
        nearest[taken[-1]] = np.inf
        taken.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, vectors @ vectors[taken[-1]])
        nearest[taken] = np.inf
    return taken


def _negatives(vectors: Vectors, source: int, target: int) -> tuple[int, ...]:
    cosines = vectors @ vectors[target]
    order = np.argsort(-cosines, kind="stable")[: NEGATIVES + 2]
    return tuple(int(row) for row in order if row not in (source, target))[:NEGATIVES]
