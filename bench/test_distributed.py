"""Embedding over Ray workers against one process, on the same cores and the same files."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.models import default_encoders, open_bench_encoder
from mmrag import EvalSet, ImageIndex
from mmrag.distributed.worker import EncoderSpec
from mmrag.encoders.encoder import Encoder
from mmrag.galleries.gallery import Gallery

from .conftest import CATALOGUE

pytest.importorskip("ray", reason="pip install -r requirements-distributed.txt")

from mmrag.distributed.cluster import Cluster, connected
from mmrag.distributed.ray_embedder import EmbedTask, RayEmbedder
from mmrag.distributed.sources import Root

# Images for each encoder: a run takes a minute or two, and has enough blocks for a steady rate.
IMAGES = {default_encoders()[0]: 10_000, "visualized-bge-base": 192}
QUICK = {default_encoders()[0]: 1_024, "visualized-bge-base": 128}
ROUNDS = {default_encoders()[0]: 3, "visualized-bge-base": 2}


@dataclass(frozen=True)
class BenchSpec(EncoderSpec):
    """An encoder with made-up weights if there are no real ones, as in all benchmarks."""

    def load(self, threads: int, fingerprint: str | None = None) -> Encoder:
        import torch

        torch.set_num_threads(threads)
        return open_bench_encoder(self.name, self.device, self.precision)


class Clock:
    """The time at which each image was done."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def __call__(self, _: int) -> None:
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        return self.times[-1] - self.times[0]

    def rate(self, skip: int) -> float:
        """Images per second after the first `skip`, which include the start-up."""
        return (len(self.times) - 1 - skip) / (self.times[-1] - self.times[skip])


@pytest.mark.benchmark(group="ray")
@pytest.mark.parametrize("name", list(IMAGES))
def test_two_workers_against_one_process(
    name: str, benchmark: Any, tmp_path: Path, quick: bool
) -> None:
    """Compare one worker per core with one process; both read, decode, embed and write the files.

    `ratio` is the median of the rounds' steady rates, workers over one process: from the moment
    each worker has returned its first block, so without the start of Ray and loading the model.
    """
    n = (QUICK if quick else IMAGES)[name]
    have = EvalSet.load(CATALOGUE).gallery().images
    gallery = Gallery([replace(have[i % len(have)], image_id=f"{i:06}") for i in range(n)], [])
    encoder = open_bench_encoder(name, "cpu", "auto")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = iter(range(1000))
    rates: dict[str, list[float]] = {"one": [], "ray": []}
    totals: dict[str, list[float]] = {"one": [], "ray": []}

    with (
        connected(None, cores) as cluster,
        ImageIndex.open(tmp_path / "store.db", encoder=encoder) as store,
    ):
        embedder = RayEmbedder(cluster, _task(name, encoder, cluster))
        first_blocks = cluster.workers * embedder._block_size(n)

        def run(kind: str, skip: int, **options: Any) -> None:
            index, clock = ImageIndex(store.store, f"bench_{next(names)}", encoder), Clock()
            started = time.perf_counter()
            assert index.add(gallery, progress=clock, **options).added == n
            totals[kind].append(n / (time.perf_counter() - started))
            rates[kind].append(clock.rate(skip))
            index.drop()

        def both() -> None:
            run("one", 2 * encoder.batch_size)
            run("ray", first_blocks, embedder=embedder)

        benchmark.pedantic(both, rounds=1 if quick else ROUNDS[name])
    median: Callable[[list[float]], float] = statistics.median
    benchmark.extra_info.update(
        params={"encoder": name, "precision": encoder.info.precision, "workers": cluster.workers},
        images=n,
        one_process=round(median(rates["one"]), 2),
        ray=round(median(rates["ray"]), 2),
        ratio=round(median(rates["ray"]) / median(rates["one"]), 3),
        one_process_with_start=round(median(totals["one"]), 2),
        ray_with_start=round(median(totals["ray"]), 2),
        unit="s",
    )
    print(benchmark.extra_info)


def _task(name: str, encoder: Encoder, cluster: Cluster) -> EmbedTask:
    spec = BenchSpec(name, device="cpu", precision="auto")
    root = Root(str(CATALOGUE.resolve()))
    batch_size = encoder.batch_size
    return EmbedTask(spec, encoder.info.fingerprint, root, "image", batch_size, cluster.cpus)
