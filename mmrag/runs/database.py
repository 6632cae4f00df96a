"""The SQL database for runs, SQLite in WAL mode or PostgreSQL; its errors show no passwords."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateIndex, CreateTable

from mmrag import config
from mmrag.errors import MmragError, one_line
from mmrag.runs import schema
from mmrag.system.sqlite import use_wal


class Database:
    """Connections to the run store's database; safe to share between threads.

    Args:
        url: `sqlite:///FILE`, `postgresql+psycopg://user:password@host/database`, or the path of
            an SQLite file. Default: `MMRAG_RUNS_URL`, else `runs.db` under `MMRAG_HOME`.

    Raises:
        MmragError: unknown kind of database, no answer from it, or another version made it.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None) -> None:
        self.url = _parse(os.fspath(url) if url is not None else config.runs_url())
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        try:
            with self.errors("cannot be opened"):
                self.engine = self._make_engine()
                self._make_tables()
            return
        # Each driver fails in its own way on a bad URL.
        except (ValueError, TypeError, OverflowError) as error:
            reason = self._without_password(one_line(error))
        raise MmragError(f"The run store {self.shown} cannot be opened: {reason.rstrip('.')}.")

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self, what: str) -> Iterator[sa.Connection]:
        """A transaction; `what` completes "The run store ..." when it fails."""
        with self.errors(what), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn the driver's errors into an `MmragError` of one sentence, without a password."""
        try:
            yield
        # A name that is not valid UTF-8 cannot be stored.
        except (SQLAlchemyError, UnicodeEncodeError) as error:
            cause = getattr(error, "orig", None) or error
            reason = self._without_password(one_line(cause))
            where = f"The run store {self.shown} {what}: {reason.rstrip('.')}."
        else:
            return
        # Raised here, without the cause: a traceback of the driver may quote the password.
        if not self.is_sqlite:
            raise MmragError(f"{where} Check MMRAG_RUNS_URL.")
        damaged = any(words in reason for words in ("malformed", "not a database"))
        way = " `mmrag doctor --repair` moves it aside and says what is lost." if damaged else ""
        raise MmragError(where + way)

    def close(self) -> None:
        """Disconnect."""
        self.engine.dispose()

    def _make_engine(self) -> sa.Engine:
        if not self.is_sqlite:
            options: dict[str, Any] = {"connect_timeout": 10}
            return sa.create_engine(self.url, pool_pre_ping=True, connect_args=options)
        in_memory = self.url.database in (None, "", ":memory:")
        if in_memory:
            engine = sa.create_engine(
                self.url, poolclass=StaticPool, connect_args={"check_same_thread": False}
            )
        else:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
            engine = sa.create_engine(self.url, connect_args={"timeout": 30})

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA busy_timeout = 30000")
            use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")

        return engine

    def _make_tables(self) -> None:
        try:
            self._create_all()
        except (ProgrammingError, IntegrityError):
            # PostgreSQL's error when another process made them at the same moment; they exist.
            self._create_all()
        with self.engine.begin() as connection:
            query = sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")
            version = connection.execute(query).scalar()
            if version is None:
                self._note_version(connection)
                return
        if version != schema.SCHEMA_VERSION:
            raise MmragError(
                f"The run store {self.shown} was made by another version of mmrag (its schema is "
                f"{version}, this one's {schema.SCHEMA_VERSION}); name another with MMRAG_RUNS_URL."
            )

    def _create_all(self) -> None:
        """Create the tables in one transaction; SQLite checks and creates in one step."""
        with self.engine.begin() as connection:
            for table in schema.tables.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    connection.execute(CreateIndex(index, if_not_exists=True))

    def _note_version(self, connection: sa.Connection) -> None:
        if self.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        note = insert(schema.meta).values(key="schema", value=schema.SCHEMA_VERSION)
        connection.execute(note.on_conflict_do_nothing())

    def _without_password(self, text: str) -> str:
        password = self.url.password
        for form in {password, quote(password or ""), quote_plus(password or "")}:
            if form:
                text = text.replace(str(form), "***")
        return text


def _parse(url: str) -> URL:
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).absolute()))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = URL.create("unreadable")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise MmragError(
            "The run store's URL (MMRAG_RUNS_URL) must be sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        )
    return parsed
