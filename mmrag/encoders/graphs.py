"""CUDA graphs: a forward pass is recorded once per shape, then started as a whole.

Starting hundreds of operations one by one takes the host milliseconds, longer than computing a
query of one picture.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from mmrag.encoders.model import GraphModel

Step = Callable[..., torch.Tensor]
Inputs = Sequence[torch.Tensor | None]
# Texts are padded to one of these lengths, so that a few graphs serve all.
_LENGTHS = (16, 32, 64, 128, 256, 512)
# A graph keeps its activations' memory, so only this many shapes, the first ones, get one.
_MOST = 12
_WARM_UP = 3


def capture(function: Step, inputs: Inputs) -> Step:
    """Record `function` on the current NVIDIA GPU for inputs of these shapes.

    Returns:
        The same function for such inputs; its result belongs to the caller.
    """
    own = [None if one is None else one.clone() for one in inputs]
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Set-up and compilation in the first calls must not be recorded.
        for _ in range(_WARM_UP):
            function(*own)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads may allocate memory meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        made = function(*own)

    def replay(*given: torch.Tensor | None) -> torch.Tensor:
        for mine, one in zip(own, given, strict=True):
            if mine is not None and one is not None:
                mine.copy_(one, non_blocking=True)
        graph.replay()
        return made.clone()

    return replay


class Graphs:
    """A model's `embed` through recorded passes for certain batch sizes. Threads may share it.

    Args:
        model: with the ability "graph".
        sizes: batch sizes that get graphs; others run as before.
        record: `capture`, or a substitute.
    """

    def __init__(
        self,
        model: GraphModel,
        sizes: Collection[int],
        record: Callable[[Step, Inputs], Step] = capture,
    ) -> None:
        self._model, self._sizes, self._record = model, frozenset(sizes), record
        self._steps: dict[tuple[object, ...], Step] = {}
        self._lock = threading.Lock()
        self._works = True

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """As the model's."""
        n = len(pixels) if pixels is not None else len(texts or ())
        if not self._works or n not in self._sizes:
            return self._model.embed(pixels, texts)
        ids, mask = self._model.tokens(pixels, texts)
        if texts is not None:
            ids, mask = _padded(ids, mask, self._model.room(pixels))
        inputs = (pixels, ids, mask)
        shapes = tuple(None if one is None else one.shape for one in inputs)
        with self._lock:
            step = self._steps.get(shapes)
            if step is None and len(self._steps) < _MOST:
                step = self._recorded(inputs)
                self._steps[shapes] = step
            return (step or self._model.embed_tokens)(*inputs)

    def _recorded(self, inputs: Inputs) -> Step:
        try:
            return self._record(self._model.embed_tokens, inputs)
        except torch.cuda.OutOfMemoryError:
            raise
        # Models that cannot be recorded fail in various ways.
        except Exception as error:  # noqa: BLE001
            self._works = False
            logging.getLogger("mmrag").warning(
                "The model could not be recorded as a CUDA graph (%s: %s); going on without.",
                type(error).__name__,
                str(error).partition("\n")[0],
            )
            return self._model.embed_tokens


def _padded(
    ids: torch.Tensor, mask: torch.Tensor | None, room: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (n, tokens), padded to the next length that has graphs."""
    tokens = ids.shape[1]
    wanted = min(next((n for n in _LENGTHS if n >= tokens), tokens), max(room, tokens))
    if mask is None:
        mask = torch.ones_like(ids, dtype=torch.bool)
    return F.pad(ids, (0, wanted - tokens)), F.pad(mask, (0, wanted - tokens), value=False)
