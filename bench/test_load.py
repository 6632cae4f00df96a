"""Searches per second and latency under load: by number of clients, and by recall.

Clients are threads of one process, each with one search at a time, as in the dashboard and in
`Searcher`. Recall is against exact search over the same vectors.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mmrag import ImageIndex
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.index.kinds import BuildOptions, IndexKind, SearchOptions

from .conftest import milvus_server
from .test_search import DIM, QUERIES, K, _clustered, _rows, _wait_until_idle

SIZE = 50_000
# (clients, ef): several clients with one ef, and one client with others.
CASES = [(1, 128), (8, 128), (32, 128), (80, 128), (1, 16), (1, 32), (1, 64), (1, 256), (1, 512)]


@dataclass
class Stored:
    """A collection on a store, the queries, and the nearest images of each."""

    uri: str
    name: str
    encoder: Encoder
    queries: np.ndarray
    nearest: list[set[str]]
    where: str
    size: int


@pytest.fixture(scope="module", params=["lite", "server"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stored]:
    size = 1_000 if request.config.getoption("quick") else SIZE
    vectors, queries = _clustered(size)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    info = EncoderInfo("made-up", DIM, 1, "bench", "", "", "cpu", "fp32", 0)
    made_up = Encoder(None, info)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("load")
    with (
        milvus_server(request.config, folder, request.param == "server") as uri,
        ImageIndex.open(uri, "bench_load", made_up) as index,
    ):
        if index.exists():
            index.drop()
        index.create("image", BuildOptions(IndexKind("HNSW", {"M": 16, "efConstruction": 200})))
        for start in range(0, size, 5_000):
            index.write(_rows(vectors, start, min(start + 5_000, size)))
        index.finish()
        index.search(queries[:1], K)
        _wait_until_idle(30 if size < SIZE else 900)
        nearest = [{str(i) for i in row} for row in exact]
        yield Stored(uri, "bench_load", made_up, queries, nearest, request.param, size)
        index.drop()


@pytest.mark.timeout(3600)
@pytest.mark.benchmark(group="load")
@pytest.mark.parametrize(("clients", "ef"), CASES)
def test_load(stored: Stored, clients: int, ef: int, benchmark: Any, quick: bool) -> None:
    if quick and (clients > 8 or ef not in (16, 128)):
        pytest.skip("left out by --quick")
    options = SearchOptions({"ef": ef})
    with ImageIndex.open(stored.uri, stored.name, stored.encoder, options=options) as index:
        latencies: list[float] = []

        def ask(turn: int) -> set[str]:
            began = time.perf_counter()
            rows = index.search(stored.queries[turn % QUERIES][None], K)[0]
            latencies.append(1000 * (time.perf_counter() - began))
            return {str(row["image_id"]) for row in rows}

        found = [ask(turn) for turn in range(QUERIES)]
        pairs = zip(found, stored.nearest, strict=True)
        recall = float(np.mean([len(rows & best) / K for rows, best in pairs]))
        # A round is about two seconds of one client's searches; those before were warm-up.
        alone = float(np.median(latencies)) / 1000
        n = clients * (2 if quick else max(3, round(2 / alone / clients)))
        latencies.clear()
        with ThreadPoolExecutor(clients) as pool:
            benchmark.pedantic(lambda: [*pool.map(ask, range(n))], rounds=1 if quick else 3)
        benchmark.extra_info.update(
            params={
                "where": stored.where,
                "index": "HNSW",
                "size": stored.size,
                "clients": clients,
                "ef": ef,
            },
            items=n,
            unit="queries/s",
            recall=round(recall, 4),
            p50_ms=round(float(np.percentile(latencies, 50)), 2),
            p95_ms=round(float(np.percentile(latencies, 95)), 2),
        )
