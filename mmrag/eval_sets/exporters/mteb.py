"""The layout that MTEB uses on the hub: Parquet files with the pictures inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.images.decode import read_bytes

_ROWS = 64
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ITEMS = pa.schema(
    [("id", pa.string()), ("modality", pa.string()), ("text", pa.string()), ("image", _PICTURE)]
)
_POOLS = pa.schema([("query-id", pa.string()), ("corpus-ids", pa.list_(pa.string()))])
_QRELS = pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int64())])


def export_set(eval_set: EvalSet, folder: Path) -> None:
    """Write `corpus`, `queries` and `qrels`, one file each, few rows in memory at a time.

    Candidates of queries become `top_ranked`.
    """
    if any(one.more_images or one.without for one in eval_set.queries):
        raise EvalSetError(
            "MTEB's layout has one picture a query, and nothing for what is not wanted; export "
            "the set as beir."
        )
    corpus = (_item(one.image_id, one.path, one.text or None) for one in eval_set.images)
    queries = (_item(one.query_id, one.image, one.text) for one in eval_set.queries)
    qrels = (
        {"query-id": query_id, "corpus-id": image_id, "score": grade}
        for query_id, judged in eval_set.qrels.items()
        for image_id, grade in judged.items()
    )
    parts: list[tuple[str, Any, Iterable[dict[str, Any]]]] = [
        ("corpus", _ITEMS, corpus),
        ("queries", _ITEMS, queries),
        ("qrels", _QRELS, qrels),
    ]
    pools = [{"query-id": q.query_id, "corpus-ids": q.pool} for q in eval_set.queries if q.pool]
    if pools:
        parts.append(("top_ranked", _POOLS, pools))
    for name, schema, rows in parts:
        path = folder / name / "test-00000-of-00001.parquet"
        path.parent.mkdir()
        with pq.ParquetWriter(path, schema) as writer:
            for some in _batches(rows):
                writer.write_table(pa.Table.from_pylist(some, schema))


def _item(name: str, path: str | None, text: str | None) -> dict[str, Any]:
    image = {"bytes": read_bytes(path), "path": Path(path).name} if path else None
    kinds = [kind for kind, there in (("image", image), ("text", text)) if there]
    return {"id": name, "modality": ",".join(kinds), "text": text, "image": image}


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == _ROWS:
            yield some
            some = []
    if some:
        yield some
