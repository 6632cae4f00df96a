"""Jobs of the dashboard as rows in the run store, so that unfinished ones are not lost."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from mmrag.runs import schema
from mmrag.runs.database import Database
from mmrag.runs.owner import is_alive, is_on_this_machine, this_process


@dataclass(frozen=True)
class LeftJob:
    """A job that was waiting or running when its process ended.

    `plan` is as given to `JobRows.add`; `state` is "waiting" or "running"; `created` is ISO 8601.
    """

    row_id: str
    kind: str
    title: str
    plan: dict[str, Any]
    state: str
    created: str


class JobRows:
    """The jobs not yet over; finished ones have no row. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, kind: str, title: str, plan: dict[str, Any]) -> str:
        """Keep a job of this process until it is over; `plan` must be JSON. Returns its id."""
        row_id = secrets.token_hex(8)
        row = {
            "job_id": row_id,
            "kind": kind,
            "title": title,
            "plan": json.dumps(plan),
            "state": "waiting",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "owner": this_process(),
        }
        with self.database.begin("cannot be written") as connection:
            connection.execute(schema.jobs.insert().values(row))
        return row_id

    def running(self, row_id: str) -> None:
        """Note that a job has begun."""
        change = schema.jobs.update().where(schema.jobs.c.job_id == row_id)
        with self.database.begin("cannot be written") as connection:
            connection.execute(change.values(state="running"))

    def over(self, row_id: str) -> None:
        """Forget a job: it is over, continues as another one, or is no longer wanted."""
        with self.database.begin("cannot be written") as connection:
            connection.execute(schema.jobs.delete().where(schema.jobs.c.job_id == row_id))

    def left(self) -> list[LeftJob]:
        """Jobs left by processes of this machine that have ended, oldest first."""
        query = sa.select(schema.jobs).order_by(schema.jobs.c.created, schema.jobs.c.job_id)
        with self.database.begin("cannot be read") as connection:
            rows = list(connection.execute(query).mappings())
        return [
            LeftJob(
                row["job_id"],
                row["kind"],
                row["title"],
                json.loads(row["plan"]),
                row["state"],
                row["created"],
            )
            for row in rows
            if is_on_this_machine(row["owner"]) and not is_alive(row["owner"], row["created"])
        ]
