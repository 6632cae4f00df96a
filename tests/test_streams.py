"""Copies beside computing, CUDA graphs, and which way a GPU takes; on made-up GPUs."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmrag.encoders import graphs, load_encoder, streams
from mmrag.encoders.device import resolve_precision
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.gpu_path import GpuPath, path_for
from mmrag.encoders.graphs import Graphs
from mmrag.encoders.packed_gpu import LAYERS, quantise_linear_layers
from mmrag.encoders.streams import Lanes
from mmrag.errors import ImageError, MmragError
from mmrag.images.processes import Decoders

from .helpers import PARITY
from .late_gpu import LateGpu


def means(sent: torch.Tensor) -> torch.Tensor:
    return sent.float().mean((1, 2))


def batches(seed: int) -> list[list[np.ndarray]]:
    """Of changing sizes, the pictures of two shapes, as two encoders' would be."""
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(rng.integers(1, 5))]
        for side in rng.choice([4, 4, 4, 6], 12)
    ]


def went_wrong(gpu: LateGpu, seed: int, sloppy: bool = False) -> bool:
    """Whether a vector is not that of its picture; each is read some batches later."""
    lanes = Lanes(gpu)
    sent: list[tuple[np.ndarray, torch.Tensor, Any]] = []
    wrong = False
    for number, pixels in enumerate([*batches(seed), *[None] * 5]):
        if pixels is not None:
            right = np.stack([one.mean((0, 1), dtype=np.float64) for one in pixels])
            sent.append((right, *lanes.send(pixels, 3, means)))
            for one in pixels:
                one[:] = 0
        if number >= 5:
            right, vectors, done = sent[number - 5]
            if not sloppy:
                done.synchronize()
            wrong |= not np.allclose(vectors.numpy(), right, atol=1e-3)
    return wrong


@pytest.mark.parametrize("seed", range(40))
def test_results_do_not_depend_on_timing(seed: int) -> None:
    assert not went_wrong(LateGpu(seed), seed)


