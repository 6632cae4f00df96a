"""Tells processes apart, whatever is done to the clock."""

from __future__ import annotations

import psutil


def started_after_boot(process: psutil.Process) -> float:
    """Seconds from the machine's start to the process's.

    With the process's number that identifies it for as long as the machine runs. The time of day
    when it was started would not: setting the clock changes what the system says of that.
    """
    booted = psutil.boot_time()
    return process.create_time() - booted
