"""A gallery's vectors in a Milvus collection that knows which encoder made them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.errors import IndexStoreError, MmragError
from mmrag.index.schema import (
    EXACT_ROWS,
    STORED_FIELDS,
    collection_schema,
    index_params,
    row_key,
    search_params,
)
from mmrag.index.store import MilvusStore, T

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mmrag.encoders.encoder import Encoder, Vectors
    from mmrag.gallery import Gallery
    from mmrag.index.indexing import IndexReport

EMBED_CHOICES = ("image", "text", "both")
_PROPERTY = "mmrag.encoder"
_BATCH = 500


@dataclass(frozen=True)
class CollectionInfo:
    """What a collection remembers of how it was made."""

    name: str
    rows: int
    encoder: str
    fingerprint: str
    dim: int
    embed: str
    precision: str


class ImageIndex:
    """One collection of one Milvus. Made by `ImageIndex.open`; a context manager."""

    def __init__(self, store: MilvusStore, collection: str, encoder: Encoder | None) -> None:
        self.store = store
        self.collection = collection
        self.encoder = encoder

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str] | None = None,
        collection: str = config.DEFAULT_COLLECTION,
        encoder: Encoder | None = None,
        token: str | None = None,
    ) -> ImageIndex:
        """Open a collection, which need not exist yet.

        Args:
            uri: "gallery.db" for a local store (any number of processes can share it), or
                "http://host:19530" for a Milvus server or Zilliz Cloud. Default: `MMRAG_URI`.
            collection: letters, digits and underscores.
            encoder: whoever adds or searches; a collection made by another one is refused.
            token: for servers that want one. Default: `MMRAG_TOKEN`.

        Raises:
            IndexStoreError: no Milvus there, or the collection was built with another encoder.
        """
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", collection):
            raise MmragError(
                f"Collection {collection!r}: use up to 100 letters, digits and underscores, "
                "beginning with a letter."
            )
        index = cls(MilvusStore(uri, token), collection, encoder)
        try:
            if index.exists():
                index.check_encoder()
        except BaseException:
            index.close()
            raise
        return index

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect from Milvus."""
        self.store.close()

    def exists(self) -> bool:
        """Whether the collection is there."""
        return self.store.call(
            f"Collection {self.collection}",
            lambda client: bool(client.has_collection(self.collection)),
        )

    def info(self) -> CollectionInfo:
        """Row count, and the encoder that the collection was built with."""
        made = self._made()
        counted = self._loaded(
            f"Collection {self.collection}",
            lambda c: c.query(self.collection, filter="", output_fields=["count(*)"]),
        )
        return CollectionInfo(
            self.collection,
            int(counted[0]["count(*)"]),
            str(made["name"]),
            str(made["fingerprint"]),
            int(made["dim"]),
            str(made["embed"]),
            str(made["precision"]),
        )

    def check_encoder(self) -> dict[str, Any]:
        """What `create` noted; IndexStoreError if it was with another encoder than ours."""
        made = self._made()
        ours = self.encoder.info if self.encoder else None
        if ours is not None and made["fingerprint"] != ours.fingerprint:
            raise IndexStoreError(
                f"Collection {self.collection!r} was built with encoder {made['name']!r} "
                f"(fingerprint {made['fingerprint']}), not with {ours.name!r} "
                f"({ours.fingerprint}). Search it with that encoder, or index into another "
                "collection."
            )
        return made

    def _made(self) -> dict[str, Any]:
        """What `create` noted in the collection's properties."""
        described = self.store.call(
            f"Collection {self.collection}",
            lambda client: client.describe_collection(self.collection),
        )
        raw = described.get("properties", {}).get(_PROPERTY)
        if raw is None:
            raise IndexStoreError(
                f"Collection {self.collection!r} was not made by mmrag; name another one."
            )
        made: dict[str, Any] = json.loads(raw)
        return made

    def create(self, embed: str) -> None:
        """Make the collection for the encoder, unless it is there already.

        Raises:
            IndexStoreError: it is there, but made by another encoder or with another `embed`.
        """
        if self.encoder is None:
            raise MmragError("Indexing needs an encoder: ImageIndex.open(..., encoder=encoder).")
        encoder = self.encoder.info
        if embed not in EMBED_CHOICES:
            raise MmragError(f"embed must be one of {', '.join(EMBED_CHOICES)}, not {embed!r}.")
        with self.store.write_lock(self.collection):
            if self.exists():
                held = self.check_encoder()["embed"]
                if held != embed:
                    raise IndexStoreError(
                        f"Collection {self.collection!r} holds embeddings of {held!r}, "
                        f"not of {embed!r}; index into another collection."
                    )
                self.store.call("Completing the collection", self._add_missing_index)
                return
            made = {
                "name": encoder.name,
                "fingerprint": encoder.fingerprint,
                "dim": encoder.dim,
                "precision": encoder.precision,
                "embed": embed,
            }
            self.store.call(
                f"Making collection {self.collection}",
                lambda client: client.create_collection(
                    self.collection,
                    schema=collection_schema(encoder.dim),
                    index_params=index_params(client, self.store.is_local, exact=True),
                    consistency_level="Strong",
                    properties={_PROPERTY: json.dumps(made)},
                ),
            )

    def add(
        self,
        gallery: Gallery,
        *,
        embed: str = "image",
        batch_size: int | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> IndexReport:
        """Bring the collection up to date with `gallery`; see `indexing.index_gallery`."""
        from mmrag.index.indexing import index_gallery

        return index_gallery(self, gallery, embed=embed, batch_size=batch_size, progress=progress)

    def drop(self) -> None:
        """Remove the collection and all its rows."""
        with self.store.write_lock(self.collection):
            self.store.call("Dropping", lambda client: client.drop_collection(self.collection))

    def stored_hashes(self) -> dict[str, str]:
        """image_id to row hash, for all rows."""
        return {row["image_id"]: row["row_hash"] for row in self.rows(["image_id", "row_hash"])}

    def rows(self, fields: Sequence[str], filter: str | None = None) -> Iterator[dict[str, Any]]:
        """Rows with the named fields, read in batches; all, or those that fit `filter`.

        `filter` is as for `search`.
        """
        what = _what(f"Reading collection {self.collection}", filter)
        iterator = self._loaded(
            what,
            lambda client: client.query_iterator(
                self.collection, batch_size=1000, filter=filter or "", output_fields=list(fields)
            ),
        )
        try:
            while batch := self.store.call(what, lambda _: iterator.next()):
                for row in batch:
                    yield {field: row[field] for field in fields}
        finally:
            iterator.close()

    def get(self, image_ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by id; ids that are not there are left out."""
        from pymilvus import MilvusClient

        found: dict[str, dict[str, Any]] = {}
        for some in _batches(image_ids):
            request = partial(
                MilvusClient.get,
                collection_name=self.collection,
                ids=[row_key(image_id) for image_id in some],
                output_fields=["image_id", *fields],
            )
            for row in self._loaded(f"Reading collection {self.collection}", request):
                found[row["image_id"]] = row
        return found

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows, or replace those with the same id."""
        from pymilvus import MilvusClient

        for some in _batches(rows):
            with self.store.write_lock(self.collection):
                data = [{"key": row_key(row["image_id"]), **row} for row in some]
                request = partial(MilvusClient.upsert, collection_name=self.collection, data=data)
                self.store.call("Writing to Milvus", request)

    def delete(self, image_ids: Sequence[str]) -> None:
        """Remove rows by id."""
        from pymilvus import MilvusClient

        for some in _batches(image_ids):
            with self.store.write_lock(self.collection):
                request = partial(
                    MilvusClient.delete,
                    collection_name=self.collection,
                    ids=[row_key(image_id) for image_id in some],
                )
                self.store.call("Deleting from Milvus", request)

    def finish(self) -> None:
        """Flush, and use the index kind that suits the number of rows."""

        def build(client: MilvusClient) -> None:
            wanted = index_params(client, self.store.is_local, exact=rows <= EXACT_ROWS)
            client.flush(self.collection)
            kind = client.describe_index(self.collection, "vector")
            if kind is None or kind["index_type"] != wanted[0].index_type:
                if kind is not None:
                    self._drop_index(client)
                client.create_index(self.collection, wanted)
            client.load_collection(self.collection)

        with self.store.write_lock(self.collection):
            rows = self.info().rows
            self.store.call("Building the index", build)

    def _drop_index(self, client: MilvusClient) -> None:
        from pymilvus.exceptions import MilvusException

        for attempt in range(5):
            try:
                client.release_collection(self.collection)
                client.drop_index(self.collection, "vector")
                return
            except MilvusException:
                # Somebody's search has loaded the collection in between.
                if attempt == 4:
                    raise
                time.sleep(0.2)

    def _add_missing_index(self, client: MilvusClient) -> None:
        """A collection is made in two steps; whoever made it may have been killed between them."""
        if not client.list_indexes(self.collection):
            client.create_index(
                self.collection, index_params(client, self.store.is_local, exact=True)
            )
            client.load_collection(self.collection)

    def search(
        self, vectors: Vectors, k: int, filter: str | None = None
    ) -> list[list[dict[str, Any]]]:
        """The k nearest rows of each vector, nearest first.

        Args:
            vectors: (n, dim) float32, unit rows.
            k: 1 to 16,384.
            filter: Milvus expression over `text`, `path` and `metadata["key"]`.

        Returns:
            For each vector, rows with `STORED_FIELDS` and `score` (cosine).
        """
        what = _what(f"Searching collection {self.collection}", filter)
        found = self._loaded(
            what,
            lambda client: client.search(
                self.collection,
                data=[vector.tolist() for vector in vectors],
                limit=k,
                filter=filter or "",
                output_fields=list(STORED_FIELDS),
                # A server would hold a "Strong" search back until its next time tick, 0.2 s.
                consistency_level="Session",
                search_params=search_params(k),
            ),
        )
        return [
            [
                {
                    **{field: hit["entity"][field] for field in STORED_FIELDS},
                    "score": hit["distance"],
                }
                for hit in hits
            ]
            for hits in found
        ]

    def _loaded(self, what: str, request: Callable[[MilvusClient], T]) -> T:
        """A request that needs the collection in memory, where it usually is."""
        try:
            return self.store.call(what, request)
        except IndexStoreError as error:
            if "load" not in str(error):
                raise

        def load_first(client: MilvusClient) -> T:
            client.load_collection(self.collection)
            return request(client)

        return self.store.call(what, load_first)


def list_collections(
    uri: str | os.PathLike[str] | None = None, token: str | None = None
) -> list[CollectionInfo]:
    """The collections of a Milvus that this project made."""
    store = MilvusStore(uri, token)
    try:
        names = store.call("Listing collections", lambda client: client.list_collections())
        found = []
        for name in sorted(names):
            try:
                found.append(ImageIndex(store, name, None).info())
            except IndexStoreError:
                continue
        return found
    finally:
        store.close()


def _what(otherwise: str, filter: str | None) -> str:
    """How an error message begins: a request with a filter mostly fails because of it."""
    if filter and any(ord(character) < 32 for character in filter):
        raise MmragError("The filter holds control characters.")
    return f"Filter {filter!r}" if filter else otherwise


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
