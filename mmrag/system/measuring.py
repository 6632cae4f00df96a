"""One measurement of this machine at a time: two side by side would both be wrong."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmrag.errors import MmragError
from mmrag.system.locks import try_to_take


@contextmanager
def alone() -> Iterator[int]:
    """Let no other measurement of this machine begin while the block runs; also a decorator.

    What a measurement itself starts is part of it, and runs under its lock.

    Gives:
        The open file that holds the lock: children that inherit it keep it until they end.

    Raises:
        MmragError: another measurement is running.
    """
    path = Path(tempfile.gettempdir()) / "mmrag-measuring.lock"
    handle = _open(path)
    try:
        if not try_to_take(handle):
            who = os.read(handle, 20).decode("ascii", "replace").strip()
            if _is_above(who):
                yield handle
                return
            named = f" (process {who})" if who.isdigit() else ""
            raise MmragError(
                f"Another measurement of this machine is running{named}, and two at once would "
                "both be wrong; wait until it has ended, or stop it."
            )
        with contextlib.suppress(OSError):  # another user's file: locked, not written
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def measure_alone(main: Callable[[], int]) -> int:
    """Run a program that measures, alone; 1 with one line if another measurement is running."""
    try:
        with alone():
            return main()
    except MmragError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _is_above(pid: str) -> bool:
    import psutil

    return pid in {str(one.pid) for one in psutil.Process().parents()}


def _open(path: Path) -> int:
    """Open the lock file; another user's, in a shared folder, for reading, which is enough."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        return os.open(path, flags | os.O_RDONLY)
