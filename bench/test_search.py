"""Search latency and recall by size of the collection and kind of index."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag import ImageIndex
from mmrag.encoders.encoder import Encoder, EncoderInfo

DIM, K, QUERIES = 768, 10, 100
SIZES = (1_000, 10_000, 100_000)


@pytest.mark.benchmark(group="search")
@pytest.mark.parametrize("where", ["lite", "server"])
@pytest.mark.parametrize("kind", ["exact", "HNSW"])
@pytest.mark.parametrize("size", SIZES)
def test_search(
    size: int,
    kind: str,
    where: str,
    benchmark: Any,
    tmp_path: Path,
    quick: bool,
    server_uri: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if where == "server" and server_uri is None:
        pytest.skip("no Milvus server: --uri, MMRAG_URI or MMRAG_TEST_MILVUS name one")
    if quick and size > SIZES[0]:
        pytest.skip("left out by --quick")
    # The index that `finish` builds depends on the number of rows; here both kinds are wanted.
    exact_rows = 10**9 if kind == "exact" else 0
    monkeypatch.setattr("mmrag.index.image_index.EXACT_ROWS", exact_rows)
    vectors, queries = _clustered(size)
    uri = str(tmp_path / "store.db") if where == "lite" else server_uri
    info = EncoderInfo("made-up", DIM, 1, "bench", "", "", "cpu", "fp32", 0)
    made_up = Encoder(None, info)  # type: ignore[arg-type]
    with ImageIndex.open(uri, f"bench_{kind}_{size}", made_up) as index:
        if index.exists():
            index.drop()
        started = time.perf_counter()
        index.create("image")
        for start in range(0, size, 5_000):
            index.write(_rows(vectors, start, min(start + 5_000, size)))
        written = time.perf_counter()
        index.finish()
        built = time.perf_counter()
        latencies, found = [], []
        for query in queries:
            began = time.perf_counter()
            rows = index.search(query[None], K)[0]
            latencies.append(1000 * (time.perf_counter() - began))
            found.append({int(row["image_id"]) for row in rows})
        nearest = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
        pairs = zip(found, nearest, strict=True)
        recall = np.mean([len(rows & set(best.tolist())) / K for rows, best in pairs])
        benchmark.extra_info.update(
            params={"where": where, "index": kind, "size": size, "dim": DIM, "k": K},
            unit="ms",
            recall=round(float(recall), 4),
            p50_ms=round(float(np.percentile(latencies, 50)), 2),
            p95_ms=round(float(np.percentile(latencies, 95)), 2),
            write_s=round(written - started, 2),
            build_s=round(built - written, 2),
        )
        turn = iter(np.resize(np.arange(QUERIES), 10 * QUERIES))
        rounds = 5 if quick else 50
        benchmark.pedantic(lambda: index.search(queries[next(turn)][None], K), rounds=rounds)
        index.drop()


def _clustered(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, dim) unit vectors around 200 centres, as embeddings are, and queries like them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, DIM), dtype=np.float32)
    noisy = centres[rng.integers(0, 200, n + QUERIES)]
    noisy += 0.7 * rng.standard_normal(noisy.shape, dtype=np.float32)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    return noisy[:n], noisy[n:]


def _rows(vectors: np.ndarray, start: int, stop: int) -> list[dict[str, Any]]:
    fixed = {"content_hash": "", "row_hash": "", "path": "p", "text": "", "metadata": {}}
    return [
        {"image_id": str(i), **fixed, "vector": vectors[i].tolist()} for i in range(start, stop)
    ]
