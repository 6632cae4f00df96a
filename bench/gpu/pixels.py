"""From JPEG files to pixels: threads, processes, and the GPU's own decoder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from bench.gpu.session import Session
from bench.pictures import make_files
from mmrag.encoders.encoder import Prepared
from mmrag.images.processes import Decoders, cropped
from mmrag.images.streaming import map_ahead

Decode = Callable[[Sequence[Path]], "torch.Tensor"]


def decoding(session: Session) -> None:
    """Measure each way's pictures per second, distance to Pillow's pixels and resulting cosine."""
    encoder = session.encoder("fp32")
    side = encoder.info.image_size
    n, cores = (8, 1) if session.quick else (2048, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(Path(folder), n, 640, 480)
        right = _threads(paths[:8], side, 1)
        vectors = _vectors(session, right)
        others = Decoders(cores)
        try:
            decoders: dict[str, Decode] = {
                "threads": lambda some: _threads(some, side, cores),
                "processes": lambda some: _processes(some, side, cores, others),
                "device": lambda some: _device(session, some, side),
            }
            for name, decode in decoders.items():
                try:
                    pixels = decode(paths[:8]).cpu()
                except RuntimeError as error:
                    session.document["parts"][f"decode {name}"] = {"outcome": str(error)[:200]}
                    continue
                apart = (pixels.int() - right.int()).abs()
                cosines = (_vectors(session, pixels) * vectors).sum(1)
                session.row(
                    "decode",
                    f"{name} jpg 640",
                    session.times(lambda d=decode: d(paths)),  # type: ignore[misc]
                    {
                        "format": f"jpg, {name}",
                        "width": 640,
                        "height": 480,
                        "workers": 1 if name == "device" else cores,
                    },
                    "img/s",
                    len(paths),
                    levels_mean=round(float(apart.float().mean()), 4),
                    levels_most=int(apart.max()),
                    cosine_min=round(float(cosines.min()), 6),
                )
        finally:
            others.close()


def _threads(paths: Sequence[Path], side: int, workers: int) -> torch.Tensor:
    return _stacked(lambda path: cropped(path, side)[0], paths, workers)


def _processes(paths: Sequence[Path], side: int, workers: int, others: Decoders) -> torch.Tensor:
    return _stacked(lambda path: others.cropped(path, side)[0], paths, 2 * workers)


def _stacked(
    decode: Callable[[Path], np.ndarray], paths: Sequence[Path], workers: int
) -> torch.Tensor:
    made = []
    for _, pixels in map_ahead(decode, paths, ahead=64, workers=workers):
        if isinstance(pixels, Exception):
            raise pixels
        made.append(pixels)
    return torch.from_numpy(np.stack(made))


def _device(session: Session, paths: Sequence[Path], side: int, size: int = 128) -> torch.Tensor:
    """Decode on the device (nvJPEG on a GPU), resize there with antialiasing, and crop."""
    from torchvision.io import ImageReadMode, decode_jpeg

    made = []
    for start in range(0, len(paths), size):
        data = [
            torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
            for path in paths[start : start + size]
        ]
        for one in decode_jpeg(data, ImageReadMode.RGB, session.device.type):
            height, width = one.shape[1:]
            scale = side / min(height, width)
            wanted = [round(height * scale), round(width * scale)]
            resized = F.interpolate(
                one[None].float(), wanted, mode="bicubic", antialias=True, align_corners=False
            )
            top, left = (wanted[0] - side) // 2, (wanted[1] - side) // 2
            cut = resized[0, :, top : top + side, left : left + side]
            made.append(cut.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0))
    return torch.stack(made)


def _vectors(session: Session, pixels: torch.Tensor) -> np.ndarray:
    encoder = session.encoder("fp32")
    inputs = [Prepared(one.numpy(), None) for one in pixels]
    outcomes = encoder.encode_stream(inputs, lambda item: item, workers=1)
    return np.stack([vector for _, vector in outcomes])  # type: ignore[arg-type]
