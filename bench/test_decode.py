"""Images per second from files to the pixels that an encoder takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mmrag.images.decode import load_image
from mmrag.images.resize import resize_and_crop
from mmrag.images.streaming import map_ahead

from .pictures import make_files

SIZES = {"small": (160, 160), "photo": (640, 480), "large": (4000, 3000)}


@pytest.mark.benchmark(group="decode")
@pytest.mark.parametrize("workers", sorted({1, os.cpu_count() or 1}))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_decode(
    suffix: str, size: str, workers: int, benchmark: Any, tmp_path: Path, quick: bool
) -> None:
    width, height = SIZES[size]
    n = 2 if quick else max(4 * workers, 12_000_000 // (width * height) * workers)
    paths = make_files(tmp_path, min(n, 400), width, height, suffix)

    def decode() -> None:
        def one(path: Path) -> object:
            return resize_and_crop(load_image(path, min_side=224), 224)

        for _, outcome in map_ahead(one, paths, ahead=64, workers=workers):
            assert not isinstance(outcome, Exception)

    benchmark.extra_info.update(
        params={"format": suffix, "width": width, "height": height, "workers": workers},
        items=len(paths),
        unit="img/s",
    )
    benchmark.pedantic(decode, rounds=1 if quick else 5, warmup_rounds=1)
