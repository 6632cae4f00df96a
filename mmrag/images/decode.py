"""From a file, bytes or a Pillow image to upright 8-bit RGB pixels of the size a model wants."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from mmrag import config
from mmrag.errors import ImageError, one_line
from mmrag.images.depth import Range, is_deep, named_range, to_8_bits
from mmrag.images.formats import DECODERS, HEAD, WEIGHTS, UnreadFormat, recognise_bytes
from mmrag.images.quiet import silence_libtiff
from mmrag.types import ImageSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pixels = npt.NDArray[np.uint8]

# Sizes are checked here, broken EXIF is ignored on purpose, and an unreadable picture is named with
# the reason, so the libraries' own warnings are not needed.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
silence_libtiff()
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size only while its shorter side stays this many
# times the side that the model wants; tests/test_images.py checks that embeddings keep cosine
# 0.999.
_DRAFT_MARGIN = 2
# Modes are converted in strips of this many pixels.
_STRIP_PIXELS = 1 << 20
# Scans of a progressive JPEG; and a limit on pixels times scans, which takes some seconds.
_USUAL_SCANS, _MAX_SCANS, _MAX_VISITS = 50, 1000, 2_000_000_000


def load_image(
    source: ImageSource, *, min_side: int | None = None, max_pixels: int | None = None
) -> Image.Image:
    """Decode `source` into an upright 8-bit RGB image.

    Args:
        source: a path, the bytes of a file, or a Pillow image (which is not changed).
        min_side: pixels needed on the shorter side. Large JPEGs are then decoded at a reduced size,
            never below twice this value.
        max_pixels: limit on width x height as the file declares them, checked before decoding.
            Default: `MMRAG_MAX_PIXELS`.

    Returns:
        A Pillow image in mode RGB. Transparency is flattened onto white, EXIF orientation is
        applied, deep grey values are scaled to 8 bits (from the range that the file names, if any),
        and the first of several frames is taken.

    Raises:
        ImageError: with the reason, when the image cannot be read.
    """
    limit = config.max_pixels() if max_pixels is None else max_pixels
    try:
        if isinstance(source, Image.Image):
            _check_size(source, limit)
            return _rgb(_upright(source, in_place=False), named_range(source))
        with _open(source, limit) as image:
            _check_size(image, limit // WEIGHTS.get(image.format or "", 1))
            _check_scans(image)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                side = min_side * _DRAFT_MARGIN
                image.draft(None, (side, side))
            named = named_range(image)
            image.load()
            return _rgb(_upright(image, in_place=True), named)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except UnidentifiedImageError:
        raise ImageError(_unidentified(source)) from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than {limit:,} pixels") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    # Pillow's decoders raise many kinds of error on damaged files; each is a reason to skip.
    except Exception as error:
        raise ImageError(f"damaged image: {_one_line(error)}") from error


def longest_side(source: ImageSource) -> int:
    """Pixels of the longer side, from the file's header; 0 if it cannot be read."""
    try:
        if isinstance(source, Image.Image):
            return max(source.size)
        with _open(source, config.max_pixels()) as image:
            return max(image.size)
    # Errors of many kinds; `load_image` reports the reason.
    except Exception:  # noqa: BLE001
        return 0


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes; errors become `ImageError`, worded as by `load_image`.

    A file of more than four bytes for each pixel that `MMRAG_MAX_PIXELS` allows is refused.
    """
    try:
        _check_file(path)
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {_one_line(error)}") from error


def _open(source: str | os.PathLike[str] | bytes, limit: int) -> Image.Image:
    if limit > (Image.MAX_IMAGE_PIXELS or 0):
        Image.MAX_IMAGE_PIXELS = limit
    if isinstance(source, bytes):
        if not source:
            raise ImageError("file is empty")
        return Image.open(io.BytesIO(source), formats=DECODERS)
    _check_file(source)
    return Image.open(source, formats=DECODERS)


def _unidentified(source: ImageSource) -> str:
    """The reason that no decoder takes it; it could be opened a moment ago."""
    if isinstance(source, str | os.PathLike):
        with contextlib.suppress(OSError), Path(source).open("rb") as file:
            source = file.read(HEAD)
    known = recognise_bytes(source[:HEAD]) if isinstance(source, bytes) else None
    return known.reason if isinstance(known, UnreadFormat) else "not an image in a supported format"


def _check_file(path: str | os.PathLike[str]) -> None:
    """Refuse pipes, which would block, and devices, which never end."""
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        raise ImageError("is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("is not a file")
    if not found.st_size:
        raise ImageError("file is empty")
    limit = 4 * config.max_pixels()
    if found.st_size > limit:
        raise ImageError(
            f"larger than {limit / 1e6:,.0f} MB (4 bytes a pixel; MMRAG_MAX_PIXELS raises the "
            "limit)"
        )


def _check_size(image: Image.Image, limit: int) -> None:
    width, height = image.size
    if width <= 0 or height <= 0:
        raise ImageError("has no pixels")
    if width * height > limit:
        raise ImageError(
            f"{width} x {height} is more than {limit:,} pixels (MMRAG_MAX_PIXELS raises the limit)"
        )


def _check_scans(image: Image.Image) -> None:
    """Limit a progressive JPEG's scans: each is a pass over all pixels, for as little as 100 bytes.

    Cameras and editors write about ten.
    """
    file = getattr(image, "fp", None)
    if not image.info.get("progressive") or file is None:
        return
    at, scans, last = file.tell(), 0, b""
    file.seek(0)
    while chunk := file.read(1 << 20):
        # This pair of bytes does not occur in the data of a scan.
        scans += (last + chunk).count(b"\xff\xda")
        last = chunk[-1:]
    file.seek(at)
    visits = scans * image.width * image.height
    if scans > _MAX_SCANS or (scans > _USUAL_SCANS and visits > _MAX_VISITS):
        raise ImageError(f"a progressive JPEG of {scans:,} scans")


def _upright(image: Image.Image, *, in_place: bool) -> Image.Image:
    # Invalid EXIF must not lose a picture that decodes.
    with contextlib.suppress(Exception):
        if not in_place:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb(image: Image.Image, named: Range | None) -> Image.Image:
    """Convert to 8-bit RGB in strips, so that memory holds little more than source and result."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    convert = _converter(image, named)
    if image.width * image.height <= _STRIP_PIXELS:
        return convert(image)
    result = Image.new("RGB", image.size)
    for box, strip in zip(_boxes(image), _strips(image), strict=True):
        result.paste(convert(strip), box)
    return result


def _boxes(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    return (image.crop(box) for box in _boxes(image))


def _converter(image: Image.Image, named: Range | None) -> Callable[[Image.Image], Image.Image]:
    """A function that converts any strip of `image` to RGB."""
    if is_deep(image):
        return to_8_bits(image, named, _strips)
    if image.has_transparency_data:
        return _onto_white
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(*profiles, "LAB", "RGB")
        return transform.apply
    return lambda strip: strip.convert("RGB")


def _onto_white(strip: Image.Image) -> Image.Image:
    rgba = strip.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _one_line(error: BaseException) -> str:
    return one_line(error) or type(error).__name__
