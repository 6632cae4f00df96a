"""torch.compile for the inputs that take most of the time: whole batches of images alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

Forward = Callable[..., torch.Tensor]


def compiled_for(shape: Sequence[int], forward: Forward) -> Forward:
    """`forward`, compiled for a first argument of exactly `shape`; other calls run as before.

    Compiling takes tens of seconds per shape, so for a last batch with fewer images, or texts of
    every length, it would cost more than it saves. It happens at the first call of that shape; if
    it fails, for want of a compiler for example, a warning is logged and all calls run as before.
    """
    compiled: Forward | None = torch.compile(forward, dynamic=False)

    def choose(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        nonlocal compiled
        if compiled is None or x.shape != tuple(shape):
            return forward(x, *rest)
        try:
            return compiled(x, *rest)
        except torch.cuda.OutOfMemoryError:
            raise
        # The compiler and whatever it calls raise many kinds of errors.
        except Exception as error:  # noqa: BLE001
            compiled = None
            logging.getLogger("mmrag").warning(
                "The model could not be compiled (%s: %s); going on without.",
                type(error).__name__,
                str(error).partition("\n")[0],
            )
            return forward(x, *rest)

    return choose