@pytest.mark.parametrize("forgotten", ["wait copying", "wait computing", "host", "result"])
def test_each_wait_is_needed(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above would notice: without any one of the waits some order gives nonsense."""
    if forgotten == "host":
        monkeypatch.setattr(Lanes, "_next", unguarded(Lanes._next))
    found = [went_wrong(LateGpu(s, forgotten), s, forgotten == "result") for s in range(40)]
    assert any(found)


def unguarded(choose: Callable[..., Any]) -> Callable[..., Any]:
    """Slots that say of their pinned memory that it has been copied from."""

    def next_slot(lanes: Lanes, shape: tuple[int, ...]) -> Any:
        slot = choose(lanes, shape)
        slot.copied = SimpleNamespace(synchronize=lambda: None)
        return slot

    return next_slot


def test_a_batch_that_failed_leaves_the_next_ones_right() -> None:
    """As when memory runs out midway."""
    lanes = Lanes(LateGpu(0))
    pixels = np.full((4, 4, 3), 7, np.uint8)

    def fails(target: torch.Tensor, function: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    gpu: Any = lanes._gpu
    for _ in range(4):
        compute, gpu.compute = gpu.compute, fails
        with pytest.raises(torch.cuda.OutOfMemoryError):
            lanes.send([pixels] * 3, 3, means)
        gpu.compute = compute
        vectors, done = lanes.send([pixels], 3, means)
        done.synchronize()
        assert vectors.tolist() == [[7, 7, 7]]


def replayed(function: graphs.Step, inputs: graphs.Inputs) -> graphs.Step:
    """As a graph is: only what lies in its own memory is seen."""
    own = [None if one is None else torch.zeros_like(one) for one in inputs]

    def step(*given: torch.Tensor | None) -> torch.Tensor:
        for mine, one in zip(own, given, strict=True):
            assert (mine is None) == (one is None)
            if mine is not None and one is not None:
                mine.copy_(one)
        return function(*own)

    return step


INPUTS: list[tuple[list[Path | None], list[str | None]]] = [
    ([PARITY / "images" / "noise.png"], ["a red mug with stripes"]),
    ([PARITY / "images" / "noise.png"], ["a " * 40]),
    ([None], ["the same in green"]),
    (sorted((PARITY / "images").glob("*.png"))[:5], [None] * 5),  # type: ignore[list-item]
    ([*sorted((PARITY / "images").glob("*.png"))[:3], None], ["a", None, "red mug", "a"]),
]


@pytest.mark.parametrize(("family", "seed"), [("bge", 0), ("bge", 1), ("bge", 2), ("clip", 0)])
def test_an_encoder_gives_the_same_vectors_on_every_path(
    family: str, seed: int, tiny: Encoder
) -> None:
    """Pictures, pairs and texts, in batches and one by one, copied late and by graphs."""
    if family == "clip":
        tiny = load_encoder("demo-clip", device="cpu", precision="fp32")
    quick = Encoder(copy.deepcopy(tiny.model), tiny.info)
    assert "graph" in tiny.model.abilities
    path = GpuPath(overlap=True, graphs=True, batch_size=2)
    gpu = LateGpu(seed)
    quick.take(path, gpu, 1e9, replayed)
    for images, texts in INPUTS:
        assert np.allclose(quick.encode(images, texts), tiny.encode(images, texts), atol=1e-5)
    assert gpu.copies
    assert quick.batch_size == 2


def test_queries_of_any_length_share_a_few_graphs(tiny: Encoder) -> None:
    recorded = []

    def record(function: graphs.Step, inputs: graphs.Inputs) -> graphs.Step:
        recorded.append([one is not None and tuple(one.shape) for one in inputs])
        return function

    quick = Encoder(copy.deepcopy(tiny.model), tiny.info)
    quick.take(GpuPath(graphs=True), LateGpu(0), 1e9, record)
    for words in range(1, 25):
        text = "mug " * words
        assert np.allclose(quick.encode(texts=[text]), tiny.encode(texts=[text]), atol=1e-5)
    assert len(recorded) == 2


def test_what_cannot_be_recorded_goes_on_without(
    tiny: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    def record(function: graphs.Step, inputs: graphs.Inputs) -> graphs.Step:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    quick = Encoder(copy.deepcopy(tiny.model), tiny.info)
    quick.take(GpuPath(graphs=True), LateGpu(0), 1e9, record)
    for _ in range(2):
        assert np.allclose(quick.encode(texts=["mug"]), tiny.encode(texts=["mug"]), atol=1e-5)
    assert [r.message for r in caplog.records] == [
        "The model could not be recorded as a CUDA graph (RuntimeError: operation not permitted "
        "when stream is capturing); going on without."
    ]


def test_memory_decides_how_many_fit() -> None:
    path = GpuPath(batch_size=512, mb_per_image=30)
    assert [path.fitting(gb * 2**30) for gb in (80, 16, 0.001)] == [512, 256, 1]
    assert GpuPath().fitting(1) == 256


def result_file(folder: Path, name: str, when: str, choices: object, **machine: Any) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    info = {"cpu": "c", "cores": 2, "gpus": ["NVIDIA H200"], "quick": False, **machine}
    document = {"machine_info": info, "datetime": when, "benchmarks": [], "choices": choices}
    (folder / name).write_text(json.dumps(document))


def test_a_path_is_what_a_result_of_that_gpu_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path))
    folder = tmp_path / "bench"
    assert path_for("NVIDIA H200") == GpuPath(
        why="no result of NVIDIA H200 is kept here; `python -m bench.gpu` writes one"
    )
    result_file(folder, "a.json", "2026-01-02", {"graphs": True, "why": "1.3 × as quick"})
    result_file(folder, "old.json", "2026-01-01", {"overlap": True})
    result_file(folder, "quick.json", "2026-01-03", {"overlap": True}, quick=True)
    result_file(folder, "other.json", "2026-01-04", {"overlap": True}, gpus=["NVIDIA H100"])
    (folder / "broken.json").write_text("[")
    found = path_for("NVIDIA H200")
    assert (found.name, found.why) == ("CUDA graphs", "1.3 × as quick (a.json)")
    monkeypatch.setenv("MMRAG_GPU_PATH", "plain")
    assert path_for("NVIDIA H200") == GpuPath(why="MMRAG_GPU_PATH says so")
    monkeypatch.delenv("MMRAG_GPU_PATH")
    for choices in ({"graphs": "yes"}, {"batch_size": 0}, {"batch_size": 2.0}):
        result_file(folder, "a.json", "2026-01-02", choices)
        assert path_for("NVIDIA H200") == GpuPath(why="the choices in a.json cannot be read")


class Calls(list[str]):
    """torch.cuda's names that are used, written down instead of done."""

    def stream(self, name: str) -> Any:
        def wait_event(event: object) -> None:
            self.append(f"{name} waits")

        def wait_stream(other: object) -> None:
            self.append(f"{name} waits for a stream")

        return SimpleNamespace(name=name, wait_event=wait_event, wait_stream=wait_stream)

    def event(self) -> Any:
        return SimpleNamespace(
            record=lambda stream: self.append(f"event on {stream.name}"), synchronize=lambda: None
        )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    made = Calls()

    @contextlib.contextmanager
    def on(stream: Any) -> Any:
        made.append(f"on {stream.name}")
        yield

    @contextlib.contextmanager
    def recording(graph: object, capture_error_mode: str) -> Any:
        made.append(f"record {capture_error_mode}")
        yield

    def pageable(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        return real(*shape, **options)

    real = torch.empty
    monkeypatch.setattr(torch, "empty", pageable)
    own, current = made.stream("own"), made.stream("current")
    cuda: dict[str, Any] = {
        "Stream": lambda *_: own,
        "Event": made.event,
        "stream": on,
        "current_stream": lambda *_: current,
        "graph": recording,
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: made.append("replay")),
    }
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return made


def test_what_torch_is_asked_for(calls: Calls) -> None:
    lanes = Lanes(streams.Cuda(torch.device("cpu")), slots=1)
    vectors, _ = lanes.send([np.full((4, 4, 3), 7, np.uint8)], 3, means)
    assert vectors.tolist() == [[7, 7, 7]]
    assert calls[2:] == [
        "own waits",
        "on own",
        "event on own",
        "current waits",
        "event on current",
        "event on current",
    ]


def test_a_graph_is_recorded_after_warming_up(calls: Calls) -> None:
    seen: list[float] = []

    def function(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        calls.append("function")
        seen.append(float(x[0]))
        return x

    step = graphs.capture(function, [torch.ones(1), None])
    assert calls == [
        "own waits for a stream",
        "on own",
        *["function"] * 3,
        "current waits for a stream",
        "record thread_local",
        "function",
    ]
    made = step(torch.full((1,), 5.0), None)
    assert calls[-1] == "replay"
    # What the graph wrote into its own memory, and a copy of it.
    assert made.tolist() == [5.0]
    step(torch.zeros(1), None)
    assert made.tolist() == [5.0]


def test_a_gpu_takes_its_path(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    """From a result file to the encoder that was built."""
    from mmrag.encoders import build

    monkeypatch.setenv("MMRAG_HOME", str(tmp_path))
    result_file(tmp_path / "bench", "a.json", "2026-01-02", {"graphs": True, "batch_size": 32})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    from mmrag import load_encoder

    encoder = load_encoder(str(tiny_folder), device="cpu", precision="fp32")
    build._take_path(encoder, torch.device("cpu"))
    assert encoder.batch_size == 32
    assert isinstance(encoder._computing._embed.__self__, Graphs)  # type: ignore[union-attr]
    monkeypatch.setenv("MMRAG_GPU_PATH", "plain")
    plain = Encoder(encoder.model, replace(encoder.info))
    build._take_path(plain, torch.device("cpu"))
    assert plain.batch_size == 64


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.999), ("fp8", 0.99)])
def test_eight_bit_layers_are_near(tiny: Encoder, precision: str, least: float) -> None:
    """With a scale for each row; few rows and many."""
    model = copy.deepcopy(tiny.model)
    quantise_linear_layers(model, precision)  # type: ignore[arg-type]
    kinds = {type(layer) for layer in model.modules()}  # type: ignore[attr-defined]
    assert LAYERS[precision] in kinds
    assert torch.nn.Linear not in kinds
    low = Encoder(model, tiny.info)
    for images, texts in INPUTS[:4]:
        cosines = (low.encode(images, texts) * tiny.encode(images, texts)).sum(1)
        assert least <= cosines.min() < 1


