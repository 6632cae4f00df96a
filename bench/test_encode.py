"""Images, pairs and texts per second; the tutorials' loop; the share of the hardware's limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from mmrag.benchmarks.models import WORDS, open_bench_encoder
from mmrag.benchmarks.reference import count_operations, synchronise, tutorial_loop
from mmrag.encoders.encoder import Encoder, Prepared

from .conftest import product_rates
from .pictures import make_files, make_picture

SOURCES = ("files", "arrays", "composed", "texts")
PHOTO = (640, 480)


@dataclass
class Setup:
    """An encoder, and what its first batch took."""

    encoder: Encoder
    load_s: float
    first_batch_s: float
    params: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def setup(request: pytest.FixtureRequest) -> Setup:
    name, device, precision = request.param
    started = time.perf_counter()
    encoder = open_bench_encoder(name, device, precision)
    loaded = time.perf_counter()
    encoder.encode([make_picture(*PHOTO, i) for i in range(8)])
    first = time.perf_counter()
    params = {"encoder": name, "device": device, "precision": precision}
    return Setup(encoder, loaded - started, first - loaded, params)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_files(tmp_path_factory.mktemp("photos"), 4096, *PHOTO)


@cache
def operations(name: str, kind: str) -> float:
    """Counted once for each encoder and kind of input, in float32 on the CPU."""
    encoder = open_bench_encoder(name, "cpu", "fp32")
    if kind == "images":
        return count_operations(encoder, True, None)
    counted = [count_operations(encoder, kind == "composed", text) for text in WORDS]
    return sum(counted) / len(counted)


_tutorial: dict[tuple[str, str], float] = {}


def in_float32(test: Callable[..., None]) -> Callable[..., None]:
    """Runs in fp32 only."""
    test.in_float32 = True  # type: ignore[attr-defined]
    return test


@in_float32
@pytest.mark.benchmark(group="tutorial")
def test_tutorial_loop(setup: Setup, files: list[Path], benchmark: Any, quick: bool) -> None:
    loop = tutorial_loop(setup.encoder)
    few = files[: 2 if quick else 8]
    ours = torch.from_numpy(setup.encoder.encode(few[:2]))
    assert (loop(few[:2]) * ours).sum(1).min() > 0.999
    benchmark.extra_info.update(params=setup.params, items=len(few), unit="img/s")
    benchmark.pedantic(loop, (few,), rounds=1 if quick else 5, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    _tutorial[setup.params["encoder"], setup.params["device"]] = len(few) / seconds


@pytest.mark.benchmark(group="encode")
@pytest.mark.parametrize("batch", ["one", "batches"])
@pytest.mark.parametrize("source", SOURCES)
def test_encode(
    setup: Setup, source: str, batch: str, files: list[Path], benchmark: Any, quick: bool
) -> None:
    encoder, name = setup.encoder, setup.params["encoder"]
    size = 1 if batch == "one" else min(encoder.batch_size, 8 if quick else 10**6)
    prepared = [encoder.prepare(path, None).pixels for path in files[:8]]
    texts = [WORDS[i % len(WORDS)] for i in range(len(files))]

    def encode(n: int) -> None:
        if source == "files":
            encoder.encode(files[:n], batch_size=size)
        elif source == "texts":
            encoder.encode(texts=texts[:n], batch_size=size)
        else:
            words = source == "composed"
            inputs = [Prepared(prepared[i % 8], texts[i] if words else None) for i in range(n)]
            for _ in encoder.encode_stream(inputs, lambda item: item, size):
                pass

    with peak_memory(encoder) as peak:
        started = time.perf_counter()
        encode(size)
        once = time.perf_counter() - started
        # A round is about two seconds of whole batches.
        n = size if quick else size * max(1, min(len(files) // size, round(2 / once)))
        if n > size:
            encode(n)
    unit = {"composed": "pairs/s", "texts": "texts/s"}.get(source, "img/s")
    figures: dict[str, Any] = {"items": n, "unit": unit}
    figures["params"] = {**setup.params, "source": source, "batch_size": size}
    figures.update(load_s=round(setup.load_s, 2), first_batch_s=round(setup.first_batch_s, 3))
    figures["peak_memory_mb"] = round(peak())
    benchmark.pedantic(encode, (n,), rounds=1 if quick else 5 if once < 5 else 2)
    rate = n / benchmark.stats.stats.median
    counted = operations(name, source if source in ("composed", "texts") else "images")
    limit = product_rates(setup.params["device"], setup.params["precision"])
    figures["gflop_per_item"] = round(counted / 1e9, 3)
    figures["limit_gflop_per_s"] = round(limit / 1e9, 1)
    figures["limit_share"] = round(rate * counted / limit, 4)
    loop = _tutorial.get((name, setup.params["device"]))
    if source in ("files", "arrays") and loop:
        figures["times_tutorial"] = round(rate / loop, 3)
    benchmark.extra_info.update(figures)


@contextmanager
def peak_memory(encoder: Encoder) -> Iterator[Callable[[], float]]:
    """Megabytes: the GPU's largest allocation, or the process's largest resident size."""
    device = torch.device(encoder.info.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device) / 2**20
        return
    process, sizes, stop = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            sizes[0] = max(sizes[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: max(sizes[0], process.memory_info().rss) / 2**20
    finally:
        stop.set()
        watcher.join()
        synchronise(device)
