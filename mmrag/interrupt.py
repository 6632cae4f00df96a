"""Ctrl-C stops a command within two seconds, whatever it is waiting for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

STATUS = 130
_MESSAGE = "Stopped. What was written is kept; the same command goes on."
# For what is under way: rows are written, a run is scored as far as it came.
_GRACE_SECONDS = 1.2
_said = threading.Lock()
_asked = threading.Event()


def stop_quickly() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, and a little later ends the process.

    Python tells of a signal only between two of its own instructions, and a database, a model or
    an import can keep it from those for long. So a thread learns of it at the same time.
    """
    # Not where it is ignored, as for a command in the background of a shell without job control.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGINT, _interrupt)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), name="mmrag-interrupt", daemon=True).start()


def asked() -> bool:
    """Whether Ctrl-C was pressed."""
    return _asked.is_set()


def say_stopped() -> None:
    """Say once on standard error that the command was stopped, and what is kept."""
    if _said.acquire(blocking=False):
        print(_MESSAGE, file=sys.stderr, flush=True)


def leave() -> NoReturn:
    """End the process now: taking a large library apart in good order can take seconds."""
    say_stopped()
    sys.stdout.flush()
    os._exit(STATUS)


def _interrupt(number: int, frame: FrameType | None) -> None:
    first = not _asked.is_set()
    _asked.set()
    # A second one has nothing left to interrupt but what keeps things whole.
    if first:
        raise KeyboardInterrupt


def _watch(told: int) -> None:
    while os.read(told, 1) != bytes([signal.SIGINT]):
        pass
    time.sleep(_GRACE_SECONDS)
    say_stopped()
    os._exit(STATUS)
