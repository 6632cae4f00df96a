"""Bring a collection up to date with a gallery: embed what is new, keep what is not."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from mmrag.encoders.encoder import Prepared
from mmrag.errors import ImageError, MmragError
from mmrag.gallery import Gallery
from mmrag.images import read_bytes
from mmrag.index.image_index import ImageIndex
from mmrag.index.schema import MAX_ID, MAX_METADATA, MAX_PATH, MAX_TEXT
from mmrag.types import GalleryImage, Skipped

# Rows wait for a full write at most this long, so that little is lost when the process is killed.
_WRITE_ROWS, _WRITE_SECONDS = 256, 5.0


@dataclass
class IndexReport:
    """What `index_gallery` did: counts, and everything that was left out, with its reason."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    embedded: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images embedded per second, files and database included."""
        return self.embedded / self.seconds if self.seconds else 0.0


@dataclass
class _Candidate:
    """An image on its way; the hashes are known once its file has been read."""

    image: GalleryImage
    content_hash: str = ""
    row_hash: str = ""


def index_gallery(
    index: ImageIndex,
    gallery: Gallery,
    *,
    embed: str = "image",
    batch_size: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> IndexReport:
    """Make the collection hold exactly the gallery's images.

    Unchanged images (same bytes, same stored fields) are not embedded again, changed ones are
    replaced, vanished and unreadable ones removed. Rows are written while it runs, so a killed
    run goes on where it was when it is started again.

    Args:
        index: opened with the encoder that embeds what is new.
        gallery: from `open_gallery` or an eval set.
        embed: what becomes the vector: "image", "text" (the description) or "both" composed.
        batch_size: images per forward pass; default: what suits the device.
        progress: called with 1 for each image that is done, in whatever way.

    Raises:
        MmragError: the gallery is empty (a collection is never emptied by mistake).
        IndexStoreError: Milvus fails; what was written is kept.
    """
    started = time.perf_counter()
    if not gallery.images:
        raise MmragError("There are no images to index.")
    index.create(embed)
    encoder = index.encoder
    assert encoder is not None
    report = IndexReport(skipped=list(gallery.skipped))
    stored = index.stored_hashes()
    step = progress or (lambda _: None)
    seen: set[str] = set()
    refresh: list[_Candidate] = []
    rows: list[dict[str, Any]] = []
    written = time.monotonic()

    def load(candidate: _Candidate) -> Prepared | None:
        """Decode an image that has to be embedded; None for one whose vector is there."""
        image = candidate.image
        data = _read(candidate, embed)
        if stored.get(image.image_id, "")[:32] == candidate.row_hash[:32]:
            return None
        return encoder.prepare(
            None if embed == "text" else data, None if embed == "image" else image.text or None
        )

    def write() -> None:
        nonlocal written
        index.write(rows)
        rows.clear()
        written = time.monotonic()

    candidates = (_Candidate(image) for image in gallery.images)
    try:
        for candidate, vector in encoder.encode_stream(candidates, load, batch_size):
            image_id = candidate.image.image_id
            step(1)
            if isinstance(vector, ImageError):
                report.skipped.append(Skipped(image_id, str(vector)))
                continue
            seen.add(image_id)
            if vector is None:
                if stored[image_id] == candidate.row_hash:
                    report.unchanged += 1
                else:
                    refresh.append(candidate)
                continue
            report.embedded += 1
            if image_id in stored:
                report.updated += 1
            else:
                report.added += 1
            rows.append(_row(candidate, vector.tolist()))
            if len(rows) >= _WRITE_ROWS or time.monotonic() - written > _WRITE_SECONDS:
                write()
    finally:
        # Also when interrupted: what is embedded is kept.
        write()
    for start in range(0, len(refresh), _WRITE_ROWS):
        some = refresh[start : start + _WRITE_ROWS]
        vectors = index.get([c.image.image_id for c in some], ["vector"])
        index.write(
            [
                _row(c, vectors[c.image.image_id]["vector"])
                for c in some
                if c.image.image_id in vectors
            ]
        )
        report.updated += len(vectors)
    vanished = sorted(set(stored) - seen)
    index.delete(vanished)
    report.removed = len(vanished)
    index.finish()
    report.skipped.sort(key=lambda skipped: skipped.path)
    report.seconds = time.perf_counter() - started
    return report


def _read(candidate: _Candidate, embed: str) -> bytes:
    """The image's bytes, and its hashes into `candidate`; ImageError for what cannot be stored."""
    image = candidate.image
    if embed == "text" and not image.text.strip():
        raise ImageError("has no text to embed")
    try:
        # The driver's own encoder: what it refuses is a reason to skip one image, not to stop.
        metadata = orjson.dumps(image.metadata, option=orjson.OPT_SORT_KEYS).decode()
        sizes = {
            "id": (len(image.image_id.encode()), MAX_ID),
            "path": (len(image.path.encode()), MAX_PATH),
            "text": (len(image.text.encode()), MAX_TEXT),
            "metadata": (len(metadata.encode()), MAX_METADATA),
        }
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise ImageError(f"its text or metadata cannot be stored: {error}") from error
    for name, (size, limit) in sizes.items():
        if size > limit:
            raise ImageError(f"its {name} is longer than {limit:,} bytes")
    data = read_bytes(image.path)
    candidate.content_hash = hashlib.sha256(data).hexdigest()
    picture = candidate.content_hash if embed != "text" else ""
    words = image.text if embed != "image" else ""
    # The first half tells whether the vector is still right, the second whether the row is.
    candidate.row_hash = _digest([embed, picture, words]) + _digest(
        [candidate.content_hash, image.path, image.text, metadata]
    )
    return data


def _digest(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _row(candidate: _Candidate, vector: list[float]) -> dict[str, Any]:
    image = candidate.image
    return {
        "image_id": image.image_id,
        "content_hash": candidate.content_hash,
        "row_hash": candidate.row_hash,
        "path": image.path,
        "text": image.text,
        "metadata": image.metadata,
        "vector": vector,
    }
