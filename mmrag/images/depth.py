"""Deep grey pictures to 8 bits: by the range that the file names, else that of its kind."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

Strip8 = Callable[[Image.Image], Image.Image]
Strips = Callable[[Image.Image], Iterator[Image.Image]]
_BITS, _MIN, _MAX, _S_MIN, _S_MAX = 258, 280, 281, 340, 341
# Chunks of a PNG to search before its pixels.
_CHUNKS = 64


@dataclass(frozen=True)
class Range:
    """The values that a file calls black and white; `bits` if it only says how many bits count."""

    low: float
    high: float
    bits: bool = False


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def named_range(image: Image.Image) -> Range | None:
    """The range of values that an open, still unread file names; None if it names none.

    TIFF's SMinSampleValue and SMaxSampleValue (or MinSampleValue and MaxSampleValue), a
    BitsPerSample between 9 and 15, and PNG's sBIT.
    """
    if not is_deep(image):
        return None
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        low, high = (_number(tags.get(a, tags.get(b))) for a, b in ((_S_MIN, _MIN), (_S_MAX, _MAX)))
        if high is not None and (low or 0.0) < high:
            return Range(low or 0.0, high)
        return _of_bits(_number(tags.get(_BITS)))
    if isinstance(image, PngImageFile):
        return _of_bits(_significant_bits(image))
    return None


def to_8_bits(image: Image.Image, named: Range | None, strips: Strips) -> Strip8:
    """A function that makes 8-bit RGB of any strip of a picture for which `is_deep`."""
    if named is not None and not (named.bits and _peak(image, strips) > named.high):
        low, scale = named.low, 255.0 / (named.high - named.low)
        return lambda strip: _from_array(
            np.clip(np.rint((_finite(strip).astype(np.float64) - low) * scale), 0, 255)
        )
    if image.mode.startswith("I;16"):
        return lambda strip: _from_array(np.asarray(strip).astype(np.uint16) >> 8)
    peak = _peak(image, strips)
    if image.mode == "I":
        shift = 8 if peak > 255 else 0
        return lambda strip: _from_array(np.clip(np.asarray(strip), 0, 65535) >> shift)
    factor = 255.0 if peak <= 1 else 1.0 if peak <= 255 else 255.0 / peak
    return lambda strip: _from_array(
        np.clip(np.rint(_finite(strip).astype(np.float64) * factor), 0, 255)
    )


def _of_bits(bits: float | None) -> Range | None:
    return Range(0.0, 2.0**bits - 1, bits=True) if bits is not None and 8 < bits < 16 else None


def _number(value: Any) -> float | None:
    """The first of a tag's numbers."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _significant_bits(image: PngImageFile) -> int | None:
    file = image.fp
    if file is None:
        return None
    at, bits = file.tell(), None
    file.seek(8)
    for _ in range(_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            break
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] == b"sBIT":
            bits = (file.read(1) or b"\0")[0]
            break
        file.seek(length + 4, 1)
    file.seek(at)
    return bits


def _from_array(values: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _finite(strip: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(strip, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _peak(image: Image.Image, strips: Strips) -> float:
    """The largest value (at most 65,535 for whole numbers, the largest finite one for others)."""
    peaks = []
    for strip in strips(image):
        values = _finite(strip) if image.mode == "F" else np.clip(np.asarray(strip), 0, 65535)
        peaks.append(float(values.max(initial=0)))
    return max(peaks)
