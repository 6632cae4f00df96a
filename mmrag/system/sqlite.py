"""What every SQLite file of mmrag needs, which several processes may open at once."""

from __future__ import annotations

import sqlite3
import time

TIMEOUT_SECONDS = 30.0


def use_wal(connection: sqlite3.Connection) -> None:
    """Put the file into WAL mode, where readers and a writer do not wait for each other.

    While somebody else does the same to a new file SQLite fails at once, whatever its timeout.

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
