"""The index as callers see it: a collection that can be brought up to date with a gallery."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mmrag.index.kinds import BuildOptions
from mmrag.index.milvus_collection import Collection
from mmrag.index.replace import replace_collection
from mmrag.index.update import IndexReport, index_gallery

if TYPE_CHECKING:
    from mmrag.galleries.gallery import Gallery
    from mmrag.index.rows import Embedder


class ImageIndex(Collection):
    """A gallery's vectors in Milvus: build, read and search them."""

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

        Of several runs that want the same collection one goes on when the other has ended;
        `progress` is called with 0 while it waits.

        With `BuildOptions(replace=True)` it is built anew beside the one in use, which goes on
        answering until the new one is complete; see `replace_collection`.
        """
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
