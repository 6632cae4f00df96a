"""Pictures decoded by other processes, if threads would wait for each other too much.

Pillow releases the interpreter lock while it decodes, so threads suffice for some thousand pictures
a second; with many cores the rest of the work, which holds the lock, is the limit.
`MMRAG_DECODE_PROCESSES` sets the number of processes; `python -m bench.gpu` compares the two.
"""

from __future__ import annotations

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

from mmrag import config
from mmrag.images.decode import Pixels, load_image
from mmrag.images.looks import looks
from mmrag.images.resize import resize_and_crop
from mmrag.types import ImageSource

Cropped = tuple[Pixels, tuple[str, ...]]


def cropped(source: ImageSource, size: int) -> Cropped:
    """A picture's middle as (size, size, 3) uint8, and what is odd about the picture.

    Raises:
        ImageError: it cannot be read.
    """
    rgb = load_image(source, min_side=size)
    return resize_and_crop(rgb, size), looks(rgb)


class Decoders:
    """Processes that decode. Threads share them, and wait for their pictures."""

    def __init__(self, processes: int) -> None:
        # A fork of a process with a GPU, or with threads, may hang.
        self._pool: ProcessPoolExecutor | None = ProcessPoolExecutor(
            processes, mp_context=multiprocessing.get_context("spawn")
        )

    def cropped(self, source: ImageSource, size: int) -> Cropped:
        """`cropped` by another process; by this one if they have died."""
        if self._pool is not None:
            try:
                return self._pool.submit(cropped, source, size).result()
            except BrokenProcessPool:
                self._pool = None
                logging.getLogger("mmrag").warning(
                    "The processes that decode have died; going on with threads."
                )
        return cropped(source, size)

    def close(self) -> None:
        """Stop them."""
        if self._pool is not None:
            self._pool.shutdown()


@cache
def decoders() -> Decoders | None:
    """The processes that `MMRAG_DECODE_PROCESSES` asks for, started at their first picture."""
    processes = config.decode_processes()
    return Decoders(processes) if processes else None
