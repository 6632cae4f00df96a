"""The index as callers see it: a collection that can be updated from a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mmrag.images.unreadable import content_hash
from mmrag.index import adopted
from mmrag.index.kinds import BuildOptions, SearchOptions
from mmrag.index.milvus_collection import Collection
from mmrag.index.replace import replace_collection
from mmrag.index.store import MilvusStore
from mmrag.index.update import IndexReport, index_gallery

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder, Vectors
    from mmrag.galleries.gallery import Gallery
    from mmrag.index.rows import Embedder


class ImageIndex(Collection):
    """A gallery's vectors in Milvus: build, read and search them.

    An adopted one (see `mmrag.index.adopted`) is read and searched, never written.
    """

    def __init__(
        self,
        store: MilvusStore,
        collection: str,
        encoder: Encoder | None,
        options: SearchOptions | None = None,
    ) -> None:
        super().__init__(store, collection, encoder, options)
        self.adopted = adopted.find(store.uri, collection)

    def add(
        self,
        gallery: Gallery,
        *,
        embed: str = "image",
        batch_size: int | None = None,
        progress: Callable[[int], Any] | None = None,
        embedder: Embedder | None = None,
        build: BuildOptions | None = None,
    ) -> IndexReport:
        """Bring the collection up to date with `gallery`; see `index_gallery`.

        Several runs on the same collection take turns; `progress` is called with 0 while one waits.

        With `BuildOptions(replace=True)` a new one is built beside the one in use, which keeps
        answering until the new one is complete; see `replace_collection`.
        """
        self._check_own()
        build = build or BuildOptions()
        work = replace_collection if build.replace else index_gallery
        waiting = partial(progress, 0) if progress else None
        with self.store.index_lock(self.collection, waiting):
            return work(
                self,
                gallery,
                embed=embed,
                batch_size=batch_size,
                progress=progress,
                embedder=embedder,
                build=build,
            )

    def name_images(self, ids: Mapping[str, str]) -> None:
        """Name an adopted collection's images by absolute path, as an eval set does."""
        if self.adopted is not None:
            self.adopted = replace(self.adopted, ids=dict(ids))

    def create(self, embed: str, build: BuildOptions | None = None) -> None:
        """As `Collection.create`."""
        self._check_own()
        super().create(embed, build)

    def drop(self) -> None:
        """As `Collection.drop`."""
        self._check_own()
        super().drop()

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """As `Collection.write`."""
        self._check_own()
        super().write(rows)

    def delete(self, image_ids: Sequence[str]) -> None:
        """As `Collection.delete`."""
        self._check_own()
        super().delete(image_ids)

    def check_rows(self) -> None:
        """As `Collection.check_rows`; adopted collections are not checked."""
        if self.adopted is None:
            super().check_rows()

    def rows(self, fields: Sequence[str], filter: str | None = None) -> Iterator[dict[str, Any]]:
        """As `Collection.rows`."""
        if self.adopted is None:
            yield from super().rows(fields, filter)
            return
        what = f"Reading collection {self.collection}"
        send, vectors = partial(self._loaded, what), "vector" in fields
        for row in adopted.all_rows(self.adopted, send, vectors=vectors):
            if "content_hash" in fields:
                row["content_hash"] = content_hash(row["path"]) or ""
            yield {field: row[field] for field in fields}

    def get(self, image_ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """As `Collection.get`; an adopted collection is scanned."""
        if self.adopted is None:
            return super().get(image_ids, fields)
        wanted, rows = set(image_ids), self.rows(["image_id", *fields])
        return {row["image_id"]: row for row in rows if row["image_id"] in wanted}

    def search(
        self, vectors: Vectors, k: int, filter: str | None = None
    ) -> list[list[dict[str, Any]]]:
        """As `Collection.search`."""
        if self.adopted is None:
            return super().search(vectors, k, filter)
        what, held = f"Searching collection {self.collection}", self.adopted
        return self._loaded(what, lambda c: adopted.nearest(c, held, vectors, k, filter))

    def _made(self) -> dict[str, Any]:
        if self.adopted is None:
            return super()._made()
        return {
            "name": self.adopted.encoder,
            "fingerprint": self.adopted.fingerprint,
            "dim": self.adopted.dim,
            "embed": "image",
            "precision": self.adopted.precision,
            "settings": self.adopted.settings,
        }

    def _check_own(self) -> None:
        if self.adopted is not None:
            raise adopted.refuse(self.collection)
