"""Outputs of the frozen part of a picture tower for training pictures, computed once.

Layers that are not trained give the same output for a picture at every step. So each picture goes
through them once in a few variants, and every step draws from these.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmrag import config
from mmrag.encoders.conv_tower import ConvTower
from mmrag.errors import MmragError
from mmrag.images.decode import Pixels
from mmrag.system.durable import replacing
from mmrag.training.pretrained import picture_tower

_BATCH = 32
Features = npt.NDArray[np.float16]


class FrozenFeatures:
    """Several variants of each picture; the first is the unchanged picture.

    Args:
        model: a `VisualizedBGE` whose tower is a `ConvTower`.
        depth: number of frozen layers of the tower.
        paths: the pictures.
        variants: number per picture.
        key: names what else they depend on (augmentation, seed); each key has files of its own.
        pixels: (path, generator, or None for the unchanged picture) to pixels.
        advance: called with 1 after each picture.
    """

    def __init__(
        self,
        model: Any,
        depth: int,
        paths: Sequence[str],
        variants: int,
        key: str,
        pixels: Callable[[str, np.random.Generator | None], Pixels],
        advance: Callable[[int], object] | None = None,
    ) -> None:
        if not isinstance(picture_tower(model), ConvTower):
            raise MmragError(
                "Variants are for new:visualized-bge-photos(-small), and what it became."
            )
        self._rows = {path: row for row, path in enumerate(paths)}
        folder = config.home() / "features" / _digest(model, depth, paths, key)
        self._variants = []
        for variant in range(variants):
            file = folder / f"{variant}.npy"
            if not file.is_file():
                made = self._make(model, depth, variant, pixels, advance)
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(file) as scratch, Path(scratch).open("wb") as out:
                    np.save(out, made)
            self._variants.append(np.load(file, mmap_mode="r", allow_pickle=False))
        model.lower_depth = depth

    def draw(self, path: str, rng: np.random.Generator) -> Features:
        """One variant of a picture."""
        variant = self._variants[rng.integers(len(self._variants))]
        return np.asarray(variant[self._rows[path]])

    def _make(
        self,
        model: Any,
        depth: int,
        variant: int,
        pixels: Callable[[str, np.random.Generator | None], Pixels],
        advance: Callable[[int], object] | None,
    ) -> Features:
        made = []
        paths = list(self._rows)
        with torch.inference_mode():
            for start in range(0, len(paths), _BATCH):
                batch = [
                    pixels(path, np.random.default_rng([variant, row]) if variant else None)
                    for row, path in enumerate(paths[start : start + _BATCH], start)
                ]
                made.append(model.lower(torch.from_numpy(np.stack(batch)), depth).cpu().numpy())
                if advance:
                    advance(len(batch))
        return np.concatenate(made)


def _digest(model: Any, depth: int, paths: Sequence[str], key: str) -> str:
    digest = hashlib.sha256(f"{depth} {model.image_size} {key}".encode())
    for layer in model.vision.layers()[:depth]:
        for value in layer.state_dict().values():
            digest.update(value.detach().cpu().numpy().tobytes())
    for path in paths:
        stat = os.stat(path)  # noqa: PTH116
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]
