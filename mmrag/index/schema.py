"""The fields of a collection's rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

# Milvus's own limits, in bytes.
MAX_ID, MAX_PATH, MAX_TEXT, MAX_METADATA = 1024, 4096, 65_535, 65_535
STORED_FIELDS = ("image_id", "content_hash", "path", "text", "metadata")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def row_key(image_id: str) -> str:
    """A row's primary key, a hash of its id.

    The driver puts keys into filter expressions unescaped, so file names must not be keys.
    """
    return hashlib.sha256(image_id.encode()).hexdigest()


def partition_value(metadata: Mapping[str, Any], key: str) -> str:
    """The value of the field `partition`: text as it is, a number or truth value as JSON.

    Images without that key, or with a list or object as its value, share the partition "".
    """
    value = metadata.get(key)
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else ""


def in_partition(value: str, filter: str | None = None) -> str:
    """The filter expression for one partition, and for `filter` within it.

    Parameters of expressions (`filter_params`) would need Milvus 2.5; Milvus Lite 3.2 has none.
    """
    partition = f'partition == "{value.translate(_ESCAPES)}"'
    return f"{partition} and ({filter})" if filter else partition


def after_key(key: str, filter: str | None = None) -> str:
    """The filter expression for rows after that primary key (all, if empty) that match `filter`."""
    if not key:
        return filter or ""
    behind = f'key > "{key}"'
    return f"{behind} and ({filter})" if filter else behind


def collection_schema(dim: int, partitioned: bool = False) -> CollectionSchema:
    """Key, image id, hashes, path, text, metadata and vector.

    `content_hash` is the SHA-256 of the file; `row_hash` tells whether the vector (first half) and
    the other fields (second half) are still right. `partition`, if wanted, is Milvus's partition
    key: rows with the same value are stored together.
    """
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("image_id", DataType.VARCHAR, max_length=MAX_ID)
    schema.add_field("content_hash", DataType.VARCHAR, max_length=64)
    schema.add_field("row_hash", DataType.VARCHAR, max_length=64)
    schema.add_field("path", DataType.VARCHAR, max_length=MAX_PATH)
    schema.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field("metadata", DataType.JSON)
    if partitioned:
        schema.add_field(
            "partition", DataType.VARCHAR, max_length=MAX_METADATA, is_partition_key=True
        )
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    return schema
