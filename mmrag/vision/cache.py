"""Answers of model servers on disk, so that the same request is paid for once."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system.sqlite import use_wal


class ResponseCache:
    """A table from the hash of a request to its answer.

    Any number of processes and threads may use it at once. It holds answers and token counts, and
    of a request only its SHA-256.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config.home() / "cache" / "responses.sqlite"

    @staticmethod
    def key(endpoint: str, request: dict[str, Any]) -> str:
        """SHA-256 of where a request goes and everything in it, image bytes included."""
        text = json.dumps([endpoint, request], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer that `put` stored, or None."""
        if not self.path.is_file():
            return None
        with self._open() as connection:
            row = connection.execute(
                "SELECT answer FROM responses WHERE key = ?", (key,)
            ).fetchone()
        answer: dict[str, Any] | None = json.loads(row[0]) if row else None
        return answer

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Store an answer; the first one stays, so that repetitions agree."""
        with self._open() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO responses VALUES (?, ?, ?)",
                (key, json.dumps(answer), time.time()),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with open_database(
            self.path,
            "CREATE TABLE IF NOT EXISTS responses "
            "(key TEXT PRIMARY KEY, answer TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID",
        ) as connection:
            yield connection


@contextmanager
def open_database(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """A SQLite file in WAL mode with one table; commits on success.

    Raises:
        MmragError: the file is damaged or cannot be written; says how to go on.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(schema)
            yield connection
    except sqlite3.Error as error:
        raise MmragError(
            f"The cache {path} cannot be used ({error}); remove it, or go on with --no-cache."
        ) from error
