"""From a file, bytes or a Pillow image to upright 8-bit RGB pixels of the size a model wants."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from mmrag import config
from mmrag.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

ImageSource = str | os.PathLike[str] | bytes | Image.Image
Pixels = npt.NDArray[np.uint8]

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"}
    | ({".avif"} if features.check("avif") else set())
)
# Pillow only tries these decoders, whatever the file calls itself: no PostScript, PDF or SVG.
# Importing a plugin registers its format; MPO, which many cameras write, opens as JPEG.
_FORMATS = [
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    GifImagePlugin.GifImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
]
if features.check("avif"):
    from PIL import AvifImagePlugin

    _FORMATS.append(AvifImagePlugin.AvifImageFile.format)
# Sizes are checked here and broken EXIF is ignored on purpose, so neither needs a warning.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="Corrupt EXIF data", category=UserWarning)
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size only while its shorter side stays this many
# times the side that the model wants; tests/test_images.py holds the embeddings to cosine 0.999.
_DRAFT_MARGIN = 2


def load_image(
    source: ImageSource, *, min_side: int | None = None, max_pixels: int | None = None
) -> Image.Image:
    """Decode `source` into an upright 8-bit RGB image.

    Args:
        source: a path, the bytes of a file, or a Pillow image (which is not changed).
        min_side: the shorter side that is needed, in pixels. Large JPEGs are then decoded at a
            reduced size, which never goes below twice this value.
        max_pixels: limit on width x height as the file declares them, checked before decoding.
            Default: `MMRAG_MAX_PIXELS`.

    Returns:
        A Pillow image in mode RGB. Transparency is flattened onto white, EXIF orientation is
        applied, 16-bit values are scaled to 8 bits, and of several frames the first is taken.

    Raises:
        ImageError: with the reason, when the image cannot be read.
    """
    limit = config.max_pixels() if max_pixels is None else max_pixels
    try:
        if isinstance(source, Image.Image):
            _check_size(source, limit)
            return _upright_rgb(source)
        with _open(source, limit) as image:
            _check_size(image, limit)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                side = min_side * _DRAFT_MARGIN
                image.draft(None, (side, side))
            image.load()
            return _upright_rgb(image)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except IsADirectoryError:
        raise ImageError("is a folder, not a file") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except UnidentifiedImageError:
        raise ImageError("not an image in a supported format") from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than {limit:,} pixels") from None
    # Pillow's decoders raise many kinds of error on damaged files; each is a reason to skip.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        OverflowError,
        KeyError,
        TypeError,
    ) as error:
        raise ImageError(f"damaged image: {_one_line(error)}") from error
    except (struct.error, IndexError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        raise ImageError(f"damaged image: {_one_line(error)}") from error
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes; errors become `ImageError` with the same words as `load_image`."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {_one_line(error)}") from error
    if not data:
        raise ImageError("file is empty")
    return data


def resize_and_crop(
    image: Image.Image, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    """Resize the shorter side to `size` (antialiased) and cut out the centre square.

    Same pixels as torchvision's `Resize(size)` followed by `CenterCrop(size)` on a Pillow image,
    except that of very long images (more than 4 : 1) only the middle is computed.

    Returns:
        (size, size, 3) uint8.
    """
    width, height = image.size
    short, long = sorted((width, height))
    if long > 4 * short:
        middle, half = long / 2, 2 * short
        first, last = int(middle - half), int(middle + half)
        image = image.crop((0, first, width, last) if width < height else (first, 0, last, height))
        width, height = image.size
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    left = round((new_width - size) / 2.0)
    top = round((new_height - size) / 2.0)
    resized = image.resize((new_width, new_height), resample)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def _open(source: str | os.PathLike[str] | bytes, limit: int) -> Image.Image:
    if limit > (Image.MAX_IMAGE_PIXELS or 0):
        Image.MAX_IMAGE_PIXELS = limit
    if isinstance(source, bytes):
        if not source:
            raise ImageError("file is empty")
        return Image.open(io.BytesIO(source), formats=_FORMATS)
    if Path(source).is_dir():
        raise ImageError("is a folder, not a file")
    if Path(source).is_file() and Path(source).stat().st_size == 0:
        raise ImageError("file is empty")
    return Image.open(source, formats=_FORMATS)


def _check_size(image: Image.Image, limit: int) -> None:
    width, height = image.size
    if width <= 0 or height <= 0:
        raise ImageError("has no pixels")
    if width * height > limit:
        raise ImageError(
            f"{width} x {height} is more than {limit:,} pixels (MMRAG_MAX_PIXELS raises the limit)"
        )


def _upright_rgb(image: Image.Image) -> Image.Image:
    # Nonsense in EXIF must not cost a picture that decodes.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    to_8_bit = _SCALE_TO_8_BIT.get(image.mode)
    if to_8_bit is not None:
        return Image.fromarray(to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    return image.convert("RGB")


def _high_byte(values: npt.NDArray[np.generic]) -> Pixels:
    return (values.astype(np.uint16) >> 8).astype(np.uint8)


def _from_int32(values: npt.NDArray[np.generic]) -> Pixels:
    wide = np.clip(values.astype(np.int64), 0, 65535)
    return (wide >> 8 if wide.max(initial=0) > 255 else wide).astype(np.uint8)


def _from_float(values: npt.NDArray[np.generic]) -> Pixels:
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    peak = finite.max(initial=0.0)
    scale = 255.0 if peak <= 1.0 else 1.0 if peak <= 255.0 else 255.0 / peak
    return np.clip(np.rint(finite * scale), 0, 255).astype(np.uint8)


_SCALE_TO_8_BIT: dict[str, Callable[[npt.NDArray[np.generic]], Pixels]] = {
    "I;16": _high_byte,
    "I;16L": _high_byte,
    "I;16B": _high_byte,
    "I;16N": _high_byte,
    "I": _from_int32,
    "F": _from_float,
}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
