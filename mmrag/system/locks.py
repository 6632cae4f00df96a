"""Locks between processes, which the system releases when a process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock on a file or folder that exists, waiting for it as long as it takes.

    Args:
        waiting: called once if another process holds it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        take(handle, waiting)
        yield
    finally:
        os.close(handle)


def take(handle: int, waiting: Callable[[], None] | None = None) -> None:
    """Lock an open file, waiting for it as long as it takes; closing it unlocks."""
    if not try_to_take(handle):
        if waiting:
            waiting()
        fcntl.flock(handle, fcntl.LOCK_EX)


def try_to_take(handle: int) -> bool:
    """Lock an open file if it is free, and return whether it was; closing it unlocks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # A network drive without locks: treated as the only user.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    return True
