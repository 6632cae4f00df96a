"""Parquet files, read row by row in a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from mmrag.errors import EvalSetError
from mmrag.eval_sets.records import Record

# Rows read at once: pictures are large.
_ROWS = 64


def rows(files: Iterable[Path], columns: Iterable[str]) -> Iterator[Record]:
    """Every row, with the `columns` that its file has; a record's `line` counts rows.

    Raises:
        EvalSetError: a file cannot be read.
    """
    wanted = list(columns)
    for path in files:
        number = 0
        try:
            with pq.ParquetFile(path) as file:
                there = [name for name in wanted if name in file.schema_arrow.names]
                for batch in file.iter_batches(_ROWS, columns=there):
                    for values in batch.to_pylist():
                        number += 1
                        yield Record(path, number, values, "row")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise EvalSetError(f"{path} cannot be read: {error}.") from error
