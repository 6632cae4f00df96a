"""Build a new collection beside the one in use, and switch when it is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from mmrag.errors import MmragError
from mmrag.index import collections
from mmrag.index.bulk import BulkLoad
from mmrag.index.kinds import BuildOptions, default_kind
from mmrag.index.milvus_collection import Collection
from mmrag.index.removal import check_removal, vanished
from mmrag.index.schema import STORED_FIELDS
from mmrag.index.update import IndexReport, index_gallery

if TYPE_CHECKING:
    from mmrag.galleries.gallery import Gallery
    from mmrag.index.rows import Embedder

# The old collection answers searches that began before the switch.
GRACE_SECONDS = 3.0
_ROWS = 1000


def replace_collection(
    index: Collection,
    gallery: Gallery,
    *,
    embed: str = "image",
    batch_size: int | None = None,
    progress: Callable[[int], Any] | None = None,
    embedder: Embedder | None = None,
    build: BuildOptions,
) -> IndexReport:
    """Make a new collection hold the gallery's images, let the name stand for it, drop the old one.

    Until then the old collection answers searches and stays untouched. Vectors of the same encoder
    are copied, so only new and changed pictures are embedded, and a picture that cannot be read now
    keeps its row; with another encoder it cannot, and counts as removed. The next run with the same
    settings continues an interrupted one; a run with other settings removes its remains.

    Args:
        index: its `encoder` may differ from the old collection's.
        build: how the new collection is made; nothing is taken over from the old one.

    The other arguments, the result and the errors are those of `index_gallery`.
    """
    started = time.perf_counter()
    gallery.check_not_empty()
    if build.bulk_storage and index.store.is_local:
        raise MmragError("Milvus Lite has no bulk load; leave --bulk-storage out.")
    notes = index.notes(embed, build)
    kind = build.kind or default_kind(index.store.is_local, rows=0)
    old = collections.describe(index.store, index.collection)[1] if index.exists() else None
    with index.store.write_lock(index.collection):
        made = collections.make(
            index.store, index.collection, notes, kind, empty=build.bulk_storage is not None
        )
    beside = Collection(index.store, made, index.encoder, index.options)
    same = ("fingerprint", "precision", "embed")
    copying = old is not None and all(old[name] == notes[name] for name in same)
    held = index.stored_hashes() if old is not None else {}
    what = f"Collection {index.collection}"
    check_removal(what, len(held), vanished(held, gallery), build.prune)
    with _bulk_load(beside, build.bulk_storage):
        if copying:
            _copy(index, beside)
            # A bulk load takes only rows that are not there yet; after this one, most are.
            beside.load_bulk()
        report = index_gallery(
            beside,
            gallery,
            embed=embed,
            batch_size=batch_size,
            progress=progress,
            embedder=embedder,
            build=build,
        )
    if beside.info().rows == 0:
        raise MmragError(
            f"No image could be indexed, so {index.collection!r} stays as it is: "
            f"{report.skipped[0].path}: {report.skipped[0].reason}."
        )
    lost = held.keys() - beside.stored_hashes().keys()
    check_removal(what, len(held), lost, build.prune)
    with index.store.write_lock(index.collection):
        retired = collections.switch(index.store, index.collection, made)
        if index.store.row_counts is not None:
            index.store.row_counts.put_names_through()
    if retired is not None:
        time.sleep(GRACE_SECONDS)
        collections.drop(index.store, retired)
    report.seconds = time.perf_counter() - started
    return report


@contextmanager
def _bulk_load(beside: Collection, storage: str | None) -> Iterator[None]:
    """Send rows for the new collection as files, which are removed afterwards."""
    if storage is None:
        yield
        return
    load = BulkLoad(beside.store, beside.collection, storage)
    beside.bulk = load
    try:
        yield
    finally:
        load.close()


def _copy(index: Collection, beside: Collection) -> None:
    """Copy the rows of one collection into another, except those already there."""
    there = beside.stored_hashes()
    fields = [*STORED_FIELDS, "row_hash", "vector"]
    missing = (row for row in index.rows(fields) if there.get(row["image_id"]) != row["row_hash"])
    while some := list(islice(missing, _ROWS)):
        beside.write(some)
