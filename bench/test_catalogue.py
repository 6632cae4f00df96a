"""Waiting times of a user: indexing the catalogue, a query from file to grid, an evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.models import default_encoders, open_bench_encoder
from mmrag import EvalSet, ImageIndex, Query, Searcher, load_encoder, result_grid, save_grid
from mmrag.encoders.device import multiplies_int8
from mmrag.encoders.encoder import Encoder

from .conftest import CATALOGUE, devices

COMPOSED = Query(next(iter(sorted((CATALOGUE / "query_images").iterdir()))), "the same in green")


@pytest.fixture(scope="module")
def small() -> str:
    """`demo` if it ships, else an untrained encoder of its size."""
    return default_encoders()[0]


@pytest.fixture(scope="module", params=devices())
def encoder(request: pytest.FixtureRequest, small: str) -> Encoder:
    return open_bench_encoder(small, request.param, "auto")


@pytest.fixture(scope="module")
def catalogue() -> EvalSet:
    return EvalSet.load(CATALOGUE)


@pytest.fixture(scope="module")
def searcher(
    encoder: Encoder, catalogue: EvalSet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Searcher]:
    with ImageIndex.open(tmp_path_factory.mktemp("s") / "store.db", encoder=encoder) as index:
        index.add(catalogue.gallery())
        yield Searcher(index, encoder)


def params(encoder: Encoder) -> dict[str, str]:
    info = encoder.info
    return {"encoder": info.name, "device": info.device, "precision": info.precision}


@pytest.mark.benchmark(group="index")
def test_index_catalogue(
    encoder: Encoder, catalogue: EvalSet, benchmark: Any, tmp_path: Path, quick: bool
) -> None:
    gallery, names = catalogue.gallery(), iter(range(100))
    benchmark.extra_info.update(params=params(encoder), items=len(gallery.images), unit="img/s")
    with ImageIndex.open(tmp_path / "store.db", encoder=encoder) as store:

        def add() -> None:
            index = ImageIndex(store.store, f"bench_{next(names)}", encoder)
            assert index.add(gallery).added == len(gallery.images)

        benchmark.pedantic(add, rounds=1 if quick else 5, warmup_rounds=1)


@pytest.mark.benchmark(group="index")
def test_memory_of_indexing(benchmark: Any, small: str, tmp_path: Path, quick: bool) -> None:
    """Compare the peak resident size of processes that index many images and few."""
    few, many = (50, 200) if quick else (1_000, 50_000)
    peaks = {n: _index_in_a_process(n, small, tmp_path / f"{n}.db") for n in (few, many)}
    benchmark.extra_info.update(
        params={"encoder": small, "images": many},
        peak_memory_mb=round(peaks[many]),
        few_images=few,
        more_than_few_mb=round(peaks[many] - peaks[few]),
    )
    again = tmp_path / "again.db"
    benchmark.pedantic(_index_in_a_process, (few, small, again), rounds=1)


def _index_in_a_process(images: int, encoder: str, uri: Path) -> float:
    """Peak megabytes. The files of the catalogue stand for `images` images."""
    code = (
        "import json, resource, sys\n"
        "from dataclasses import replace\n"
        "from mmrag import EvalSet, ImageIndex\n"
        "from bench.models import open_bench_encoder\n"
        "from mmrag.galleries.gallery import Gallery\n"
        "catalogue, n, name, uri = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]\n"
        "have = EvalSet.load(catalogue).gallery().images\n"
        "wanted = [replace(have[i % len(have)], image_id=str(i)) for i in range(n)]\n"
        "with ImageIndex.open(uri, encoder=open_bench_encoder(name, 'cpu', 'auto')) as index:\n"
        "    report = index.add(Gallery(wanted, []))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(json.dumps([report.added, peak / (1 if sys.platform == 'darwin' else 1024)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(CATALOGUE), str(images), encoder, str(uri)],
        capture_output=True,
        text=True,
        check=True,
    )
    added, megabytes = json.loads(done.stdout.splitlines()[-1])
    assert added == images
    return float(megabytes)


@pytest.mark.benchmark(group="query")
def test_composed_query(
    searcher: Searcher, catalogue: EvalSet, benchmark: Any, quick: bool
) -> None:
    """Time a composed query in the library, models loaded; encoding includes its file."""
    both = [q.query() for q in catalogue.queries if q.image and q.text]
    timings: list[dict[str, float]] = []
    turn = cycle(both)

    def search() -> None:
        timings.append(searcher.search(next(turn), k=9).timings_ms)

    benchmark.pedantic(search, rounds=5 if quick else 200, warmup_rounds=5)
    benchmark.extra_info.update(params=params(searcher.encoder), unit="ms", **_stages(timings[5:]))


@pytest.mark.benchmark(group="query")
def test_query_to_grid(searcher: Searcher, benchmark: Any, tmp_path: Path, quick: bool) -> None:
    """Time the same with its grid: the hits' files are read, drawn side by side and saved."""
    out = tmp_path / "grid.jpg"
    timings: list[dict[str, float]] = []

    def search() -> None:
        start = time.perf_counter()
        found = searcher.search(COMPOSED, k=9)
        searched = time.perf_counter()
        save_grid(result_grid(found), out)
        end = time.perf_counter()
        grid = {"grid": 1000 * (end - searched), "total": 1000 * (end - start)}
        timings.append(found.timings_ms | grid)

    benchmark.pedantic(search, rounds=2 if quick else 50, warmup_rounds=2)
    benchmark.extra_info.update(params=params(searcher.encoder), unit="ms", **_stages(timings[2:]))


