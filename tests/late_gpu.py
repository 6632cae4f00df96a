"""A made-up GPU that does what it was given as late, and in as odd an order, as it may."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmrag.encoders.streams import Lane


class LateEvent:
    """A point in a lane of `LateGpu`."""

    def __init__(self, gpu: LateGpu) -> None:
        self.gpu, self.happened = gpu, False

    def synchronize(self) -> None:
        while not self.happened:
            assert self.gpu.step(), "the lanes wait for each other for ever"


class LateGpu:
    """Runs the oldest work of a lane chosen at random, some now and the rest when waited for.

    Args:
        seed: of the order; what is right is right for all of them.
        forgets: "wait copying" or "wait computing", which it then ignores, to see that one would
            notice.
    """

    def __init__(self, seed: int, forgets: str = "") -> None:
        self.random, self.forgets = random.Random(seed), forgets
        # Some do nothing until they are waited for.
        self.haste = self.random.choice([0.0, 0.1, 0.5, 1.0])
        self.lanes: dict[str, deque[Any]] = {"copying": deque(), "computing": deque()}
        self.copies = 0

    def step(self) -> bool:
        """Do one thing that may be done; False if there is none."""
        names = [name for name, lane in self.lanes.items() if lane]
        self.random.shuffle(names)
        for name in names:
            kind, what = self.lanes[name][0]
            if kind == "wait" and not what.happened:
                continue
            self.lanes[name].popleft()
            if kind == "do":
                with torch.inference_mode():
                    what()
            elif kind == "record":
                what.happened = True
            return True
        return False

    def _give(self, lane: Lane, kind: str, what: object) -> None:
        self.lanes[lane].append((kind, what))
        while self.random.random() < self.haste and self.step():
            pass

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return _noise(shape, dtype)

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Handed out again while the work of its owner before, on this lane, is still to come."""
        made = _noise(shape, dtype)
        self._give("computing", "do", lambda: made.copy_(_noise(shape, dtype)))
        return made

    def copy(self, lane: Lane, target: torch.Tensor, source: torch.Tensor) -> None:
        self.copies += 1
        self._give(lane, "do", lambda: target.copy_(source))

    def compute(self, target: torch.Tensor, function: Callable[[], torch.Tensor]) -> None:
        self._give("computing", "do", lambda: target.copy_(function()))

    def record(self, lane: Lane) -> LateEvent:
        event = LateEvent(self)
        self._give(lane, "record", event)
        return event

    def wait(self, lane: Lane, event: Any) -> None:
        if self.forgets != f"wait {lane}":
            self._give(lane, "wait", event)


def _noise(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return (255 * torch.rand(*shape)).to(dtype)
