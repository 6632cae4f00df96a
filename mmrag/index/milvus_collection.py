"""A gallery's vectors in a Milvus collection that knows which encoder made them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mmrag import config
from mmrag.errors import IndexStoreError, MmragError
from mmrag.index import collections
from mmrag.index.collections import CollectionInfo
from mmrag.index.kinds import (
    BuildOptions,
    SearchOptions,
    default_kind,
    search_params,
)
from mmrag.index.parameters import check_search
from mmrag.index.schema import STORED_FIELDS, after_key, in_partition, partition_value, row_key
from mmrag.index.store import MilvusStore, T

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mmrag.encoders.encoder import Encoder, Vectors
    from mmrag.index.bulk import BulkLoad

_BATCH = 500
# Short fields, many rows of which fit into one answer: the local store is as slow for few.
_SHORT = frozenset({"image_id", "content_hash", "row_hash"})
# A search that meets a collection being switched retries for this long.
_SWITCH_SECONDS = 5.0
_CHECK_SECONDS = 1.0
# Milvus's codes: no such collection; not in memory, or not all of it.
_NOT_FOUND, _NOT_LOADED = 100, {101, 103}


class Collection:
    """One collection of one Milvus. Made by `ImageIndex.open`; a context manager."""

    def __init__(
        self,
        store: MilvusStore,
        collection: str,
        encoder: Encoder | None,
        options: SearchOptions | None = None,
    ) -> None:
        self.store = store
        self.collection = collection
        self.encoder = encoder
        self.options = options or SearchOptions()
        self.bulk: BulkLoad | None = None
        self._checked = 0.0
        self._noted = False

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str] | None = None,
        collection: str = config.DEFAULT_COLLECTION,
        encoder: Encoder | None = None,
        token: str | None = None,
        options: SearchOptions | None = None,
    ) -> Self:
        """Open a collection, which need not exist yet.

        Args:
            uri: "gallery.db" for a local store (any number of processes can share it), or
                "http://host:19530" for a Milvus server or Zilliz Cloud. Default: `MMRAG_URI`.
            collection: letters, digits and underscores.
            encoder: needed to add or search; a collection made by another one is refused.
            token: for servers that need one. Default: `MMRAG_TOKEN`.
            options: how it is searched.

        Raises:
            IndexStoreError: no Milvus there, or the collection was built with another encoder.
        """
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", collection):
            raise MmragError(
                f"Collection {collection!r}: use up to 100 letters, digits and underscores, "
                "beginning with a letter."
            )
        index = cls(MilvusStore(uri, token), collection, encoder, options)
        try:
            if index.exists():
                index.check_encoder()
                index.check_rows()
        except BaseException:
            index.close()
            raise
        return index

    def __enter__(self) -> Self:
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
        """Whether the collection exists."""
        return collections.exists(self.store, self.collection)

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
            str(collections.chosen_kind(made) or ""),
            made.get("partition_key"),
            made.get("settings", {}),
        )

    def check_encoder(self) -> dict[str, Any]:
        """The notes of `create`; raises IndexStoreError if they name another encoder than ours."""
        made = self._made()
        if self.encoder is not None:
            collections.check_encoder(self.collection, made, self.encoder.info)
        return made

    def check_rows(self) -> None:
        """Raise IndexStoreError unless there are as many rows as when the last run ended."""
        counts = self.store.row_counts
        if counts is None:
            return
        physical, _ = collections.describe(self.store, self.collection)
        noted = counts.noted(physical)
        if noted.rows is None:
            return
        rows = self.info().rows
        # A writer notes it beforehand.
        if rows == noted.rows or counts.noted(physical) != noted:
            return
        raise IndexStoreError(
            f"Collection {self.collection!r} of {self.store.uri} holds {rows:,} rows; it was left "
            f"with {noted.rows:,}. Nothing was changed. Restore a copy of the store, or take what "
            "is there with `mmrag doctor --repair`, then index the folder again."
        )

    def _writing(self) -> None:
        """Note, before a run's first write, that the number of rows is no longer known."""
        counts = self.store.row_counts
        if counts is not None and not self._noted:
            counts.note(collections.describe(self.store, self.collection)[0], None)
        self._noted = True

    def _made(self) -> dict[str, Any]:
        """The notes made with the collection."""
        _, made = collections.describe(self.store, self.collection)
        if made is None:
            raise IndexStoreError(
                f"Collection {self.collection!r} was not made by mmrag; name another one."
            )
        return made

    def create(self, embed: str, build: BuildOptions | None = None) -> None:
        """Make the collection for the encoder, unless it exists.

        Args:
            embed: what becomes the vector, one of `EMBED_CHOICES`.
            build: its index and partitions; fields that are None fit any existing collection.

        Raises:
            IndexStoreError: it exists, but was made by another encoder or with other settings; or
                this Milvus has no such kind of index.
        """
        build = build or BuildOptions()
        notes = self.notes(embed, build)
        with self.store.write_lock(self.collection):
            if self.exists():
                collections.check_settings(self.collection, self.check_encoder(), notes)
                physical, _ = collections.describe(self.store, self.collection)
                held = collections.chosen_kind(self._made()) or default_kind(
                    self.store.is_local, rows=0
                )
                collections.complete(self.store, physical, held)
            else:
                kind = build.kind or default_kind(self.store.is_local, rows=0)
                made = collections.make(self.store, self.collection, notes, kind)
                collections.switch(self.store, self.collection, made)

    def notes(self, embed: str, build: BuildOptions) -> dict[str, Any]:
        """The notes of a collection made for the encoder in this way."""
        if self.encoder is None:
            raise MmragError("Indexing needs an encoder: ImageIndex.open(..., encoder=encoder).")
        return collections.notes(self.encoder.info, embed, build)

    def drop(self) -> None:
        """Remove the collection and all its rows."""
        with self.store.write_lock(self.collection):
            collections.drop(self.store, self.collection)

    def stored_hashes(self) -> dict[str, str]:
        """image_id to row hash, for all rows."""
        return {row["image_id"]: row["row_hash"] for row in self.rows(["image_id", "row_hash"])}

    def rows(self, fields: Sequence[str], filter: str | None = None) -> Iterator[dict[str, Any]]:
        """Rows with the named fields, read in batches; all, or those that match `filter`.

        `filter` is as for `search`. If Milvus goes away and comes back, reading continues after the
        last row read.
        """
        what = _what(f"Reading collection {self.collection}", filter)
        # By its own name, not its alias: all rows come from one collection despite a switch.
        name, _ = collections.describe(self.store, self.collection)
        last = ""
        reading: tuple[MilvusClient, Any] | None = None

        def next_batch(client: MilvusClient) -> list[dict[str, Any]]:
            nonlocal reading
            if reading is None or reading[0] is not client:
                iterator = client.query_iterator(
                    name,
                    batch_size=16_000 if _SHORT.issuperset(fields) else 1000,
                    filter=after_key(last, filter),
                    output_fields=["key", *fields],
                )
                reading = client, iterator
            found: list[dict[str, Any]] = reading[1].next()
            return found

        try:
            while batch := self._loaded(what, next_batch):
                last = max(row["key"] for row in batch)
                for row in batch:
                    yield {field: row[field] for field in fields}
        finally:
            if reading is not None:
                reading[1].close()

    def get(self, image_ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by id; absent ids are left out."""
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
        key = self._made().get("partition_key") if rows else None
        if rows:
            self._writing()
        for some in _batches(rows):
            data = [{"key": row_key(row["image_id"]), **row} for row in some]
            if key is not None:
                for row in data:
                    row["partition"] = partition_value(row["metadata"], key)
            if self.bulk is not None:
                self.bulk.add(data)
                continue
            with self.store.write_lock(self.collection):
                request = partial(_put, self.collection, data, key is not None)
                self.store.call("Writing to Milvus", request)

    def delete(self, image_ids: Sequence[str]) -> None:
        """Remove rows by id."""
        from pymilvus import MilvusClient

        if image_ids:
            self._writing()
        for some in _batches(image_ids):
            with self.store.write_lock(self.collection):
                request = partial(
                    MilvusClient.delete,
                    collection_name=self.collection,
                    ids=[row_key(image_id) for image_id in some],
                )
                self.store.call("Deleting from Milvus", request)

    def finish(self) -> int:
        """Flush, and use the chosen index kind, or one that suits the number of rows.

        Returns:
            The number of rows.
        """
        self.load_bulk()
        with self.store.write_lock(self.collection):
            physical, _ = collections.describe(self.store, self.collection)
            rows = self.info().rows
            kind = collections.chosen_kind(self._made()) or default_kind(self.store.is_local, rows)
            collections.build_index(self.store, physical, kind)
            if self.store.row_counts is not None:
                self.store.row_counts.note(physical, rows)
                self._noted = False
        return rows

    def load_bulk(self) -> None:
        """Let the server read the rows collected for it, if any."""
        if self.bulk is not None:
            self.bulk.load()
            self.bulk = None

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

        Raises:
            IndexStoreError: Milvus fails or does not understand the filter, or the collection has
                been replaced by one of another encoder.
        """
        what = _what(f"Searching collection {self.collection}", filter)
        self._check_now_and_then(k)
        if self.options.partition is not None:
            filter = in_partition(self.options.partition, filter)
        found = self._loaded(
            what,
            lambda client: client.search(
                self.collection,
                data=[vector.tolist() for vector in vectors],
                limit=k,
                filter=filter or "",
                output_fields=list(STORED_FIELDS),
                # A server would delay a "Strong" search until its next time tick, 0.2 s.
                consistency_level=self.options.consistency,
                search_params=search_params(k, self.options.params),
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

    def _check_now_and_then(self, k: int) -> None:
        """Check now and then whether the collection was replaced by one of another encoder."""
        if time.monotonic() - self._checked > _CHECK_SECONDS:
            made = self._again_if_switched(self.check_encoder)
            if self.options.partition is not None and made.get("partition_key") is None:
                raise IndexStoreError(
                    f"Collection {self.collection!r} has no partitions; index it anew with "
                    "--partition-key KEY --replace."
                )
            if self.options.params:
                check_search(self._kind(), self.options.params, k)
            self._checked = time.monotonic()

    def _kind(self) -> str:
        """The present kind of index."""

        def request(client: MilvusClient) -> str:
            held = client.describe_index(self.collection, "vector")
            return str(held["index_type"]) if held else ""

        return self._loaded(f"Reading collection {self.collection}", request)

    def _loaded(self, what: str, request: Callable[[MilvusClient], T]) -> T:
        """Send a request that needs the collection in memory, where it usually is."""

        def load_first(client: MilvusClient) -> T:
            client.load_collection(self.collection)
            return request(client)

        def send() -> T:
            try:
                return self.store.call(what, request)
            except IndexStoreError as error:
                if _code(error) not in _NOT_LOADED:
                    raise
            return self.store.call(what, load_first)

        return self._again_if_switched(send)

    def _again_if_switched(self, send: Callable[[], T]) -> T:
        """Retry, as a collection switched for the first time has no name for some milliseconds."""
        deadline = time.monotonic() + _SWITCH_SECONDS
        while True:
            try:
                return send()
            except IndexStoreError as error:
                if _code(error) != _NOT_FOUND or not self._checked or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


def list_collections(
    uri: str | os.PathLike[str] | None = None, token: str | None = None
) -> list[CollectionInfo]:
    """The collections of a Milvus that mmrag made."""
    store = MilvusStore(uri, token)
    try:
        names = store.call("Listing collections", lambda client: client.list_collections())
        found = []
        for name in sorted(names):
            try:
                made = collections.describe(store, name)[1] or {}
                known_as = made.get("collection", name)
                # Skip those still being built beside the one in use.
                if known_as == name or collections.describe(store, known_as)[0] == name:
                    found.append(Collection(store, known_as, None).info())
            except IndexStoreError:
                continue
        return sorted(found, key=lambda info: info.name)
    finally:
        store.close()


def _put(name: str, data: list[dict[str, Any]], partitioned: bool, client: MilvusClient) -> None:
    if partitioned:
        # Milvus 2.3's upsert puts rows into any partition, where searches do not find them.
        client.delete(name, ids=[row["key"] for row in data])
        client.insert(name, data)
    else:
        client.upsert(name, data)


def _code(error: IndexStoreError) -> int | None:
    return getattr(error.__cause__, "code", None)


def _what(otherwise: str, filter: str | None) -> str:
    """The start of an error message: a request with a filter mostly fails because of it."""
    if filter and any(ord(character) < 32 for character in filter):
        raise MmragError("The filter holds control characters.")
    return f"Filter {filter!r}" if filter else otherwise


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
