"""Rows as Parquet shards in a folder or bucket, and a manifest that says what they are.

Any number of workers write at once: a shard appears whole, under a name made from its contents, so
writing it again changes nothing. Rows hold no path of the machine that made them: an image is at
its id below whatever root the reader names.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from mmrag.distributed.sources import file_system, file_system_errors
from mmrag.encoders.encoder import EncoderInfo
from mmrag.errors import MmragError
from mmrag.index.rows import Candidate, metadata_json
from mmrag.system.durable import sync_folder

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Vectors

_FORMAT = 1
_MANIFEST = "manifest.json"
TEXT_COLUMNS = ("image_id", "content_hash", "text", "metadata")


@dataclass(frozen=True)
class Manifest:
    """The contents of `manifest.json`: which vectors, whether all are there, and in which files."""

    encoder: str
    fingerprint: str
    dim: int
    image_size: int
    precision: str
    embed: str
    complete: bool = False
    rows: int = 0
    shards: tuple[str, ...] = ()
    format: int = _FORMAT

    @classmethod
    def of(cls, info: EncoderInfo, embed: str) -> Manifest:
        """The manifest of a folder about to be written."""
        fingerprint = info.fingerprint_of(embed)
        shown = (info.name, fingerprint, info.dim, info.image_size, info.precision)
        return cls(*shown, embed)

    def info(self) -> EncoderInfo:
        """The encoder, as far as a collection needs it."""
        names = (self.encoder, self.dim, self.image_size, self.fingerprint)
        return EncoderInfo(*names, "", "", "", self.precision, 0)


class ShardFolder:
    """A folder of shards, by path or URL.

    Raises:
        MmragError: from every method, when the place cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with file_system_errors(url):
            self.fs, self.root = file_system(url)

    def manifest(self) -> Manifest | None:
        """The folder's manifest; None when nothing was written there yet.

        Raises:
            MmragError: it was made by another version, or is no manifest of ours.
        """
        with file_system_errors(self.url):
            try:
                data = self.fs.cat_file(f"{self.root}/{_MANIFEST}")
            except FileNotFoundError:
                return None
        try:
            fields = json.loads(data)
            if fields.get("format") != _FORMAT:
                raise ValueError(f"format {fields.get('format')!r} instead of {_FORMAT}")
            made = Manifest(**{**fields, "shards": tuple(fields["shards"])})
            if not all(_is_shard(name) for name in made.shards):
                raise ValueError("a shard's name is none of ours")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MmragError(f"{self.url}/{_MANIFEST} cannot be used: {error}.") from error
        return made

    def begin(self, wanted: Manifest) -> None:
        """Note that the folder is being written, with vectors of this kind.

        Raises:
            MmragError: it holds vectors of another kind.
        """
        have = self.manifest()
        if have is not None:
            for field in ("fingerprint", "dim", "embed"):
                ours, theirs = getattr(wanted, field), getattr(have, field)
                if ours != theirs:
                    raise MmragError(
                        f"{self.url} holds vectors of {have.encoder!r} with {field} {theirs!r}, "
                        f"not {ours!r}; name another folder with --parquet."
                    )
        self._write(_MANIFEST, _json(wanted))

    def complete(self, manifest: Manifest) -> None:
        """Note that everything is there."""
        self._write(_MANIFEST, _json(manifest))

    def names(self) -> list[str]:
        """The shards that are there, including those of a killed run."""
        with file_system_errors(self.url):
            try:
                found = self.fs.ls(self.root, detail=False, refresh=True)
            except FileNotFoundError:
                return []
        return sorted(n for n in (str(path).rpartition("/")[2] for path in found) if _is_shard(n))

    def read(self, name: str, dim: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard, or some of its columns.

        Raises:
            MmragError: it is absent, damaged, or not one of ours.
        """
        path = f"{self.root}/{name}"
        with file_system_errors(f"{self.url}/{name}"), self.fs.open(path, "rb") as file:
            data = pq.ParquetFile(file)
            if not data.schema_arrow.remove_metadata().equals(shard_schema(dim)):
                raise MmragError(f"{self.url}/{name} is no shard of {dim} dimensions.")
            return data.read(columns=list(columns) if columns else None)

    def write(self, table: pa.Table) -> str:
        """Write a shard under a name made from its contents; return the name."""
        digest = hashlib.sha256()
        for row in zip(*(table[name].to_pylist() for name in TEXT_COLUMNS), strict=True):
            digest.update(json.dumps(row).encode())
        name = f"part-{digest.hexdigest()[:32]}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", use_dictionary=False)
        self._write(name, sink.getvalue().to_pybytes())
        return name

    def delete(self, names: Iterable[str]) -> None:
        """Remove shards."""
        with file_system_errors(self.url):
            for name in names:
                self.fs.rm_file(f"{self.root}/{name}")

    def _write(self, name: str, data: bytes) -> None:
        """Write whole or not at all, as object stores do by themselves."""
        with file_system_errors(self.url):
            if not isinstance(self.fs, LocalFileSystem):
                self.fs.pipe_file(f"{self.root}/{name}", data)
                return
            Path(self.root).mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".part-", delete=False) as part:
                try:
                    part.write(data)
                    part.flush()
                    os.fsync(part.fileno())
                    os.fchmod(part.fileno(), 0o644)
                    os.replace(part.name, Path(self.root) / name)
                    sync_folder(Path(self.root))
                except BaseException:
                    Path(part.name).unlink(missing_ok=True)
                    raise


def shard_schema(dim: int) -> pa.Schema:
    """Text columns, and the vector as a list of `dim` float32."""
    texts = [(name, pa.string()) for name in TEXT_COLUMNS]
    return pa.schema([*texts, ("vector", pa.list_(pa.float32(), dim))])


def shard_table(done: Sequence[tuple[Candidate, Vectors]]) -> pa.Table:
    """The rows of embedded images, vectors of shape (dim,)."""
    dim = len(done[0][1])
    flat = pa.array(np.concatenate([vector for _, vector in done]).astype(np.float32, copy=False))
    columns = [
        [candidate.image.image_id for candidate, _ in done],
        [candidate.content_hash for candidate, _ in done],
        [candidate.image.text for candidate, _ in done],
        [metadata_json(candidate.image.metadata) for candidate, _ in done],
    ]
    arrays = [pa.array(column, pa.string()) for column in columns]
    vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
    return pa.Table.from_arrays([*arrays, vectors], schema=shard_schema(dim))


def text_rows(table: pa.Table) -> list[Mapping[str, Any]]:
    """The text columns of a shard, row by row."""
    return table.select(list(TEXT_COLUMNS)).to_pylist()


def vectors_of(table: pa.Table) -> Vectors:
    """(n, dim) float32 of a shard.

    Raises:
        MmragError: a vector is absent.
    """
    column = table["vector"].combine_chunks()
    if column.null_count or column.values.null_count:
        raise MmragError("A shard lacks vectors.")
    return np.asarray(column.flatten()).reshape(len(table), -1)


def _is_shard(name: Any) -> bool:
    return (
        isinstance(name, str)
        and name.startswith("part-")
        and name.endswith(".parquet")
        and name[5:-8].isalnum()
    )


def _json(manifest: Manifest) -> bytes:
    return json.dumps(asdict(manifest), indent=1).encode()
