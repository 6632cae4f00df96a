"""SQLite files of mmrag, which several processes may open at once."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mmrag.errors import MmragError
from mmrag.system.durable import move_aside
from mmrag.system.locks import locked

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
TIMEOUT_SECONDS = 30.0


def use_wal(connection: sqlite3.Connection) -> None:
    """Put the file into WAL mode, where readers and a writer do not wait for each other.

    If another process does the same to a new file, SQLite fails at once, whatever its timeout.

    Raises:
        sqlite3.OperationalError: the file stays locked for `TIMEOUT_SECONDS`, or cannot be written.
    """
    ends = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
        time.sleep(0.01)


@contextmanager
def open_cache(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file in WAL mode for things that can be made again; commits on success.

    A damaged file is moved aside and a new one begun. The last writes before a power failure may
    be lost and made again, so they need not be synced (`synchronous = NORMAL`).

    Args:
        table: the SQL that creates its table, if absent.

    Raises:
        MmragError: the file cannot be written, or turned out to be damaged; says what to do.
    """
    seen = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        seen = _mend(path)
        with closing(sqlite3.connect(path, timeout=TIMEOUT_SECONDS)) as connection, connection:
            use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(table)
            yield connection
    except sqlite3.Error as error:
        if _is_damage(error):
            _set_aside(path, seen)
            raise MmragError(
                f"The cache {path} was damaged ({error}) and has been moved aside; run it again."
            ) from error
        raise MmragError(
            f"The cache {path} cannot be used ({error}); remove it, or go on with --no-cache."
        ) from error


def _mend(path: Path) -> os.stat_result | None:
    """Check whether a file is a database at all, and move it aside if not.

    Returns:
        The file checked; None if there is none.
    """
    for _ in range(2):
        if not path.exists():
            return None
        seen = path.stat()
        try:
            with closing(sqlite3.connect(path, timeout=TIMEOUT_SECONDS)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return seen
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            _set_aside(path, seen)
    return None


def _is_damage(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def _set_aside(path: Path, seen: os.stat_result | None) -> None:
    """Move a damaged file and its log aside, unless another process has done so meanwhile."""
    with locked(path.parent):
        if seen is None or not path.exists() or not os.path.samestat(seen, path.stat()):
            return
        there = move_aside(path)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(there.with_name(there.name + suffix))
    logging.getLogger(__name__).warning(
        "The cache %s was damaged; it is now %s, and a new one is begun.", path, there.name
    )
