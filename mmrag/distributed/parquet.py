"""Embed into Parquet shards, and load shards into a collection without an encoder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa  # type: ignore[import-untyped]

from mmrag.distributed.shards import (
    TEXT_COLUMNS,
    Manifest,
    ShardFolder,
    shard_table,
    text_rows,
    vectors_of,
)
from mmrag.distributed.sources import Root
from mmrag.distributed.tars import is_inside
from mmrag.errors import ImageError, MmragError, NotStorableError
from mmrag.galleries.gallery import Gallery
from mmrag.index.removal import check_removal, vanished
from mmrag.index.rows import Candidate, Outcome, check_storable, row_hash
from mmrag.index.update import IndexReport
from mmrag.system.names import as_on_disk
from mmrag.system.words import counted
from mmrag.types import GalleryImage, Skipped

if TYPE_CHECKING:
    from mmrag.distributed.ray_embedder import RaySource

# How far a vector's length may be from 1.
_UNIT = 1e-3


def embed_to_shards(
    source: RaySource,
    shards: str | os.PathLike[str],
    *,
    progress: Callable[[int], Any] | None = None,
    prune: bool = False,
) -> IndexReport:
    """Make a folder of Parquet shards hold exactly the images of a source.

    The counterpart of `index_gallery`: images already there are not embedded again, and a killed
    run resumes; an image that is there but cannot be read keeps its row. Workers write the shards;
    this process then drops outdated rows.

    Args:
        source: from `ray_source`.
        shards: a folder that all nodes share, or a URL.
        progress: called with 1 for each image that is done.
        prune: as in `BuildOptions`.

    Raises:
        RemovalError: too many rows would be removed.
        MmragError: no images, a folder with other vectors, or shards that are not where this
            process looks.
    """
    started = time.perf_counter()
    gallery, info = source.gallery, source.encoder.info
    place = os.fspath(shards)
    embedder = source.embedder.writing(place if "://" in place else str(Path(place).absolute()))
    task = embedder.task
    gallery.check_not_empty()
    folder, manifest = ShardFolder(task.shards or place), Manifest.of(info, task.embed)
    folder.begin(manifest)
    held: dict[str, str] = {}
    for name in folder.names():
        table = folder.read(name, info.dim, TEXT_COLUMNS)
        held.update(
            (c.image.image_id, c.row_hash) for c in _candidates(table, task.root, task.embed)
        )
    report = IndexReport.of(gallery)
    gone = vanished(held, gallery)
    check_removal(place, len(held), gone, prune)
    step = progress or (lambda _: None)
    wanted: dict[str, Candidate] = {}
    outcomes = embedder.stream(gallery.images, held)
    with closing(outcomes):
        for candidate, outcome in outcomes:
            image_id = candidate.image.image_id
            step(1)
            if isinstance(outcome, ImageError):
                report.skipped.append(Skipped(image_id, str(outcome)))
                if isinstance(outcome, NotStorableError):
                    gone |= {image_id} & held.keys()
                else:
                    report.unreadable += 1
                continue
            wanted[image_id] = candidate
            report.embedded += outcome["embedded"]
            if held.get(image_id) == candidate.row_hash:
                report.unchanged += 1
            elif image_id in held:
                report.updated += 1
            else:
                report.added += 1
    check_removal(place, len(held), gone, prune)
    report.removed = len(gone)
    stale = {name: held[name] for name in held.keys() - wanted.keys() - gone}
    report.stale = sorted(stale)
    names = _settle(folder, task.root, manifest, wanted, stale)
    folder.complete(
        replace(manifest, complete=True, rows=len(wanted) + len(stale), shards=tuple(names))
    )
    report.note_looks(wanted.values())
    report.skipped.sort(key=lambda skipped: skipped.path)
    report.seconds = time.perf_counter() - started
    return report


class ShardSource:
    """Shards as a gallery, and an `Embedder` that reads its vectors instead of computing them.

    Args:
        url: the folder of shards.
        root: where the pictures are: row `ID` has its picture at `ROOT/ID`.

    Raises:
        MmragError: no shards there, or those of an unfinished run.
    """

    def __init__(self, url: str, root: Root) -> None:
        self.folder = ShardFolder(url)
        self.root = root
        manifest = self.folder.manifest()
        if manifest is None:
            raise MmragError(f"{url} holds no shards; `mmrag index FOLDER --parquet` writes them.")
        if not manifest.complete:
            raise MmragError(f"The run that wrote {url} has not finished; start it again.")
        self.manifest = manifest
        self._meant: dict[str, str] = {}

    def gallery(self) -> Gallery:
        """The images of all shards; rows whose id would leave the root are listed as skipped.

        Raises:
            MmragError: an image occurs twice, or rows are missing.
        """
        images, skipped, seen = [], [], set[str]()
        for _, table in self._tables(TEXT_COLUMNS):
            for row in text_rows(table):
                image_id = str(row["image_id"])
                if image_id in seen:
                    raise MmragError(f"{self.folder.url} holds {image_id!r} twice.")
                seen.add(image_id)
                problem = _problem(row)
                if problem is None:
                    images.append(_image(row, self.root))
                else:
                    skipped.append(Skipped(image_id, problem))
        if len(seen) != self.manifest.rows:
            raise MmragError(
                f"{self.folder.url} holds {len(seen)} rows instead of {self.manifest.rows}."
            )
        if self.root.is_local:
            self._meant = as_on_disk(self.root.path, [image.path for image in images])
            images = [self._placed(image) for image in images]
        leaving = self._leaving(images)
        skipped += [Skipped(i.image_id, leaving[i.path]) for i in images if i.path in leaving]
        return Gallery([image for image in images if image.path not in leaving], skipped)

    def __call__(
        self, images: Sequence[GalleryImage], held: Mapping[str, str]
    ) -> Generator[Outcome]:
        """Outcomes of `images`, shard by shard."""
        wanted = {image.image_id for image in images}
        for name, table in self._tables():
            vectors = vectors_of(table)
            good = np.abs(np.linalg.norm(vectors, axis=1) - 1) < _UNIT
            for i, row in enumerate(text_rows(table)):
                if row["image_id"] not in wanted:
                    continue
                candidate = _candidate(row, self.root, self.manifest.embed, self._placed)
                try:
                    check_storable(candidate.image, self.manifest.embed)
                    if not good[i]:
                        raise ImageError(f"its vector in {name} is not of unit length")
                except ImageError as error:
                    yield candidate, error
                    continue
                known = held.get(candidate.image.image_id, "")[:32] == candidate.row_hash[:32]
                yield candidate, None if known else vectors[i]

    def _placed(self, image: GalleryImage) -> GalleryImage:
        """The image with its path as the disk has it."""
        return replace(image, path=self._meant.get(image.path, image.path))

    def _tables(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        for name in self.manifest.shards:
            yield name, self.folder.read(name, self.manifest.dim, columns)

    def _leaving(self, images: Sequence[GalleryImage]) -> dict[str, str]:
        """Paths that are links out of a local folder; the files need not exist."""
        if not self.root.is_local:
            return {}
        from mmrag.system.files import LEAVES_ROOT, absent_files

        absent = absent_files(self.root.path, (image.path for image in images))
        return {path: reason for path, reason in absent.items() if reason == LEAVES_ROOT}


def _settle(
    folder: ShardFolder,
    root: Root,
    manifest: Manifest,
    wanted: Mapping[str, Candidate],
    stale: Mapping[str, str],
) -> list[str]:
    """Rewrite shards with outdated, vanished or repeated rows; return the names left.

    `stale` maps the ids of rows that stay as they are to their row hashes.
    """
    left = dict(wanted)
    staying = dict(stale)
    kept: list[str] = []
    for name in folder.names():
        table = folder.read(name, manifest.dim)
        rows = list(_candidates(table, root, manifest.embed))
        vectors = vectors_of(table)
        chosen: list[tuple[Candidate, Any]] = []
        same = True
        for row, vector in zip(rows, vectors, strict=True):
            if staying.get(row.image.image_id) == row.row_hash:
                del staying[row.image.image_id]
                chosen.append((row, vector))
                continue
            now = left.get(row.image.image_id)
            if now is None or now.row_hash[:32] != row.row_hash[:32]:
                same = False
                continue
            # The vector is right; text or metadata beside it may have changed.
            same = same and now.row_hash == row.row_hash
            chosen.append((now, vector))
            del left[row.image.image_id]
        if same and chosen:
            kept.append(name)
            continue
        if chosen:
            kept.append(folder.write(shard_table(chosen)))
        if name not in kept:
            folder.delete([name])
    if left:
        raise MmragError(
            f"{counted(len(left), 'row is', 'rows are')} not in {folder.url}: every node must "
            "write to the same place. Name a shared folder or a bucket with --parquet."
        )
    return sorted(kept)


def _candidates(table: pa.Table, root: Root, embed: str) -> Iterator[Candidate]:
    return (_candidate(row, root, embed) for row in text_rows(table))


def _candidate(
    row: Mapping[str, Any],
    root: Root,
    embed: str,
    placed: Callable[[GalleryImage], GalleryImage] = lambda image: image,
) -> Candidate:
    image, content = placed(_image(row, root)), str(row["content_hash"])
    return Candidate(
        image, content, row_hash(embed, content, image.path, image.text, str(row["metadata"]))
    )


def _image(row: Mapping[str, Any], root: Root) -> GalleryImage:
    image_id = str(row["image_id"])
    return GalleryImage(
        image_id, f"{root.path}/{image_id}", str(row["text"]), orjson.loads(row["metadata"])
    )


def _problem(row: Mapping[str, Any]) -> str | None:
    """The reason that a row cannot be used; None if it can."""
    if any(row[name] is None for name in TEXT_COLUMNS):
        return "its row is incomplete"
    if not is_inside(str(row["image_id"])):
        return "its id leads out of the folder"
    if len(row["content_hash"]) != 64 or not row["content_hash"].isalnum():
        return "its content hash is none"
    try:
        known = isinstance(orjson.loads(row["metadata"]), dict)
    except orjson.JSONDecodeError:
        known = False
    return None if known else "its metadata is no object"
