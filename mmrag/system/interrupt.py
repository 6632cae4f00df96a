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
# For what is under way: rows are written, a run is scored as far as it came.
_GRACE_SECONDS = 1.2
_said = threading.Lock()
_asked = threading.Event()


def stop_quickly() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, and a little later ends the process.

    Python tells of a signal only between two of its own instructions, and a database, a model or
    an import can keep it from those for long. So a thread learns of it at the same time.
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
    """Ctrl-C waits until the block has ended, or for a program that takes this process's place.

    That program starts with Ctrl-C held back and says with `stop_at_once` that it is ready for it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def stop_at_once() -> None:
    """From now on Ctrl-C ends the process: there is nothing under way that has to be kept."""
    if not _is_ignored():
        signal.signal(signal.SIGINT, lambda *_: leave())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def ignore_at_the_end() -> None:
    """Call first: once all has been said and cleared away, Ctrl-C no longer changes the status.

    Python gives the signal back to the system while it takes itself apart, which would end a
    command that is done as if it had been killed. What is registered first runs last.
    """
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


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


def _is_ignored() -> bool:
    """As for a command in the background of a shell without job control."""
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


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
