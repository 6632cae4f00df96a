"""The run store: runs in a database, written as they are made and read whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa

from mmrag.errors import MmragError
from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import Summary
from mmrag.runs import schema
from mmrag.runs.database import Database
from mmrag.runs.owner import is_alive, is_on_this_machine, is_this_process, this_process
from mmrag.runs.run import RERANKED, RETRIEVAL, EvalSetRef, Ranked, Run, UnderWay
from mmrag.types import Usage

_COLUMNS = ("run_id", "name", "state", "created")
_ELSEWHERE = ("rankings", "scores")
OWN_NOTE, _LONGEST_NOTE = "Own note: ", 2000


class RunStore:
    """A store of runs; a context manager, safe to share between threads.

    Args:
        url: `postgresql+psycopg://user:password@host/database`, `sqlite:///FILE` or the path of
            an SQLite file; `sqlite://` keeps runs in memory. Default: `MMRAG_RUNS_URL`, else
            `runs.db` under `MMRAG_HOME`.

    Raises:
        MmragError: the database does not answer or is not a run store; never shows a password.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None) -> None:
        self.database = Database(url)

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self.database.close()

    def runs(self, eval_set: str | None = None, limit: int | None = None) -> list[Run]:
        """Runs without their rankings, newest first.

        Args:
            eval_set: only those of the eval set of this name.
            limit: at most this many.
        """
        query = sa.select(schema.runs).order_by(
            schema.runs.c.created.desc(), schema.runs.c.run_id.desc()
        )
        if eval_set is not None:
            query = query.where(schema.runs.c.eval_set == eval_set)
        with self.database.begin("cannot be read") as connection:
            return [_run(row) for row in connection.execute(query.limit(limit)).mappings()]

    def under_way_elsewhere(self) -> list[UnderWay]:
        """Runs that other processes are making now, newest first."""
        c = schema.runs.c
        query = sa.select(schema.runs).where(c.state == "running").order_by(c.created.desc())
        with self.database.begin("cannot be read") as connection:
            return [
                _under_way(row, connection)
                for row in connection.execute(query).mappings().all()
                if is_alive(row["owner"], row["touched"]) and not is_this_process(row["owner"])
            ]

    def find(self, reference: str) -> str:
        """The id of a run named by its id, the beginning of the id, its name, or "latest".

        Of several runs with the same name, the newest counts.

        Raises:
            MmragError: there is none, or several ids begin so.
        """
        c = schema.runs.c
        conditions: list[sa.ColumnElement[bool]]
        if reference == "latest":
            conditions = [sa.true()]
        else:
            begins = sa.func.substr(c.run_id, 1, len(reference)) == reference
            conditions = [c.run_id == reference, c.name == reference, begins]
        with self.database.begin("cannot be read") as connection:
            for condition in conditions:
                query = sa.select(c.run_id).where(condition)
                found = connection.execute(query.order_by(c.created.desc(), c.run_id.desc()))
                ids = [str(run_id) for run_id in found.scalars()]
                if len(ids) > 1 and len(conditions) > 1 and condition is conditions[-1]:
                    raise MmragError(
                        f"{reference!r} is the beginning of {len(ids)} runs: {', '.join(ids[:5])}."
                    )
                if ids:
                    return ids[0]
        raise MmragError(
            f"There is no run {reference!r} in {self.database.shown}; `mmrag runs` lists them."
        )

    def load(self, reference: str) -> Run:
        """Load a whole run; see `find` for how to name it.

        Raises:
            MmragError: there is none.
        """
        run_id = self.find(reference)
        with self.database.begin("cannot be read") as connection:
            query = sa.select(schema.runs).where(schema.runs.c.run_id == run_id)
            run = _run(connection.execute(query).mappings().one())
            rows = sa.select(schema.rankings).where(schema.rankings.c.run_id == run_id)
            for row in connection.execute(rows.order_by(schema.rankings.c.query_id)):
                run.rankings.setdefault(row.stage, {})[row.query_id] = _ranked(row)
            kept = sa.select(schema.scores).where(schema.scores.c.run_id == run_id)
            for row in connection.execute(kept):
                run.scores[row.stage] = _scores(row.data)
        return run

    def start(self, run: Run, resume_key: str | None = None) -> None:
        """Store a new run that this process makes."""
        row = _columns(run) | {"resume_key": resume_key, "owner": this_process(), "touched": now()}
        with self.database.begin("cannot be written") as connection:
            connection.execute(schema.runs.insert(), row)

    def resume(self, resume_key: str) -> Run | None:
        """Take over the newest unfinished run with this key that no process is making."""
        c = schema.runs.c
        query = sa.select(schema.runs).where(c.resume_key == resume_key, c.state != "complete")
        with self.database.begin("cannot be read") as connection:
            for row in connection.execute(query.order_by(c.created.desc())).mappings():
                if row["state"] == "running" and is_alive(row["owner"], row["touched"]):
                    continue
                mine = sa.update(schema.runs).where(
                    c.run_id == row["run_id"], c.owner == row["owner"], c.state == row["state"]
                )
                done = connection.execute(
                    mine.values(owner=this_process(), touched=now(), state="running")
                )
                if done.rowcount == 1:
                    run = _run(row)
                    run.state = "running"
                    return run
        return None

    def write(self, run_id: str, stage: str, ranked: Sequence[Ranked]) -> None:
        """Store rankings of a run; they are kept whatever happens afterwards."""
        rows = [
            {
                "run_id": run_id,
                "stage": stage,
                "query_id": one.query_id,
                "image_ids": orjson.dumps(one.image_ids).decode(),
                "scores": orjson.dumps(one.scores).decode(),
                "timings_ms": orjson.dumps(one.timings_ms).decode(),
                "usage": orjson.dumps(one.usage).decode() if one.usage else None,
                "details": orjson.dumps(one.details).decode(),
            }
            for one in ranked
        ]
        if rows:
            with self.database.begin("cannot be written") as connection:
                connection.execute(schema.rankings.insert(), rows)
                mine = sa.update(schema.runs).where(schema.runs.c.run_id == run_id)
                connection.execute(mine.values(touched=now()))

    def read(self, run_id: str, stage: str) -> dict[str, Ranked]:
        """The rankings of one stage, by query id."""
        c = schema.rankings.c
        query = sa.select(schema.rankings).where(c.run_id == run_id, c.stage == stage)
        with self.database.begin("cannot be read") as connection:
            return {row.query_id: _ranked(row) for row in connection.execute(query)}

    def save(self, run: Run) -> None:
        """Store what is known about a run besides its rankings, and its per-query metrics."""
        c = schema.runs.c
        with self.database.begin("cannot be written") as connection:
            connection.execute(
                sa.update(schema.runs).where(c.run_id == run.run_id).values(**_columns(run))
            )
            connection.execute(sa.delete(schema.scores).where(schema.scores.c.run_id == run.run_id))
            for stage, scores in run.scores.items():
                row = {"run_id": run.run_id, "stage": stage, "data": _scores_json(scores)}
                connection.execute(schema.scores.insert(), row)

    def annotate(self, reference: str, note: str) -> str:
        """Write one's own note on a run, replacing the one before; return the run's id.

        It appears among the run's notes as "Own note: ..."; an empty note removes it.

        Raises:
            MmragError: there is no such run, or the note is longer than 2,000 characters.
        """
        words = " ".join(note.split())
        if len(words) > _LONGEST_NOTE:
            raise MmragError(f"A note has up to {_LONGEST_NOTE:,} characters, not {len(words):,}.")
        run_id = self.find(reference)
        c = schema.runs.c
        with self.database.begin("cannot be written") as connection:
            row = sa.select(c.header).where(c.run_id == run_id)
            header = orjson.loads(connection.execute(row).scalar_one())
            notes = [one for one in header.get("notes", []) if not one.startswith(OWN_NOTE)]
            header["notes"] = [*notes, OWN_NOTE + words] if words else notes
            written = orjson.dumps(header).decode()
            connection.execute(
                sa.update(schema.runs).where(c.run_id == run_id), {"header": written}
            )
        return run_id

    def delete(self, reference: str) -> str:
        """Remove a run and return its id."""
        run_id = self.find(reference)
        with self.database.begin("cannot be written") as connection:
            connection.execute(sa.delete(schema.runs).where(schema.runs.c.run_id == run_id))
        return run_id