def test_eight_bits_are_for_devices_that_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert resolve_precision("int8", gpu) == "int8"
    with pytest.raises(MmragError, match="Ada and Hopper"):
        resolve_precision("fp8", gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert resolve_precision("fp8", gpu) == "fp8"


@pytest.mark.parametrize("family", ["bge", "clip"])
def test_other_processes_decode_the_same_pixels(
    family: str, tiny: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same errors; and when they have died, threads go on."""
    if family == "clip":
        tiny = load_encoder("demo-clip", device="cpu", precision="fp32")
    assert "square" in tiny.model.abilities
    quick = Encoder(tiny.model, tiny.info)
    quick._decoders = Decoders(1)
    image = PARITY / "images" / "noise.png"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    try:
        found, right = quick.prepare(image, None), tiny.prepare(image, None)
        assert np.array_equal(found.pixels, right.pixels)  # type: ignore[arg-type]
        assert found.looks == right.looks
        with pytest.raises(ImageError) as one:
            quick.prepare(tmp_path / "bad.png", None)
        with pytest.raises(ImageError, match=re.escape(str(one.value))):
            tiny.prepare(tmp_path / "bad.png", None)
        pool: Any = quick._decoders._pool
        next(iter(pool._processes.values())).kill()
        assert np.array_equal(quick.prepare(image, None).pixels, right.pixels)  # type: ignore[arg-type]
        assert [r.message for r in caplog.records] == [
            "The processes that decode have died; going on with threads."
        ]
    finally:
        quick._decoders.close()
