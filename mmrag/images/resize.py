"""From upright RGB pictures to the pixels that a model wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmrag.images.decode import Pixels

Size = tuple[int, int]
Values = npt.NDArray[np.float64]

# A result longer than this many times the wanted side is not computed as a whole.
_WHOLE = 4
# Bits of the fractions that are Pillow's weights; rows or columns computed together.
_BITS, _BLOCK = 22, 16


def resize_and_crop(
    image: Image.Image, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    """Resize the shorter side to `size` (antialiased) and cut out the centre square.

    The pixels equal torchvision's `Resize(size)` and `CenterCrop(size)` on a Pillow image; of very
    long images (more than 4 : 1) only the part cut out is computed.

    Returns:
        (size, size, 3) uint8.
    """
    return fit(image, (size, size), "shortest", resample)


def fit(
    image: Image.Image,
    size: Size,
    mode: str = "shortest",
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    fill: int = 0,
) -> Pixels:
    """Resize an image to a model's size by one of the modes of open_clip's configurations.

    Args:
        image: mode RGB.
        size: height and width.
        mode: "shortest" fills the frame and crops the rest, "longest" fits the whole image in and
            pads with `fill`, "squash" ignores its shape.
        resample: the filter.
        fill: 0 to 255.

    Returns:
        (height, width, 3) uint8, as open_clip's own transforms give it.
    """
    height, width = size
    if mode == "squash":
        return np.asarray(image.resize((width, height), resample))
    ratios = image.width / width, image.height / height
    if mode == "longest":
        new = _scaled(image.size, max(ratios))
    elif width != height:
        new = _scaled(image.size, min(ratios))
        # open_clip names no filter here, so its class's default is used.
        resample = Image.Resampling.BICUBIC
    elif image.width <= image.height:
        new = width, int(width * image.height / image.width)
    else:
        new = int(width * image.width / image.height), width
    left, top = (round((n - kept) / 2.0) for n, kept in zip(new, (width, height), strict=True))
    kept = min(width, new[0]), min(height, new[1])
    part = np.asarray(_part(image, new, (max(0, left), max(0, top)), kept, resample))
    if kept == (width, height):
        return part
    framed = np.full((height, width, 3), fill, np.uint8)
    x, y = (width - kept[0]) // 2, (height - kept[1]) // 2
    framed[y : y + kept[1], x : x + kept[0]] = part
    return framed


def _scaled(size: Size, ratio: float) -> Size:
    width, height = (max(1, round(side / ratio)) for side in size)
    return width, height


def _part(
    image: Image.Image, new: Size, at: Size, kept: Size, resample: Image.Resampling
) -> Image.Image:
    """The part of `image.resize(new)` that begins at `at` and has size `kept` (widths first)."""
    axis = 0 if new[0] > _WHOLE * kept[0] else 1
    if new[axis] <= _WHOLE * kept[axis] or resample not in _FILTERS:
        left, top = at
        return image.resize(new, resample).crop((left, top, left + kept[0], top + kept[1]))
    # Pillow resizes one axis after the other, with 8 bits in between. The order depends on the
    # whole image (Pillow 13, ImagingResampleInner), so its own `box` cannot give a part.
    fewer = image.width - new[0], image.height - new[1]
    vertical_first = fewer[1] > max(0, 2 * fewer[0])
    weights = _weights(image.size[axis], new[axis], at[axis], kept[axis], resample)
    begin, end = weights[0][0], weights[-1][0] + len(weights[-1][1])
    image = image.crop((begin, 0, end, image.height) if axis == 0 else (0, begin, image.width, end))
    for step in (1, 0) if vertical_first else (0, 1):
        if step == axis:
            image = _weighted(image, axis, begin, weights)
        else:
            whole = (new[0], image.height) if step == 0 else (image.width, new[1])
            image = image.resize(whole, resample)
    return image


def _cubic(x: Values) -> Values:
    near, far = (1.5 * x - 2.5) * x * x + 1, -0.5 * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _linear(x: Values) -> Values:
    return np.maximum(0.0, 1 - x)


# How far a filter reaches, and its values at distances from the centre.
_FILTERS = {Image.Resampling.BICUBIC: (2.0, _cubic), Image.Resampling.BILINEAR: (1.0, _linear)}


def _weights(
    length: int, new: int, first: int, count: int, resample: Image.Resampling
) -> list[tuple[int, Values]]:
    """The start and the weights of the sources of `count` of the `new` values along an axis.

    As Pillow computes them for 8-bit images: whole numbers, where 2^22 stands for one.
    """
    reach, values = _FILTERS[resample]
    scale = length / new
    wide = max(1.0, scale)
    weights = []
    for i in range(first, first + count):
        centre = (i + 0.5) * scale
        begin = max(0, int(centre - reach * wide + 0.5))
        end = min(length, int(centre + reach * wide + 0.5))
        found = values(np.abs((np.arange(begin, end) - centre + 0.5) / wide))
        scaled = found / found.sum() * (1 << _BITS)
        weights.append((begin, np.trunc(scaled + np.copysign(0.5, scaled))))
    return weights


def _weighted(
    image: Image.Image, axis: int, begin: int, weights: Sequence[tuple[int, Values]]
) -> Image.Image:
    """One pass over an image whose first row (or column) is number `begin`."""
    sources = np.moveaxis(np.asarray(image), 1 - axis, 0)
    across = sources.shape[1]
    result = np.empty((len(weights), across, 3), np.uint8)
    for start in range(0, len(weights), _BLOCK):
        some = weights[start : start + _BLOCK]
        low, high = some[0][0], some[-1][0] + len(some[-1][1])
        matrix = np.zeros((len(some), high - low))
        for row, (at, values) in zip(matrix, some, strict=True):
            row[at - low : at - low + len(values)] = values
        # Sums of whole numbers below 2^53 are exact.
        block = sources[low - begin : high - begin].reshape(high - low, -1).astype(np.float64)
        sums = np.floor((matrix @ block + (1 << (_BITS - 1))) / (1 << _BITS))
        result[start : start + len(some)] = np.clip(sums, 0, 255).reshape(len(some), across, 3)
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(result, 0, 1 - axis)))
