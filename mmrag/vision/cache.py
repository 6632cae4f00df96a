"""Answers of model servers on disk, so that the same request is paid for once."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.system.sqlite import open_cache

_TABLE = (
    "CREATE TABLE IF NOT EXISTS responses "
    "(key TEXT PRIMARY KEY, answer TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID"
)


class ResponseCache:
    """A table from the hash of a request to its answer.

    Any number of processes and threads may use it at once. It holds answers and token counts, but
    only the SHA-256 of a request.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config.home() / "cache" / "responses.sqlite"

    @staticmethod
    def key(endpoint: str, request: dict[str, Any]) -> str:
        """SHA-256 of where a request goes and everything in it, image bytes included."""
        text = json.dumps([endpoint, request], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer that `put` stored, or None; a damaged one is forgotten, to be asked anew."""
        if not self.path.is_file():
            return None
        with open_cache(self.path, _TABLE) as connection:
            row = connection.execute(
                "SELECT answer FROM responses WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                return None
            try:
                answer = json.loads(row[0])
            except (TypeError, ValueError):
                answer = None
            if isinstance(answer, dict):
                return answer
            connection.execute("DELETE FROM responses WHERE key = ?", (key,))
        logging.getLogger(__name__).warning(
            "An answer in the cache %s was damaged; it is asked for anew.", self.path
        )
        return None

    def forget(self, key: str) -> None:
        """Remove an answer, so that another can take its place."""
        with open_cache(self.path, _TABLE) as connection:
            connection.execute("DELETE FROM responses WHERE key = ?", (key,))

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Store an answer; the first one stays, so that repetitions agree."""
        with open_cache(self.path, _TABLE) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO responses VALUES (?, ?, ?)",
                (key, json.dumps(answer), time.time()),
            )