@pytest.mark.benchmark(group="query")
def test_command_line_from_cold(searcher: Searcher, benchmark: Any, quick: bool) -> None:
    """Time `mmrag search` on a running store; each query is a process of its own."""
    if searcher.encoder.info.name != "demo":
        pytest.skip("the demo encoder does not ship here")
    command = [sys.executable, "-m", "mmrag", "search", "--encoder", "demo", "--json"]
    command += ["--image", str(COMPOSED.image), "--text", str(COMPOSED.text)]
    command += ["--device", searcher.encoder.info.device, "--uri", searcher.index.store.uri]

    def search() -> None:
        done = subprocess.run(command, capture_output=True, check=True, env=os.environ)
        assert json.loads(done.stdout)["hits"]

    benchmark.extra_info.update(params=params(searcher.encoder), unit="ms")
    benchmark.pedantic(search, rounds=1 if quick else 5, warmup_rounds=1)


def _stages(timings: list[dict[str, float]]) -> dict[str, float]:
    """p50 and p95 of each stage in milliseconds."""
    figures = {}
    for stage in timings[0]:
        for percent in (50, 95):
            value = np.percentile([timing[stage] for timing in timings], percent)
            figures[f"{stage}_p{percent}_ms"] = round(float(value), 2)
    return figures


@pytest.mark.parametrize(("n", "k"), [(1000, 50), (10_000, 100)])
@pytest.mark.benchmark(group="evaluate")
def test_scoring(benchmark: Any, n: int, k: int, quick: bool) -> None:
    """Score many queries with many results each, in all default metrics."""
    from mmrag.eval_sets.eval_set import EvalQuery
    from mmrag.metrics.metrics import score_rankings

    rng = np.random.default_rng(0)
    queries = [EvalQuery(f"q{i}", None, "text") for i in range(n)]
    ids = [f"image-{i}" for i in range(5000)]
    rankings = {q.query_id: [ids[i] for i in rng.permutation(5000)[:k]] for q in queries}
    qrels = {q.query_id: {ids[i]: 1 for i in rng.integers(0, 5000, 5)} for q in queries}
    eval_set = EvalSet("bench", Path(), Path(), [], queries, qrels)
    benchmark.extra_info.update(params={"queries": n, "k": k}, unit="ms")
    rounds, warmup = (1, 0) if quick else (5, 1)
    benchmark.pedantic(score_rankings, (rankings, eval_set), rounds=rounds, warmup_rounds=warmup)


@pytest.mark.benchmark(group="evaluate")
def test_evaluate_catalogue(
    searcher: Searcher, catalogue: EvalSet, benchmark: Any, quick: bool
) -> None:
    """Evaluate all queries of the catalogue: encode, search, score, store the run."""
    from mmrag.evaluation.evaluate import evaluate

    benchmark.extra_info.update(
        params=params(searcher.encoder), items=len(catalogue.queries), unit="queries/s"
    )
    run = benchmark.pedantic(
        lambda: evaluate(catalogue, searcher, resume=False), rounds=1 if quick else 3
    )
    assert run.state == "complete"


@pytest.mark.benchmark(group="quality")
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_quality(precision: str, small: str, catalogue: EvalSet, benchmark: Any) -> None:
    """Measure the effect of a lower precision on the catalogue, by exact search in memory."""
    from bench.quality import compare_precisions

    if small != "demo":
        pytest.skip("untrained weights have no quality to lose")
    if precision == "int8" and not multiplies_int8(torch.device("cpu")):
        pytest.skip("this CPU does not multiply int8")
    reference = load_encoder(small, device="cpu", precision="fp32")
    lowered = load_encoder(small, device="cpu", precision=precision)
    outcome = benchmark.pedantic(compare_precisions, (reference, lowered, catalogue), rounds=1)
    benchmark.extra_info.update(
        params={"encoder": small, "device": "cpu", "precision": precision}, unit="ms", **outcome
    )
