"""What a collection's rows hold, and which index finds them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient
    from pymilvus.milvus_client import IndexParams

# Up to this many rows every search looks at all of them, so that results are exact.
EXACT_ROWS = 20_000
# Milvus's own limits, in bytes.
MAX_ID, MAX_PATH, MAX_TEXT, MAX_METADATA = 1024, 4096, 65_535, 65_535
STORED_FIELDS = ("image_id", "content_hash", "path", "text", "metadata")
_CELLS = 128


def row_key(image_id: str) -> str:
    """A row's primary key, a hash of its id.

    The driver puts keys into filter expressions unescaped, so names of files must not be keys.
    """
    return hashlib.sha256(image_id.encode()).hexdigest()


def collection_schema(dim: int) -> CollectionSchema:
    """Key, image id, hashes, path, text, metadata and vector.

    `content_hash` is the SHA-256 of the file; `row_hash` tells whether the vector (first half) and
    the other fields (second half) are still right.
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
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def index_params(client: MilvusClient, is_local: bool, exact: bool) -> IndexParams:
    """The index on `vector` by cosine: exact, or HNSW for collections too large for that."""
    build: dict[str, Any] = {}
    if not exact:
        kind, build = "HNSW", {"M": 16, "efConstruction": 200}
    elif is_local:
        # Probing all cells is an exact search too, and in Milvus Lite (which builds 128 of them
        # whatever it is told) faster than FLAT, which copies all vectors for each query.
        kind, build = "IVF_FLAT", {"nlist": _CELLS}
    else:
        kind = "FLAT"
    params = client.prepare_index_params()
    params.add_index("vector", index_type=kind, metric_type="COSINE", params=build)
    return params


def search_params(k: int) -> dict[str, Any]:
    """For any of the index kinds above."""
    return {"metric_type": "COSINE", "params": {"nprobe": _CELLS, "ef": max(128, k)}}
