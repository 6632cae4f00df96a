"""Rows for a new collection as Parquet files that a Milvus server reads from its own storage."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from mmrag.errors import IndexStoreError, MmragError, one_line
from mmrag.index.rows import metadata_json
from mmrag.index.store import MilvusStore

if TYPE_CHECKING:
    import pyarrow  # type: ignore[import-untyped]
    from pymilvus import MilvusClient

_GROUP_ROWS, _FILE_ROWS = 2_000, 50_000
_POLL = 0.5
# The server must show some progress within this time.
_STALLED_SECONDS = 1800.0


class BulkLoad:
    """Collects the rows of one new collection; `load` hands them over, `close` removes the files.

    Args:
        store: a server, since Milvus Lite has no bulk load.
        collection: new and empty, since rows are added regardless of existing ones.
        storage: a folder in the server's own storage: `s3://BUCKET/FOLDER` with the bucket of its
            configuration (keys and endpoint from the `AWS_*` variables, or
            `?endpoint_override=...&scheme=http`), or a path if it keeps its data in local files.

    Raises:
        MmragError: no such storage.
    """

    def __init__(self, store: MilvusStore, collection: str, storage: str) -> None:
        from pyarrow import fs

        self._store, self._collection = store, collection
        try:
            self._files, folder = fs.FileSystem.from_uri(storage)
            self._folder = f"{folder.rstrip('/')}/mmrag-{uuid.uuid4().hex}"
            self._files.create_dir(self._folder, recursive=True)
        except (OSError, ValueError) as error:
            raise MmragError(
                f"The storage for bulk loading cannot be used: {error}; check --bulk-storage."
            ) from error
        self._is_local_files = isinstance(self._files, fs.LocalFileSystem)
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pyarrow.Table] = []
        self._written: list[tuple[str, int]] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Add rows as the driver takes them; each id once."""
        self._rows += rows
        if len(self._rows) >= _GROUP_ROWS:
            self._tables.append(_table(self._rows))
            self._rows = []
        if sum(table.num_rows for table in self._tables) >= _FILE_ROWS:
            self._write()

    def load(self) -> int:
        """Let the server read all files; return the number of rows once they can be searched.

        Raises:
            IndexStoreError: the server cannot read them.
        """
        if self._rows:
            self._tables.append(_table(self._rows))
            self._rows = []
        if self._tables:
            self._write()
        what = "Bulk loading"
        for path, rows in self._written:
            _, _, key = path.partition("/")
            name = path if self._is_local_files else key
            task = self._store.call(what, partial(self._start, name))
            self._wait(task, rows)
        expected = sum(rows for _, rows in self._written)
        self._store.call(what, lambda client: client.refresh_load(self._collection))
        ends = time.monotonic() + _STALLED_SECONDS
        while self._store.call(what, self._count) < expected:
            if time.monotonic() > ends:
                raise IndexStoreError(f"{what}: the rows were read, but cannot be searched yet.")
            time.sleep(_POLL)
        return expected

    def close(self) -> None:
        """Remove the files."""
        self._files.delete_dir(self._folder)

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        whole = pa.concat_tables(self._tables)
        self._tables = []
        path = f"{self._folder}/{len(self._written)}.parquet"
        pq.write_table(whole, path, filesystem=self._files, row_group_size=_GROUP_ROWS)
        self._written.append((path, whole.num_rows))

    def _start(self, name: str, client: MilvusClient) -> int:
        # The client has no method for it, but its connection has.
        return int(client._get_connection().do_bulk_insert(self._collection, "", [name]))

    def _wait(self, task: int, rows: int) -> None:
        def state(client: MilvusClient) -> Any:
            return client._get_connection().get_bulk_insert_state(task)

        ends = time.monotonic() + _STALLED_SECONDS
        progress: Any = None
        while True:
            now = self._store.call("Bulk loading", state)
            if now.state == now.ImportCompleted:
                return
            if now.state in (now.ImportFailed, now.ImportFailedAndCleaned):
                reason = one_line(now.infos.get("failed_reason", ""))
                raise IndexStoreError(
                    f"Milvus cannot read the files for bulk loading ({reason}); "
                    "--bulk-storage has to be the storage that this Milvus uses itself."
                )
            if now.infos != progress:
                progress, ends = now.infos, time.monotonic() + _STALLED_SECONDS
            if time.monotonic() > ends:
                raise IndexStoreError(f"Bulk loading: no progress with a file of {rows:,} rows.")
            time.sleep(_POLL)

    def _count(self, client: MilvusClient) -> int:
        found = client.query(self._collection, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])


def _table(rows: list[dict[str, Any]]) -> pyarrow.Table:
    """Milvus's types: text, JSON as text, and lists of float32."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for field in rows[0]:
        values = [row[field] for row in rows]
        if field == "metadata":
            columns[field] = pa.array([metadata_json(value) for value in values])
        elif field == "vector":
            columns[field] = pa.array(values, type=pa.list_(pa.float32()))
        else:
            columns[field] = pa.array(values, type=pa.string())
    return pa.table(columns)
