"""A Milvus server within this process, for tests of what is done with it rather than of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pymilvus
import pytest
from pymilvus.exceptions import MilvusException

URI = "http://memory:19530"
NOT_FOUND = 100
Row = dict[str, Any]


class MemoryClient:
    """What this package asks of `pymilvus.MilvusClient`; one for all addresses."""

    create_schema = staticmethod(pymilvus.MilvusClient.create_schema)
    prepare_index_params = staticmethod(pymilvus.MilvusClient.prepare_index_params)
    held: ClassVar[dict[str, SimpleNamespace]]
    aliases: ClassVar[dict[str, str]]
    loaded: ClassVar[list[str]]

    def __init__(self, uri: str, token: str = "", timeout: float | None = None) -> None:
        self.uri = uri

    def close(self) -> None:
        pass

    def _of(self, name: str) -> SimpleNamespace:
        found = self.held.get(self.aliases.get(name, name))
        if found is None:
            raise MilvusException(NOT_FOUND, f"collection not found[collection={name}]")
        return found

    def has_collection(self, name: str) -> bool:
        return name in self.held or name in self.aliases

    def list_collections(self) -> list[str]:
        return list(self.held)

    def describe_collection(self, name: str) -> dict[str, Any]:
        self._of(name)
        actual = self.aliases.get(name, name)
        return {"collection_name": actual, "properties": self.held[actual].properties}

    def create_collection(
        self, name: str, schema: Any, consistency_level: str, properties: dict[str, str]
    ) -> None:
        fields = {field.name for field in schema.fields}
        made: dict[str, Any] = {
            "fields": fields,
            "properties": properties,
            "rows": [],
            "index": None,
        }
        self.held[name] = SimpleNamespace(**made)

    def drop_collection(self, name: str) -> None:
        del self.held[name]

    def rename_collection(self, name: str, new: str) -> None:
        assert not self.has_collection(new), f"{new} is there already"
        self.held[new] = self.held.pop(name)

    def create_alias(self, name: str, alias: str) -> None:
        self._of(name)
        assert not self.has_collection(alias), f"{alias} is there already"
        self.aliases[alias] = name

    def alter_alias(self, name: str, alias: str) -> None:
        assert alias in self.aliases
        self.aliases[alias] = name

    def drop_alias(self, alias: str) -> None:
        del self.aliases[alias]

    def list_indexes(self, name: str) -> list[str]:
        return ["vector"] if self._of(name).index else []

    def create_index(self, name: str, params: Any) -> None:
        (one,) = params
        self._of(name).index = one.index_type

    def describe_index(self, name: str, field: str) -> dict[str, Any] | None:
        kind = self._of(name).index
        return {"index_type": kind} if kind else None

    def drop_index(self, name: str, field: str) -> None:
        self._of(name).index = None

    def load_collection(self, name: str) -> None:
        self._of(name)

    release_collection = flush = refresh_load = load_collection

    def insert(self, name: str, data: Sequence[Row]) -> None:
        """Rows beside those that are there, even of the same key."""
        into = self._of(name)
        for row in data:
            assert set(row) == into.fields
        into.rows += [dict(row) for row in data]

    def upsert(self, name: str, data: Sequence[Row]) -> None:
        self.delete(name, [row["key"] for row in data])
        self.insert(name, data)

    def delete(self, collection_name: str, ids: Sequence[str]) -> None:
        held = self._of(collection_name)
        held.rows = [row for row in held.rows if row["key"] not in ids]

    def get(self, collection_name: str, ids: Sequence[str], output_fields: list[str]) -> list[Row]:
        return [row for row in self._of(collection_name).rows if row["key"] in ids]

    def query(self, name: str, filter: str, output_fields: list[str]) -> list[Row]:
        assert output_fields == ["count(*)"]
        return [{"count(*)": len(self._matching(name, filter))}]

    def query_iterator(
        self, name: str, batch_size: int, filter: str, output_fields: list[str]
    ) -> SimpleNamespace:
        batches = iter([self._matching(name, filter), []])
        return SimpleNamespace(next=lambda: next(batches), close=lambda: None)

    def search(
        self, name: str, data: list[list[float]], limit: int, filter: str, **options: Any
    ) -> list[list[dict[str, Any]]]:
        rows = self._matching(name, filter)
        stored = np.array([row["vector"] for row in rows], np.float32)
        if rows and stored.shape[1] != len(data[0]):
            raise MilvusException(1100, "vector dimension mismatch")
        found = []
        for vector in np.array(data, np.float32):
            near = stored @ vector if rows else np.empty(0)
            best = np.argsort(-near, kind="stable")[:limit]
            found.append([{"entity": rows[i], "distance": float(near[i])} for i in best])
        return found

    def _matching(self, name: str, filter: str) -> list[Row]:
        rows: list[Row] = self._of(name).rows
        if not filter:
            return rows
        partition = re.fullmatch(r'partition == "([^"]*)"', filter)
        if partition is None:
            raise MilvusException(1100, f"cannot parse expression: {filter}")
        return [row for row in rows if row["partition"] == partition[1]]

    def _get_connection(self) -> MemoryClient:
        return self

    def do_bulk_insert(self, name: str, partition: str, files: list[str]) -> int:
        """Read Parquet files, as a server does whose storage is this machine's."""
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        self.loaded.extend(files)
        for file in files:
            self._of(name).rows += pq.read_table(file).to_pylist()
        return 7

    def get_bulk_insert_state(self, task: int) -> SimpleNamespace:
        assert task == 7
        return SimpleNamespace(state=2, ImportCompleted=2)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> type[MemoryClient]:
    """All Milvus servers are empty and in memory; that at `URI`, for instance."""
    empty: dict[str, Any] = {"held": {}, "aliases": {}, "loaded": []}
    made = type("OwnMemoryClient", (MemoryClient,), empty)
    monkeypatch.setattr(pymilvus, "MilvusClient", made)
    return made
