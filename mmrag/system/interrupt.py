"""Ctrl-C stops a command within two seconds, whatever it is waiting for."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STATUS = 130
_MESSAGE = "Stopped. What was written is kept; the same command goes on."
# Time to finish up: rows are written, a run is scored as far as it got.
_GRACE_SECONDS = 1.2
_said = threading.Lock()
_asked = threading.Event()


def stop_quickly() -> None:
    """Make Ctrl-C raise KeyboardInterrupt, and end the process a little later.

    Python handles a signal only between two of its own instructions, and a database, a model or an
    import can delay that for long. So a thread is told of it at the same time.
    """
    if _is_ignored():
        return
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    threading.Thread(target=_watch, args=(told,), name="mmrag-interrupt", daemon=True).start()
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _interrupt)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends, or for a program that replaces this process.

    That program starts with Ctrl-C held back and calls `stop_at_once` when it is ready for it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def stop_at_once() -> None:
    """Make Ctrl-C end the process at once: nothing in progress has to be kept."""
    if not _is_ignored():
        signal.signal(signal.SIGINT, lambda *_: leave())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def ignore_at_the_end() -> None:
    """Keep Ctrl-C from changing the exit status once all is done; call this before all else.

    Python returns the signal to the system while it shuts down, which would end a finished command
    as if it had been killed. The function registered first runs last.
    """
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def asked() -> bool:
    """Whether Ctrl-C was pressed."""
    return _asked.is_set()


def say_stopped() -> None:
    """Print once to standard error that the command was stopped, and what is kept."""
    if _said.acquire(blocking=False):
        print(_MESSAGE, file=sys.stderr, flush=True)


def leave() -> NoReturn:
    """End the process now: an orderly shutdown of a large library can take seconds."""
    say_stopped()
    sys.stdout.flush()
    os._exit(STATUS)


def _is_ignored() -> bool:
    """Whether Ctrl-C is ignored, as for a background command of a shell without job control."""
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def _interrupt(number: int, frame: FrameType | None) -> None:
    first = not _asked.is_set()
    _asked.set()
    # A second one could only interrupt the orderly end.
    if first:
        raise KeyboardInterrupt


def _watch(told: int) -> None:
    while os.read(told, 1) != bytes([signal.SIGINT]):
        pass
    time.sleep(_GRACE_SECONDS)
    say_stopped()
    os._exit(STATUS)
