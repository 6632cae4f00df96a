"""WebDataset: pictures in tar archives, each with a record beside it, and the labels as tables.

`corpus/corpus-000000.tar` and `queries/queries-000000.tar` hold `KEY.jpg` (or .png, ...) and
`KEY.json` with id, text and metadata; further pictures of a query are `KEY.1.jpg` and so on.
`qrels.csv` has query-id, corpus-id and score, `pools.csv` query-id and corpus-id if queries have
candidates of their own.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.images.decode import read_bytes

# Pictures per archive, so that several machines can share the work.
_SHARD = 10_000


def export_set(eval_set: EvalSet, folder: Path) -> None:
    """Write archives and tables, one picture in memory at a time."""
    if any(one.without for one in eval_set.queries):
        raise EvalSetError("WebDataset has nothing for what is not wanted; export the set as beir.")
    corpus = (
        ([image.path], {"id": image.image_id, "text": image.text, "metadata": image.metadata})
        for image in eval_set.images
    )
    queries = (
        (
            query.images,
            {
                "id": query.query_id,
                "text": query.text,
                "category": query.category,
                "paraphrases": query.paraphrases,
                "metadata": query.metadata,
            },
        )
        for query in eval_set.queries
    )
    _write_shards(folder / "corpus", corpus)
    _write_shards(folder / "queries", queries)
    judged = (
        (query_id, image_id, grade)
        for query_id, grades in eval_set.qrels.items()
        for image_id, grade in grades.items()
    )
    _write_table(folder / "qrels.csv", ("query-id", "corpus-id", "score"), judged)
    if any(query.pool for query in eval_set.queries):
        pools = ((one.query_id, image_id) for one in eval_set.queries for image_id in one.pool)
        _write_table(folder / "pools.csv", ("query-id", "corpus-id"), pools)


def _write_shards(folder: Path, samples: Iterable[tuple[Sequence[str], dict[str, Any]]]) -> None:
    folder.mkdir()
    for number, some in enumerate(_shards(samples)):
        with tarfile.open(folder / f"{folder.name}-{number:06d}.tar", "w") as archive:
            for place, (paths, record) in enumerate(some):
                key = f"{number * _SHARD + place:08d}"
                for i, path in enumerate(paths):
                    suffix = Path(path).suffix.lower() or ".img"
                    name = key + (f".{i}" if i else "") + suffix
                    _add(archive, name, read_bytes(path))
                kept = {name: value for name, value in record.items() if value}
                _add(archive, f"{key}.json", orjson.dumps(kept))


def _shards(samples: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """Groups of `_SHARD` samples, each to be read before the next is asked for."""
    source = iter(samples)
    for first in source:

        def part(first: Any = first) -> Iterator[Any]:
            yield first
            for _, sample in zip(range(_SHARD - 1), source, strict=False):
                yield sample

        yield part()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
