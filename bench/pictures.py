"""Made-up pictures that decode like photos: smooth shapes with some grain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_picture(width: int, height: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.normal(0, 6, (height, width, 1)).astype(np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def make_files(folder: Path, n: int, width: int, height: int, suffix: str = "jpg") -> list[Path]:
    """Make n files; from the 8th on they repeat earlier pixels, which does not affect decoding."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(n):
        path = folder / f"{i:05}.{suffix}"
        if i < 8:
            make_picture(width, height, i).save(path, quality=90)
        else:
            path.write_bytes(paths[i % 8].read_bytes())
        paths.append(path)
    return paths
