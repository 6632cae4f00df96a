"""Small copies of pictures on disk, so that a page of many never reads full-size files."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

from PIL import Image

from mmrag import config
from mmrag.errors import ImageError
from mmrag.images.decode import load_image
from mmrag.types import ImageSource

SIDE = 240
# Follows the picture's own bytes, where programs that show WebP do not look.
_CHECK = struct.Struct(">I")


def thumbnail(source: ImageSource, side: int = SIDE) -> bytes:
    """A picture within `side` × `side` pixels, as WebP.

    Thumbnails of files are kept under `MMRAG_HOME/cache/thumbnails`, by path, size and time of last
    change, each with a checksum: damaged ones are made again. Those of uploads (bytes, Pillow
    images) are not kept.

    Raises:
        ImageError: the picture cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        return _shrink(source, side)
    path = os.path.realpath(source)
    try:
        seen = Path(path).stat()
    except OSError as error:
        raise ImageError(f"{error.strerror or error}") from error
    key = hashlib.sha256(f"{path}\0{seen.st_mtime_ns}\0{seen.st_size}\0{side}".encode()).hexdigest()
    kept = config.home() / "cache" / "thumbnails" / key[:2] / f"{key[2:]}.webp"
    data = _kept(kept)
    if data is None:
        data = _shrink(path, side)
        _keep(kept, data)
    return data


def data_url(source: ImageSource, side: int = SIDE) -> str | None:
    """`thumbnail` as a `data:` URL; None when the picture cannot be read."""
    try:
        return "data:image/webp;base64," + base64.b64encode(thumbnail(source, side)).decode()
    except ImageError:
        return None


def _shrink(source: ImageSource, side: int) -> bytes:
    image = load_image(source, min_side=side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=2)
    return out.getvalue()


def _kept(path: Path) -> bytes | None:
    """The bytes that `_keep` wrote, or None when they are missing or damaged."""
    try:
        held = path.read_bytes()
    except OSError:
        return None
    data, check = held[: -_CHECK.size], held[-_CHECK.size :]
    return data if data and check == _CHECK.pack(zlib.crc32(data)) else None


def _keep(path: Path, data: bytes) -> None:
    """Write whole or not at all; an unwritable state folder only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data + _CHECK.pack(zlib.crc32(data)))
        os.replace(file.name, path)
    except OSError:
        return
