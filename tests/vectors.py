"""Made-up vectors in a collection, without any model."""

from __future__ import annotations

import uuid

import numpy as np

from mmrag import ImageIndex
from mmrag.encoders.encoder import Encoder, EncoderInfo


def made_up(dim: int) -> Encoder:
    return Encoder(None, EncoderInfo("made-up", dim, 1, "f", "", "", "cpu", "fp32", 0))  # type: ignore[arg-type]


def rows(vectors: np.ndarray) -> list[dict[str, object]]:
    fixed = {"content_hash": "", "row_hash": "", "path": "p", "text": "", "metadata": {}}
    return [{"image_id": str(i), **fixed, "vector": v.tolist()} for i, v in enumerate(vectors)]


def unit(n: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def assert_exact_and_indexed(uri: str) -> None:
    """Not by the clock: whether rows are indexed when the command ends, Milvus itself says."""
    vectors, queries = unit(5000, 768), unit(40, 768, 1)
    with ImageIndex.open(uri, f"test_{uuid.uuid4().hex[:8]}", made_up(768)) as index:
        index.create("image")
        index.write(rows(vectors))
        index.finish()
        said = index.store.client.describe_index(index.collection, "vector")
        assert (said["indexed_rows"], said["pending_index_rows"]) == (5000, 0), said
        for query in queries:
            [found] = index.search(query[None], 9)
            exact = np.argsort(-(vectors @ query))[:9]
            assert [int(row["image_id"]) for row in found] == exact.tolist()
        index.drop()