def new_run_id() -> str:
    """An id that sorts by time: the time in UTC and six random characters."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def run_document(run: Run) -> dict[str, Any]:
    """Convert a loaded run to plain values that `run_from_document` takes back."""
    return {
        **_columns(run),
        "rankings": {
            stage: [asdict(one) for one in ranked.values()]
            for stage, ranked in run.rankings.items()
        },
        "scores": {stage: orjson.loads(_scores_json(one)) for stage, one in run.scores.items()},
    }


def run_from_document(held: dict[str, Any]) -> Run:
    """Rebuild the run of a `run_document`.

    Raises:
        KeyError, TypeError, ValueError: not such a document.
    """
    run = _run({name: held[name] for name in (*_COLUMNS, "header")} | {"owner": "", "touched": ""})
    for stage, rows in held["rankings"].items():
        run.rankings[stage] = {
            row["query_id"]: Ranked(
                **{**row, "usage": Usage(**row["usage"]) if row["usage"] else None}
            )
            for row in rows
        }
    run.scores = {stage: _scores(orjson.dumps(one)) for stage, one in held["scores"].items()}
    return run


def _columns(run: Run) -> dict[str, Any]:
    header = {
        one.name: getattr(run, one.name)
        for one in fields(run)
        if one.name not in (*_COLUMNS, *_ELSEWHERE)
    }
    try:
        written = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        run.name.encode()
    # A name or path that is not UTF-8.
    except (TypeError, UnicodeEncodeError) as error:
        raise MmragError(f"The run {run.name!r} cannot be stored: {error}.") from error
    return {
        **{name: getattr(run, name) for name in _COLUMNS},
        "eval_set": run.eval_set.name,
        "header": written,
    }


def _run(row: sa.RowMapping | Mapping[str, Any]) -> Run:
    header: dict[str, Any] = orjson.loads(row["header"])
    header["eval_set"] = EvalSetRef(**header["eval_set"])
    header["usage"] = Usage(**header["usage"])
    header["lost"] = Usage(**header.get("lost", {}))
    header["summaries"] = {k: Summary.from_json(v) for k, v in header["summaries"].items()}
    run = Run(**{name: row[name] for name in _COLUMNS}, **header)
    if run.state == "running" and not is_alive(row["owner"], row["touched"]):
        run.state = "interrupted"
    return run


def _under_way(row: sa.RowMapping, connection: sa.Connection) -> UnderWay:
    c = schema.rankings.c
    query = sa.select(c.stage, sa.func.count()).where(c.run_id == row["run_id"]).group_by(c.stage)
    finished = {str(stage): int(n) for stage, n in connection.execute(query)}
    stage = RERANKED if RERANKED in finished else RETRIEVAL
    return UnderWay(_run(row), stage, finished.get(stage, 0), is_on_this_machine(row["owner"]))


def _ranked(row: Any) -> Ranked:
    return Ranked(
        row.query_id,
        orjson.loads(row.image_ids),
        orjson.loads(row.scores),
        orjson.loads(row.timings_ms),
        Usage(**orjson.loads(row.usage)) if row.usage else None,
        orjson.loads(row.details),
    )


def _scores_json(scores: Scores) -> str:
    # NaN, "not defined for this query", becomes null.
    return orjson.dumps(asdict(scores), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _scores(data: str | bytes) -> Scores:
    held = orjson.loads(data)
    held["values"] = {name: np.array(v, np.float64) for name, v in held["values"].items()}
    held["aspects"] = [tuple(one) for one in held["aspects"]]
    return Scores(**held)
