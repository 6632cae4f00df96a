"""Pictures that look the same to the eye, to measure repetition in results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmrag import config
from mmrag.errors import ImageError
from mmrag.images.decode import load_image

# Side, in pixels, of the thumbnails by which pictures are compared.
_SIDE = 16
# Thumbnails that differ by less, in the mean over pixels and colours from 0 to 255, look the same:
# resizing and strong compression stay below it, different pictures of one thing are above 15.
SAME = 8.0

Thumbnail = npt.NDArray[np.float32]


def repeated_shares(
    rankings: Sequence[Sequence[str]], paths: Mapping[str, str], k: int
) -> npt.NDArray[np.float64]:
    """(n,) share of the first k results that look like an earlier one; NaN for fewer than two.

    Args:
        rankings: image ids, best first.
        paths: of the images by id. An unreadable image counts as unlike any other.
        k: how many results.
    """
    first = [[one for one in ranking[:k] if one in paths] for ranking in rankings]
    looks = thumbnails({paths[one] for some in first for one in some})
    values = np.full(len(rankings), np.nan)
    for row, some in enumerate(first):
        if len(some) > 1:
            shown = [looks[paths[one]] for one in some]
            values[row] = _repeated(shown) / len(some)
    return values


def thumbnails(paths: Iterable[str]) -> dict[str, Thumbnail | None]:
    """Path to (16, 16, 3) float32, RGB from 0 to 255; None for an unreadable file."""
    wanted = list(paths)
    with ThreadPoolExecutor(config.decode_workers()) as threads:
        return dict(zip(wanted, threads.map(_thumbnail, wanted), strict=True))


def _repeated(shown: Sequence[Thumbnail | None]) -> int:
    """How many look like an earlier one."""
    count = 0
    for i, one in enumerate(shown):
        earlier = [other for other in shown[:i] if other is not None]
        if one is not None and earlier:
            apart = np.abs(np.stack(earlier) - one).mean(axis=(1, 2, 3))
            count += bool(apart.min() < SAME)
    return count


def _thumbnail(path: str) -> Thumbnail | None:
    try:
        stat = Path(path).stat()
        return _made(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, ImageError):
        return None


@lru_cache(maxsize=200_000)
def _made(path: str, changed: int, size: int) -> Thumbnail:
    """The thumbnail of a file as it is now: `changed` and `size` tell it from earlier versions."""
    image = load_image(path, min_side=4 * _SIDE).convert("RGB")
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small, np.float32)
