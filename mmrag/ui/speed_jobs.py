"""Background measurements: one at a time for all visitors; they continue when pages are left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import streamlit as st

from mmrag import config
from mmrag.errors import Cancelled, MmragError
from mmrag.system.durable import write_file
from mmrag.system.jobs import JobQueue, Progress
from mmrag.ui.doors import may_change

QUICK = ["--quick", "--encoder", "demo", "--only", "encode or query", "--json"]
LIMIT_SECONDS = 1800
_POLL_SECONDS = 0.5
# pytest's progress.
_PERCENT = re.compile(r"\[\s*(\d+)%\]")


@st.cache_resource
def queue() -> JobQueue:
    """The one queue of this process."""
    return JobQueue()


def is_busy() -> bool:
    """Whether a measurement is running."""
    return any(not job.is_over for job in queue().jobs())


def submit() -> None:
    """Start a measurement, unless one is running or this visitor may not."""
    if may_change() and not is_busy():
        queue().submit("This machine, with the encoder demo", _measure)


def last() -> dict[str, Any] | None:
    """The last measurement of this machine: `{"when", "rows"}`; None if there is none."""
    try:
        found: dict[str, Any] = json.loads(_kept().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found.get("rows"), list) else None


def _kept() -> Path:
    return config.home() / "bench" / "from-the-page" / "measured.json"


def _measure(on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> str:
    on_progress(Progress("starting", 0, 100))
    command = [sys.executable, "-m", "mmrag", "bench", *QUICK]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said: list[str] = []
        arguments = (process.stderr, on_progress, said)
        reader = threading.Thread(target=_follow, args=arguments, daemon=True)
        reader.start()
        try:
            _wait(process, should_stop)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            reader.join()
        out.seek(0)
        try:
            rows = json.load(out)["rows"]
        except (ValueError, KeyError, TypeError) as error:
            why = f": {said[-1]}" if said else "; run `mmrag bench --quick` to see why."
            raise MmragError(f"The measurement did not finish{why}") from error
    when = datetime.now(UTC).isoformat(timespec="seconds")
    path = _kept()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps({"when": when, "rows": rows}))
    return when


def _wait(process: subprocess.Popen[str], should_stop: Callable[[], bool]) -> None:
    for _ in range(int(LIMIT_SECONDS / _POLL_SECONDS)):
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if should_stop():
                raise Cancelled("Stopped.") from None
        else:
            return
    raise MmragError(f"The measurement was stopped after {LIMIT_SECONDS // 60} minutes.")


def _follow(messages: IO[str], on_progress: Callable[[Progress], None], said: list[str]) -> None:
    """Report progress, and keep the closing sentences."""
    for line in messages:
        if line.startswith("Error: "):
            said.append(line.removeprefix("Error: ").strip())
        found = _PERCENT.search(line)
        if found:
            on_progress(Progress("measuring, per cent", int(found[1]), 100))
