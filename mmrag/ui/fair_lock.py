"""A lock granted in the order of requests, which tells how many are ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds; shorter waits are not reported.
_UNNOTICED = 0.3


class Turns:
    """A lock for one thread at a time, first come, first served.

    Not reentrant: a holder that asks again waits for ever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait, not counting the holder."""
        with self._changed:
            return max(0, len(self._queue) - 1)

    @contextmanager
    def turn(self, on_wait: Callable[[int], object] | None = None) -> Iterator[None]:
        """Hold the lock.

        Args:
            on_wait: called in this thread with the number ahead of it, after a moment and whenever
                that changes. An exception from it gives up the place in the queue.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            self._wait(ticket, on_wait)
            yield
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ticket: object, on_wait: Callable[[int], object] | None) -> None:
        said = -1
        while True:
            with self._changed:
                timeout = None if on_wait is None else _UNNOTICED
                if self._changed.wait_for(lambda: self._queue[0] is ticket, timeout):
                    return
                before = self._queue.index(ticket)
            if on_wait is not None and before != said:
                on_wait(before)
                said = before
