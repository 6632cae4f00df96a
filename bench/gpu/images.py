"""Images a second: the tutorials' loop, ready arrays by way and batch, files."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.gpu.quality import embed_all, session_pixels
from bench.gpu.session import Session
from bench.models import open_bench_encoder
from bench.pictures import make_files
from bench.reference import count_operations, tutorial_loop
from mmrag.encoders.gpu_path import GpuPath

# Besides the plain path. Compilation cannot be undone, so each has an encoder of its own.
WAYS = {
    "overlap": GpuPath(overlap=True),
    "graphs": GpuPath(graphs=True),
    "overlap and graphs": GpuPath(overlap=True, graphs=True),
    "compile": GpuPath(compile=True),
    "all": GpuPath(overlap=True, graphs=True, compile=True),
}
# Least speed-up over the plain path, and least cosine to its vectors, for a path to be chosen.
_QUICKER, _ALIKE = 1.03, 0.999


def tutorial(session: Session) -> None:
    """Measure the tutorials' loop in float32, one at a time, from files."""
    encoder = session.encoder("fp32")
    loop = tutorial_loop(encoder)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(Path(folder), 2 if session.quick else 32, 640, 480)
        times = session.times(lambda: loop(paths))
    session.document["tutorial"] = len(paths) / min(times)
    params = {"encoder": session.base, "precision": "fp32"}
    session.row("tutorial", "tutorial loop", times, params, "img/s", len(paths))


def batches(session: Session) -> None:
    """Measure ready arrays on the plain path and by graphs, with the memory of batches."""
    encoder, recorded = session.encoder(), session.encoder()
    memory: dict[int, float] = {}
    for size in _sizes(session):
        if session.on_gpu:
            torch.cuda.reset_peak_memory_stats(session.device)
        pixels = session_pixels(session, size * (1 if session.quick else max(2, 1024 // size)))
        times = session.times(lambda p=pixels, n=size: embed_all(encoder, p, n))  # type: ignore[misc]
        if session.on_gpu:
            memory[size] = torch.cuda.max_memory_allocated(session.device) / 2**20
        _encoded(session, "plain", "arrays", size, times, len(pixels), memory.get(size))
        if size == _usual(session):
            continue
        session.take(recorded, _sized(WAYS["graphs"], size))
        times = session.times(lambda p=pixels, n=size: embed_all(recorded, p, n))  # type: ignore[misc]
        _encoded(session, "graphs", "arrays", size, times, len(pixels))
    sizes = sorted(memory)
    if len(sizes) > 1:
        more = memory[sizes[-1]] - memory[sizes[0]]
        session.document["mb_per_image"] = round(more / (sizes[-1] - sizes[0]), 2)


def compiled(session: Session) -> None:
    """Measure compiled models, slow to compile per batch size; the size of `ways` is known."""
    for size in _sizes(session):
        if size == _usual(session) or (session.left() < 60 and not session.quick):
            continue
        encoder = session.encoder()
        session.take(encoder, _sized(WAYS["compile"], size))
        pixels = session_pixels(session, 2 * size)
        times = session.times(lambda e=encoder, p=pixels, n=size: embed_all(e, p, n), warm_up=2)  # type: ignore[misc]
        _encoded(session, "compile", "arrays", size, times, len(pixels))


def ways(session: Session) -> None:
    """Measure every path; the quickest with the same vectors is chosen."""
    size = _usual(session)
    pixels = session_pixels(session, 2 * size if session.quick else 8 * size)
    encoder = session.encoder()
    wanted = embed_all(encoder, pixels, size)
    plain = session.times(lambda: embed_all(encoder, pixels, size))
    best, gain = GpuPath(), 1.0
    for name, path in WAYS.items():
        if session.left() < 45 and not session.quick:
            break
        encoder = session.encoder()
        session.take(encoder, _sized(path, size))
        times = session.times(lambda one=encoder: embed_all(one, pixels, size), warm_up=2)  # type: ignore[misc]
        alike = float((embed_all(encoder, pixels, size) * wanted).sum(1).min())
        _encoded(session, name, "arrays", size, times, len(pixels), cosine_min=round(alike, 6))
        ratio = min(plain) / min(times)
        if ratio > max(gain, _QUICKER) and alike >= _ALIKE:
            best, gain = path, ratio
    session.path = _sized(best, size)
    session.document["choices"] = {
        "overlap": best.overlap,
        "compile": best.compile,
        "graphs": best.graphs,
        "batch_size": size,
        "mb_per_image": float(session.document.get("mb_per_image", 0.0)),
        "why": f"{gain:.2f} × as quick as the plain path" if gain > 1 else "nothing was quicker",
    }


def files(session: Session) -> None:
    """Measure JPEG files of 640 × 480, decoded on threads, on the plain and the chosen path."""
    sizes = _sizes(session)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(Path(folder), 4 if session.quick else 2048, 640, 480)
        chosen = [session.path] if session.path.name != "plain" else []
        for path in (GpuPath(), *chosen):
            encoder = session.encoder()
            for size in sizes:
                # A compiled model fits one size.
                if path.compile and size != session.path.batch_size:
                    continue
                session.take(encoder, _sized(path, size))
                times = session.times(
                    lambda e=encoder, n=size: e.encode(paths, batch_size=n),  # type: ignore[misc]
                    rounds=2,
                )
                _encoded(session, path.name, "files", size, times, len(paths))


def _usual(session: Session) -> int:
    """The batch size at which all paths are compared."""
    return 4 if session.quick else 256


def _sizes(session: Session) -> tuple[int, ...]:
    return (2, 4) if session.quick else (32, 64, 128, 256, 512)


def _sized(path: GpuPath, size: int) -> GpuPath:
    return GpuPath(path.overlap, path.compile, path.graphs, size)


def _encoded(
    session: Session,
    way: str,
    source: str,
    size: int,
    times: list[float],
    n: int,
    memory: float | None = None,
    **figures: Any,
) -> None:
    rate = n / min(times)
    counted = _operations(session.base)
    figures["gflop_per_item"] = round(counted / 1e9, 3)
    limit = session.document.get("limits", {}).get(session.precision)
    if limit:
        figures["limit_share"] = round(rate * counted / limit, 4)
    if "tutorial" in session.document:
        figures["times_tutorial"] = round(rate / session.document["tutorial"], 3)
    if memory:
        figures["peak_memory_mb"] = round(memory)
    params = {
        "encoder": session.base,
        "precision": session.precision,
        "source": source,
        "batch_size": size,
        "path": way,
    }
    session.row("encode", f"{source} {way} {size}", times, params, "img/s", n, **figures)


@cache
def _operations(name: str) -> float:
    return count_operations(open_bench_encoder(name, "cpu", "fp32"), True, None)
