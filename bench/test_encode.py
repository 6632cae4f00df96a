"""Images, pairs and texts per second; the tutorials' loop; the share of the hardware's limit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from bench.models import WORDS, open_bench_encoder
from bench.reference import count_operations, product_rate, tutorial_loop
from mmrag import config
from mmrag.encoders.encoder import Encoder, Prepared
from mmrag.encoders.sentence import SentenceModel
from mmrag.errors import MmragError

from .pictures import make_files

SOURCES = ("files", "arrays", "composed", "texts")
PHOTO = (640, 480)


@dataclass
class Setup:
    """An encoder, and the output of `bench.first_batch` for it."""

    encoder: Encoder
    params: dict[str, str]
    first: dict[str, float]


def first_of_fresh_process(*arguments: str) -> dict[str, float]:
    """The output of `bench.first_batch`."""
    command = [sys.executable, "-m", "bench.first_batch", *arguments]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def setup(request: pytest.FixtureRequest) -> Setup:
    name, device, precision = request.param
    try:
        encoder = open_bench_encoder(name, device, precision)
    except MmragError as error:
        pytest.skip(str(error))
    first = first_of_fresh_process(name, device, precision)
    params = {"encoder": name, "device": device, "precision": precision}
    if device.startswith("cuda") and config.compile_models():
        params["compiled"] = "yes"
    return Setup(encoder, params, first)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_files(tmp_path_factory.mktemp("photos"), 4096, *PHOTO)


@cache
def operations(name: str, kind: str) -> float:
    """Operations, counted once per encoder and kind of input, in float32 on the CPU."""
    encoder = open_bench_encoder(name, "cpu", "fp32")
    if kind == "images":
        return count_operations(encoder, True, None)
    counted = [count_operations(encoder, kind == "composed", text) for text in WORDS]
    return sum(counted) / len(counted)


_tutorial: dict[tuple[str, str], float] = {}


def in_float32(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test to run in fp32 only."""
    test.in_float32 = True  # type: ignore[attr-defined]
    return test


def library_seconds(model: SentenceModel, arrays: list[Any], n: int, size: int) -> float:
    """Seconds of sentence-transformers' own loop for n pictures: the median of three."""
    images: list[Any] = [{"image": Image.fromarray(arrays[i % len(arrays)])} for i in range(n)]
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        model.model.encode_document(images, batch_size=size, show_progress_bar=False)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[1]


@in_float32
@pytest.mark.benchmark(group="tutorial")
def test_tutorial_loop(setup: Setup, files: list[Path], benchmark: Any, quick: bool) -> None:
    loop = tutorial_loop(setup.encoder)
    few = files[: 2 if quick else 8]
    ours = torch.from_numpy(setup.encoder.encode(few[:2]))
    assert (loop(few[:2]) * ours).sum(1).min() > 0.999
    benchmark.extra_info.update(params=setup.params, items=len(few), unit="img/s")
    started = time.perf_counter()
    loop(few)
    once = time.perf_counter() - started
    benchmark.pedantic(loop, (few,), rounds=1 if quick else 5 if once < 5 else 2)
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

    encode(size)
    started = time.perf_counter()
    encode(size)
    once = time.perf_counter() - started
    # A round takes about two seconds, in whole batches.
    n = size if quick else size * max(1, min(len(files) // size, round(2 / once)))
    unit = {"composed": "pairs/s", "texts": "texts/s"}.get(source, "img/s")
    dim = encoder.info.dim
    figures: dict[str, Any] = {"items": n, "unit": unit, "dim": dim, "bytes_per_vector": 4 * dim}
    figures["params"] = {**setup.params, "source": source, "batch_size": size}
    if source == "files":
        figures.update({key: round(value, 3) for key, value in setup.first.items()})
    # Measure the limit in the same seconds: other machines may share the processor.
    device = torch.device(setup.params["device"])
    seconds, side = (0.1, 512) if quick else (1, None)
    before = product_rate(device, setup.params["precision"], seconds, side)
    benchmark.pedantic(encode, (n,), rounds=1 if quick else 5 if once < 5 else 2)
    limit = (before + product_rate(device, setup.params["precision"], seconds, side)) / 2
    rate = n / benchmark.stats.stats.median
    counted = operations(name, source if source in ("composed", "texts") else "images")
    figures["gflop_per_item"] = round(counted / 1e9, 3)
    figures["limit_gflop_per_s"] = round(limit / 1e9, 1)
    figures["limit_share"] = round(rate * counted / limit, 4)
    if source == "arrays" and isinstance(encoder.model, SentenceModel):
        theirs = library_seconds(encoder.model, prepared, n, size)
        figures["times_library"] = round(theirs / benchmark.stats.stats.median, 3)
    loop = _tutorial.get((name, setup.params["device"]))
    if source in ("files", "arrays") and loop:
        figures["times_tutorial"] = round(rate / loop, 3)
    benchmark.extra_info.update(figures)
