"""The process that makes a run, and whether it is still alive."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta

import psutil

from mmrag.system.processes import started_after_boot

# A process on another host that has written nothing for this long counts as dead.
_SILENCE = timedelta(minutes=10)


def this_process() -> str:
    """This process as the owner of the runs it makes: host, process id and start."""
    process = psutil.Process()
    return f"{socket.gethostname()}:{process.pid}:{started_after_boot(process):.2f}"


def is_alive(owner: str | None, touched: str | None) -> bool:
    """Whether the process that makes a run is alive; on another host, whether it still writes.

    Args:
        owner: what `this_process` said there.
        touched: when it last wrote, ISO 8601.
    """
    if not owner or not touched:
        return False
    host, pid, started = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return datetime.now(UTC) - datetime.fromisoformat(touched) < _SILENCE
    try:
        return abs(started_after_boot(psutil.Process(int(pid))) - float(started)) < 1
    except psutil.Error:
        return False


def is_on_this_machine(owner: str) -> bool:
    """Whether the process that makes a run is, or was, on this host."""
    return owner.rsplit(":", 2)[0] == socket.gethostname()


def is_this_process(owner: str) -> bool:
    """Whether the owner of a run, known to be alive, is this process."""
    return is_on_this_machine(owner) and owner.rsplit(":", 2)[1] == str(os.getpid())
