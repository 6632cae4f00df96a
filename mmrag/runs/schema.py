"""Tables of the run store, the same in SQLite and PostgreSQL.

A ranking is one row with JSON lists, so 10,000 queries are 10,000 rows and not a million.
JSON is kept as text: PostgreSQL's own JSON types refuse some strings that ids may hold.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, MetaData, String, Table, Text

SCHEMA_VERSION = "1"

tables = MetaData()

meta = Table("mmrag_meta", tables, Column("key", String, primary_key=True), Column("value", String))

runs = Table(
    "mmrag_runs",
    tables,
    Column("run_id", String, primary_key=True),
    Column("name", Text, nullable=False),
    Column("eval_set", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created", String, nullable=False),
    # Shared by runs that would give the same result: finds an interrupted one.
    Column("resume_key", String),
    # Host, process and its start: tells a run in progress from one that was killed.
    Column("owner", String),
    # Time of the last write, for runs made on another host.
    Column("touched", String),
    # Everything else in `Run` that is not a ranking.
    Column("header", Text, nullable=False),
    Index("mmrag_runs_created", "created"),
    Index("mmrag_runs_resume_key", "resume_key"),
)

rankings = Table(
    "mmrag_rankings",
    tables,
    Column("run_id", String, ForeignKey("mmrag_runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("stage", String, primary_key=True),
    Column("query_id", Text, primary_key=True),
    Column("image_ids", Text, nullable=False),
    Column("scores", Text, nullable=False),
    Column("timings_ms", Text, nullable=False),
    Column("usage", Text),
    Column("details", Text, nullable=False),
)

# Jobs of the dashboard that are not over; see `job_rows`.
jobs = Table(
    "mmrag_jobs",
    tables,
    Column("job_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created", String, nullable=False),
    Column("owner", String, nullable=False),
)

scores = Table(
    "mmrag_scores",
    tables,
    Column("run_id", String, ForeignKey("mmrag_runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("stage", String, primary_key=True),
    # Per-query metrics by column: query ids, categories, aspects, metric to list of values.
    Column("data", Text, nullable=False),
)
