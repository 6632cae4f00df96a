"""Pictures that visitors kept for use in links: by hash, under `MMRAG_HOME`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from mmrag import config
from mmrag.images.decode import load_image
from mmrag.system.durable import write_file

# One more, and the oldest picture is removed.
MAX_PICTURES = 1000


def keep_picture(data: bytes) -> str:
    """Keep a picture and return its name in links, the SHA-256 of its bytes.

    Raises:
        ImageError: it is not a readable picture.
        OSError: no space, no permission.
    """
    load_image(data)
    name = hashlib.sha256(data).hexdigest()
    write_file(_path(name), data)
    kept = sorted(_path(name).parent.iterdir(), key=lambda file: file.stat().st_mtime)
    for oldest in kept[:-MAX_PICTURES]:
        oldest.unlink(missing_ok=True)
    return name


def kept_picture(name: str) -> bytes | None:
    """The picture of this name; None if none was kept, or its file is damaged."""
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        return None
    try:
        data = _path(name).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == name else None


def _path(name: str) -> Path:
    return config.home() / "kept_pictures" / name
