"""Bring a collection up to date with a gallery: embed what is new, keep what is not."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mmrag.encoders.encoder import Prepared
from mmrag.errors import ImageError, MmragError
from mmrag.gallery import Gallery
from mmrag.images import read_bytes
from mmrag.index.image_index import (
    MAX_ID,
    MAX_METADATA,
    MAX_PATH,
    MAX_TEXT,
    ImageIndex,
)
from mmrag.streaming import map_ahead
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


@dataclass(frozen=True)
class _Candidate:
    image: GalleryImage
    data: bytes
    content_hash: str
    row_hash: str


def index_gallery(
    index: ImageIndex,
    gallery: Gallery,
    *,
    embed: str = "image",
    batch_size: int = 32,
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
        batch_size: images per forward pass.
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

    def changed() -> Iterator[_Candidate]:
        """Candidates to embed; the rest is counted, skipped, or put aside for `refresh`."""
        for image, outcome in map_ahead(lambda i: _read(i, embed), gallery.images, ahead=64):
            if isinstance(outcome, ImageError):
                report.skipped.append(Skipped(image.image_id, str(outcome)))
                step(1)
                continue
            if isinstance(outcome, Exception):
                raise outcome
            old = stored.get(image.image_id)
            if old == outcome.row_hash:
                seen.add(image.image_id)
                report.unchanged += 1
                step(1)
            elif old is not None and old[:32] == outcome.row_hash[:32]:
                refresh.append(outcome)
            else:
                yield outcome

    rows: list[dict[str, Any]] = []
    written = time.monotonic()

    def write() -> None:
        nonlocal written
        pending, rows[:] = list(rows), []
        index.write(pending)
        written = time.monotonic()

    def load(candidate: _Candidate) -> Prepared:
        return encoder.prepare(
            None if embed == "text" else candidate.data,
            None if embed == "image" else candidate.image.text or None,
        )

    try:
        for candidate, vector in encoder.encode_stream(changed(), load, batch_size):
            image_id = candidate.image.image_id
            step(1)
            if isinstance(vector, ImageError):
                report.skipped.append(Skipped(image_id, str(vector)))
                continue
            seen.add(image_id)
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
        index.write([_row(c, vectors[c.image.image_id]["vector"]) for c in some])
        seen.update(c.image.image_id for c in some)
        report.updated += len(some)
        step(len(some))
    vanished = sorted(set(stored) - seen)
    index.delete(vanished)
    report.removed = len(vanished)
    index.finish()
    report.skipped.sort(key=lambda skipped: skipped.path)
    report.seconds = time.perf_counter() - started
    return report


def _read(image: GalleryImage, embed: str) -> _Candidate:
    """The image's bytes and hashes; raises ImageError for what Milvus cannot hold."""
    if embed == "text" and not image.text.strip():
        raise ImageError("has no text to embed")
    try:
        metadata = json.dumps(image.metadata, ensure_ascii=False, sort_keys=True)
        sizes = {
            "id": (len(image.image_id.encode()), MAX_ID),
            "path": (len(image.path.encode()), MAX_PATH),
            "text": (len(image.text.encode()), MAX_TEXT),
            "metadata": (len(metadata.encode()), MAX_METADATA),
        }
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise ImageError(f"its text or metadata cannot be stored: {error}") from error
    if not image.image_id.isprintable():
        raise ImageError("its name has control characters")
    for name, (size, limit) in sizes.items():
        if size > limit:
            raise ImageError(f"its {name} is longer than {limit:,} bytes")
    data = read_bytes(image.path)
    content_hash = hashlib.sha256(data).hexdigest()
    embedded = [
        embed,
        content_hash if embed != "text" else "",
        image.text if embed != "image" else "",
    ]
    stored = [content_hash, image.path, image.text, metadata]
    # The first half tells whether the vector is still right, the second whether the row is.
    return _Candidate(image, data, content_hash, _digest(embedded) + _digest(stored))


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
