"""Embeddings of images by their content, in memory and on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmrag import config
from mmrag.encoders.encoder import Encoder, Prepared, Vectors
from mmrag.errors import ImageError
from mmrag.images.decode import read_bytes
from mmrag.system.sqlite import open_cache

_MOST_PARAMETERS = 500
_TABLE = (
    "CREATE TABLE IF NOT EXISTS embeddings (encoder TEXT, content_hash TEXT, "
    "vector BLOB NOT NULL, PRIMARY KEY (encoder, content_hash)) WITHOUT ROWID"
)


class EmbeddingCache:
    """The vectors of images under one encoder, each computed once per content.

    On disk they are raw little-endian float32 under the encoder's fingerprint and the SHA-256 of
    the file; any number of processes may use it at once.

    Args:
        encoder: computes missing vectors.
        path: SQLite file, by default `MMRAG_HOME/cache/embeddings.sqlite`; None with `disk=False`.
        disk: whether vectors outlive the process.
    """

    def __init__(self, encoder: Encoder, path: Path | None = None, *, disk: bool = True) -> None:
        self.encoder = encoder
        self.path = path or config.home() / "cache" / "embeddings.sqlite"
        self.disk = disk
        self._vectors: dict[str, Vectors] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}

    def know(self, vectors: Mapping[str, Vectors]) -> None:
        """Add vectors computed elsewhere, by the SHA-256 of their files."""
        self._vectors |= vectors

    def embed(self, paths: Sequence[str], batch_size: int = 32) -> dict[str, Vectors | ImageError]:
        """Each path's vector of shape (dim,), or the reason it cannot be read."""
        found: dict[str, Vectors | ImageError] = {}
        hashes: dict[str, str] = {}
        for path in dict.fromkeys(paths):
            try:
                hashes[path] = self._hash(path)
            except ImageError as error:
                found[path] = error
        wanted = set(hashes.values()) - self._vectors.keys()
        if wanted and self.disk:
            self._vectors.update(self._load(sorted(wanted)))
        missing = {digest: path for path, digest in hashes.items() if digest not in self._vectors}
        unreadable = self._compute(missing, batch_size) if missing else {}
        for path, digest in hashes.items():
            found[path] = unreadable[digest] if digest in unreadable else self._vectors[digest]
        return found

    def _compute(self, missing: dict[str, str], batch_size: int) -> dict[str, ImageError]:
        unreadable: dict[str, ImageError] = {}
        fresh: dict[str, Vectors] = {}

        def load(digest: str) -> Prepared:
            return self.encoder.prepare(missing[digest], None)

        for digest, outcome in self.encoder.encode_stream(missing, load, batch_size):
            if isinstance(outcome, ImageError):
                unreadable[digest] = outcome
            else:
                assert outcome is not None
                fresh[digest] = np.ascontiguousarray(outcome, "<f4")
        self._vectors.update(fresh)
        if self.disk and fresh:
            name = self.encoder.info.fingerprint
            with open_cache(self.path, _TABLE) as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                    [(name, digest, vector.tobytes()) for digest, vector in fresh.items()],
                )
        return unreadable

    def _load(self, digests: list[str]) -> dict[str, Vectors]:
        if not self.path.is_file():
            return {}
        loaded: dict[str, Vectors] = {}
        with open_cache(self.path, _TABLE) as connection:
            for start in range(0, len(digests), _MOST_PARAMETERS):
                some = digests[start : start + _MOST_PARAMETERS]
                rows = connection.execute(
                    "SELECT content_hash, vector FROM embeddings WHERE encoder = ? "
                    f"AND content_hash IN ({','.join('?' * len(some))})",
                    [self.encoder.info.fingerprint, *some],
                )
                for digest, raw in rows:
                    if len(raw) == 4 * self.encoder.info.dim:
                        loaded[digest] = np.frombuffer(raw, "<f4")
        return loaded

    def _hash(self, path: str) -> str:
        """The file's SHA-256, read again if its size or time changed."""
        try:
            stat = Path(path).stat()
        except OSError:
            stat = None
        key = (path, stat.st_mtime_ns, stat.st_size) if stat else None
        if key is None or key not in self._hashes:
            digest = hashlib.sha256(read_bytes(path)).hexdigest()
            if key is None:
                return digest
            self._hashes[key] = digest
        return self._hashes[key]
