"""Batches on their way through a GPU: copied on a stream of their own while it computes.

A batch is gathered in pinned memory, copied by the copying stream, and computed by the computing
one. Both memories are reused, so three things must wait for each other:

- the host writes into pinned memory again only once its contents have been copied;
- a copy overwrites device memory only once the batch there has been computed;
- a batch is computed only once it has arrived.

Nothing else waits: the host only enqueues. `tests/test_streams.py` runs this on a fake device that
works as late, and in as odd an order, as streams and events allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch

from mmrag.images.decode import Pixels

Lane = Literal["copying", "computing"]
# Batches between the host and the result: one is gathered, one copied, one computed.
SLOTS = 3


class Event(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None:
        """Make the host wait until the stream reaches this point."""


class Gpu(Protocol):
    """The few operations needed of a GPU. All but allocation only enqueue."""

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Host memory for copies in either direction while the host does other things."""

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Device memory."""

    def copy(self, lane: Lane, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy between host and device."""

    def compute(self, target: torch.Tensor, function: Callable[[], torch.Tensor]) -> None:
        """Write into device memory what `function` computes from device memory."""

    def record(self, lane: Lane) -> Event:
        """The point after the work that the lane has been given so far."""

    def wait(self, lane: Lane, event: Event) -> None:
        """Make the lane wait until the other one reaches that point; the host does not wait."""


class Cuda:
    """`Gpu` on an NVIDIA GPU; computes on the current stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """As `Gpu.pinned`."""
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """As `Gpu.memory`."""
        return torch.empty(tuple(shape), dtype=dtype, device=self._device)

    def copy(self, lane: Lane, target: torch.Tensor, source: torch.Tensor) -> None:
        """As `Gpu.copy`."""
        with self._on(lane):
            target.copy_(source, non_blocking=True)

    def compute(self, target: torch.Tensor, function: Callable[[], torch.Tensor]) -> None:
        """As `Gpu.compute`."""
        target.copy_(function())

    def record(self, lane: Lane) -> Event:
        """As `Gpu.record`."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream(lane))
        return event

    def wait(self, lane: Lane, event: Event) -> None:
        """As `Gpu.wait`."""
        self._stream(lane).wait_event(event)  # type: ignore[arg-type]

    def _stream(self, lane: Lane) -> torch.cuda.Stream:
        return self._copying if lane == "copying" else torch.cuda.current_stream(self._device)

    def _on(self, lane: Lane) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._copying) if lane == "copying" else nullcontext()


@dataclass
class _Slot:
    pinned: torch.Tensor
    device: torch.Tensor
    copied: Event
    computed: Event


class Lanes:
    """Sends batches of pixels through a GPU. Threads may share it."""

    def __init__(self, gpu: Gpu, slots: int = SLOTS) -> None:
        self._gpu = gpu
        self._slots: list[_Slot | None] = [None] * slots
        self._turn = 0
        self._lock = threading.Lock()

    def send(
        self, pixels: Sequence[Pixels], dim: int, embed: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, Event]:
        """Enqueue a batch.

        Args:
            pixels: n arrays (height, width, 3) uint8 of one shape; may be modified afterwards.
            dim: of the vectors.
            embed: (n, height, width, 3) on the device to (n, dim) there, without waiting.

        Returns:
            (n, dim) float32 in the host's memory, filled once the event has happened.
        """
        gpu, n = self._gpu, len(pixels)
        with self._lock:
            slot = self._next((n, *pixels[0].shape))
            # That was three batches ago, so there is hardly ever anything to wait for.
            slot.copied.synchronize()
            np.stack(pixels, out=slot.pinned[:n].numpy())
            gpu.wait("copying", slot.computed)
            gpu.copy("copying", slot.device[:n], slot.pinned[:n])
            slot.copied = gpu.record("copying")
            gpu.wait("computing", slot.copied)
            vectors = gpu.memory((n, dim), torch.float32)
            try:
                gpu.compute(vectors, lambda: embed(slot.device[:n]))
            finally:
                # Even if memory ran out midway: enqueued work may still read.
                slot.computed = gpu.record("computing")
            result = gpu.pinned((n, dim), torch.float32)
            gpu.copy("computing", result, vectors)
            return result, gpu.record("computing")

    def _next(self, shape: tuple[int, ...]) -> _Slot:
        turn, self._turn = self._turn, (self._turn + 1) % len(self._slots)
        slot = self._slots[turn]
        if slot is None or slot.pinned.shape[1:] != shape[1:] or len(slot.pinned) < shape[0]:
            if slot is not None:
                slot.copied.synchronize()
            pinned = self._gpu.pinned(shape, torch.uint8)
            device = self._gpu.memory(shape, torch.uint8)
            # New memory may have been an earlier batch's, which is still computing.
            slot = _Slot(pinned, device, self._gpu.record("copying"), self._gpu.record("computing"))
            self._slots[turn] = slot
        return slot
