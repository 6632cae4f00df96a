"""Exact search for queries with candidates of their own, over an index's vectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrag.encoders.encoder import Vectors
from mmrag.errors import MmragError
from mmrag.index.image_index import ImageIndex

# Bytes of vectors kept for the next query with the same candidates.
_KEPT = 512 << 20


@dataclass(frozen=True)
class _Pool:
    rows: list[dict[str, Any]]
    vectors: Vectors


class PoolVectors:
    """The vectors of pools, read once for consecutive queries."""

    def __init__(self, index: ImageIndex) -> None:
        self.index = index
        self._kept: OrderedDict[tuple[str, ...], _Pool] = OrderedDict()

    def nearest(
        self,
        pool: tuple[str, ...],
        vector: Vectors,
        k: int,
        leave_out: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, float]:
        """Id to cosine of the k nearest candidates; some that tie for the last place are left out.

        Args:
            pool: ids of the candidates; those not in the index are not found.
            vector: (dim,) float32, unit length.
            k: how many.
            leave_out: tells whether to exclude a row with path and content hash.

        Raises:
            MmragError: the index gives no vectors.
        """
        held = self._pool(pool)
        if not held.rows:
            return {}
        scores = held.vectors @ np.asarray(vector, np.float32)
        found: dict[str, float] = {}
        for place in np.argsort(-scores, kind="stable"):
            row = held.rows[place]
            if leave_out is None or not leave_out(row):
                found[row["image_id"]] = float(scores[place])
            if len(found) == k:
                break
        return found

    def _pool(self, pool: tuple[str, ...]) -> _Pool:
        if pool in self._kept:
            self._kept.move_to_end(pool)
            return self._kept[pool]
        rows = list(self.index.get(pool, ["vector", "path", "content_hash"]).values())
        if any("vector" not in row for row in rows):
            raise MmragError(
                f"Collection {self.index.collection!r} gives no vectors, which queries with "
                "candidates of their own are compared by; evaluate without --collection."
            )
        # Of equal scores, the larger id goes first, as in trec_eval.
        rows.sort(key=lambda row: str(row["image_id"]).encode(), reverse=True)
        vectors = np.array([row.pop("vector") for row in rows], np.float32)
        held = self._kept[pool] = _Pool(rows, vectors)
        while len(self._kept) > 1 and sum(o.vectors.nbytes for o in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
        return held
