"""Update a collection from a gallery: embed what is new, keep what is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mmrag.errors import ImageError, IndexStoreError, NotStorableError
from mmrag.galleries.gallery import Gallery
from mmrag.index import odd_pictures
from mmrag.index.kinds import BuildOptions
from mmrag.index.milvus_collection import Collection
from mmrag.index.removal import check_removal, vanished
from mmrag.index.rows import Candidate, Embedder, embed_images, make_row
from mmrag.types import Skipped

# Rows wait at most this long for a full batch, so that little is lost if the process is killed.
_WRITE_ROWS, _WRITE_SECONDS = 256, 5.0


@dataclass
class IndexReport:
    """The outcome of `index_gallery`: counts, and everything left out, with the reason.

    `others` counts files that are not pictures, by extension; `notes` are sentences about how names
    and tables were understood. `flat` and `tiny` are ids of pictures that look odd (see
    `images.looks`), `repeated` the ids of those that are the same, byte for byte. `unreadable` is
    how many pictures could not be read (they are among `skipped`), `stale` the ids of those that
    keep the row from when they could be read.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    embedded: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    tiny: list[str] = field(default_factory=list)
    repeated: list[list[str]] = field(default_factory=list)
    unreadable: int = 0
    stale: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, gallery: Gallery) -> IndexReport:
        """The report as known before anything is embedded."""
        return cls(
            skipped=list(gallery.skipped),
            others=dict(gallery.others),
            notes=list(gallery.notes),
        )

    def note_looks(self, candidates: Iterable[Candidate]) -> None:
        """Fill in what is odd about the pictures in the collection."""
        before, new = odd_pictures.known(), {}
        same: dict[str, list[str]] = {}
        for candidate in candidates:
            image_id, content_hash = candidate.image.image_id, candidate.content_hash
            same.setdefault(content_hash, []).append(image_id)
            looks = candidate.looks or before.get(content_hash, ())
            if looks and content_hash not in before:
                new[content_hash] = looks
            self.flat += [image_id] if "flat" in looks else []
            self.tiny += [image_id] if "tiny" in looks else []
        odd_pictures.remember(new.items())
        self.flat.sort()
        self.tiny.sort()
        self.repeated = sorted(sorted(ids) for ids in same.values() if len(ids) > 1)

    def odd(self) -> list[tuple[str, list[str]]]:
        """Each oddity found, in words, with the ids of its pictures."""
        copies = [one for ids in self.repeated for one in ids[1:]]
        found = {"flat": self.flat, "tiny": self.tiny, "repeated": copies}
        return [(odd_pictures.WORDS[name], ids) for name, ids in found.items() if ids]

    @property
    def images_per_second(self) -> float:
        """Images embedded per second, files and database included."""
        return self.embedded / self.seconds if self.seconds else 0.0


def index_gallery(
    index: Collection,
    gallery: Gallery,
    *,
    embed: str = "image",
    batch_size: int | None = None,
    progress: Callable[[int], Any] | None = None,
    embedder: Embedder | None = None,
    build: BuildOptions | None = None,
) -> IndexReport:
    """Make the collection hold exactly the gallery's images.

    Unchanged images (same bytes, same stored fields) are not embedded again, changed ones are
    replaced, vanished ones removed. One that is there but cannot be read keeps its row. Rows are
    written while it runs, so a killed run resumes where it was when started again.

    Args:
        index: opened with the encoder that embeds what is new.
        gallery: from `open_gallery` or an eval set.
        embed: what becomes the vector: "image", "text" (the description) or "both" composed.
        batch_size: images per forward pass; default: what suits the device.
        progress: called with 1 for each image done, in whatever way.
        embedder: encodes elsewhere; `index.encoder` then only needs to know its `info`.
        build: how a new collection is made, and whether much may be removed.

    Raises:
        MmragError: the gallery is empty (a collection is never emptied by mistake).
        RemovalError: too many rows would be removed; see `BuildOptions.prune`.
        IndexStoreError: Milvus fails, or another process wrote too; what was written is kept.
    """
    started = time.perf_counter()
    gallery.check_not_empty()
    index.create(embed, build)
    encoder = index.encoder
    assert encoder is not None
    report = IndexReport.of(gallery)
    stored = index.stored_hashes()
    what, prune = f"Collection {index.collection}", build is not None and build.prune
    gone = vanished(stored, gallery)
    check_removal(what, len(stored), gone, prune)
    step = progress or (lambda _: None)
    seen: dict[str, Candidate] = {}
    refresh: list[Candidate] = []
    rows: list[dict[str, Any]] = []
    written = time.monotonic()

    def write() -> None:
        nonlocal written
        index.write(rows)
        rows.clear()
        written = time.monotonic()

    embedder = embedder or partial(embed_images, encoder, embed=embed, batch_size=batch_size)
    outcomes = embedder(gallery.images, stored)
    try:
        for candidate, vector in outcomes:
            image_id = candidate.image.image_id
            step(1)
            if isinstance(vector, ImageError):
                report.skipped.append(Skipped(image_id, str(vector)))
                if isinstance(vector, NotStorableError):
                    gone |= {image_id} & stored.keys()
                else:
                    report.unreadable += 1
                continue
            seen[image_id] = candidate
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
            rows.append(make_row(candidate, vector.tolist()))
            if len(rows) >= _WRITE_ROWS or time.monotonic() - written > _WRITE_SECONDS:
                write()
    finally:
        # Even if interrupted, what is embedded is kept.
        with closing(outcomes):
            write()
    for start in range(0, len(refresh), _WRITE_ROWS):
        some = refresh[start : start + _WRITE_ROWS]
        vectors = index.get([c.image.image_id for c in some], ["vector"])
        index.write(
            [
                make_row(c, vectors[c.image.image_id]["vector"])
                for c in some
                if c.image.image_id in vectors
            ]
        )
        report.updated += len(vectors)
    check_removal(what, len(stored), gone, prune)
    index.delete(sorted(gone))
    report.removed = len(gone)
    report.stale = sorted(stored.keys() - seen.keys() - gone)
    rows_there, expected = index.finish(), len(seen) + len(report.stale)
    if rows_there != expected:
        raise IndexStoreError(
            f"{what} holds {rows_there:,} rows instead of {expected:,}: something else wrote to it "
            "meanwhile. Run this again when it has ended."
        )
    report.note_looks(seen.values())
    report.skipped.sort(key=lambda skipped: skipped.path)
    report.seconds = time.perf_counter() - started
    return report
