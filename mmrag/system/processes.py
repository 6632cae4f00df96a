"""Telling processes apart, even if the clock is set."""

from __future__ import annotations

import psutil


def started_after_boot(process: psutil.Process) -> float:
    """Seconds from the machine's start to the process's.

    Together with the process id, this identifies it for as long as the machine runs. The time of
    day of its start would not: setting the clock changes it.
    """
    booted = psutil.boot_time()
    return process.create_time() - booted
