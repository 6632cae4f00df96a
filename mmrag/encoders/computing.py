"""One batch after another through a model: gathered, sent to its device, computed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from mmrag.encoders.model import AnyShapeModel, EmbeddingModel, GraphModel
from mmrag.errors import MmragError
from mmrag.images.decode import Pixels

if TYPE_CHECKING:
    import torch

    from mmrag.encoders.gpu_path import GpuPath
    from mmrag.encoders.graphs import Inputs, Step
    from mmrag.encoders.streams import Gpu, Lanes

Vectors = npt.NDArray[np.float32]
Item = TypeVar("Item")
Embed = Callable[["torch.Tensor | None", "Sequence[str] | None"], "torch.Tensor"]
Record = Callable[["Step", "Inputs"], "Step"]


@dataclass(frozen=True)
class Prepared:
    """One input, decoded and resized: pixels (height, width, 3) uint8, a text, or both.

    `looks` names what is odd about the picture; see `images.looks`.
    """

    pixels: Pixels | None
    text: str | None
    looks: tuple[str, ...] = ()
    query: bool = False
    """Whether it is a query or a document; models with instructions embed the two differently."""


class Done(Protocol):
    """GPU work that a result waits for."""

    def synchronize(self) -> None:
        """Wait for it."""


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """A batch whose `array` is filled once `done` has happened (already, if it is None)."""

    items: list[Item]
    array: Vectors
    done: Done | None

    def vectors(self) -> Iterator[tuple[Item, Vectors]]:
        """Each item with its vector, once computed."""
        if self.done is not None:
            self.done.synchronize()
        yield from zip(self.items, self.array, strict=True)


class Computing:
    """A model on its device; by the plain path, or one that `take` was given.

    Args:
        model: the model that embeds.
        device: where it is, by torch's name.
    """

    def __init__(self, model: EmbeddingModel, device: str) -> None:
        self.model, self._device = model, device
        self.batch_size: int | None = None
        self._lanes: Lanes | None = None
        self._embed: Embed | None = None
        # Inputs that fit into the GPU's memory together, set once it was too small for more.
        self._fit: int | None = None

    def take(self, path: GpuPath, gpu: Gpu, free_bytes: float, record: Record | None) -> None:
        """See `Encoder.take`."""
        self.batch_size = path.fitting(free_bytes)
        self._fit = None
        if path.compile and "compile" in self.model.abilities:
            model: Any = self.model
            model.compile_images(self.batch_size)
        self._embed = None
        if path.graphs and "graph" in self.model.abilities:
            from mmrag.encoders.graphs import Graphs, capture

            sizes = {1, self.batch_size}
            graphs = Graphs(cast(GraphModel, self.model), sizes, record or capture)
            self._embed = graphs.embed
        self._lanes = None
        if path.overlap and "any-shape" not in self.model.abilities:
            from mmrag.encoders.streams import Lanes

            self._lanes = Lanes(gpu)

    def start(self, batch: Sequence[tuple[Item, Prepared]]) -> Batch[Item]:
        """Compute a batch; in halves if the GPU's memory is too small for the whole."""
        import torch

        if self._fit is None or len(batch) <= self._fit:
            try:
                return self._compute(batch)
            except torch.cuda.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise MmragError(
                        f"The memory of {self._device} is too small for a single input; "
                        "use --precision bf16, --device cpu, or stop what else is using it."
                    ) from error
            # Here, where the error no longer holds what was computed.
            torch.cuda.empty_cache()
            self._fit = len(batch) // 2
            logging.getLogger(__name__).warning(
                "The memory of %s is too small for %d inputs at once; going on with %d.",
                self._device,
                len(batch),
                self._fit,
            )
        # A part may have to be split further; the starts of these parts stay as they are.
        fit = self._fit
        parts = [self.start(batch[start : start + fit]) for start in range(0, len(batch), fit)]
        array = np.stack([vector for part in parts for _, vector in part.vectors()])
        return Batch([item for item, _ in batch], array, None)

    def _compute(self, batch: Sequence[tuple[Item, Prepared]]) -> Batch[Item]:
        """Compute a batch; on a GPU only send it there, without waiting for it."""
        import torch

        first = batch[0][1]
        items = [item for item, _ in batch]
        on_gpu = self._device.startswith("cuda")
        any_shape = "any-shape" in self.model.abilities
        each = None
        if first.pixels is not None:
            each = [prepared.pixels for _, prepared in batch if prepared.pixels is not None]
        texts = None
        if first.text is not None:
            texts = [prepared.text or "" for _, prepared in batch]
        embed = self._embed or self.model.embed
        if self._lanes is not None and each is not None:
            with torch.inference_mode():
                filled, happened = self._lanes.send(
                    each, self.model.dim, lambda sent: _unit(embed(sent, texts))
                )
            return Batch(items, filled.numpy(), happened)
        pixels = None
        if each is not None and not any_shape:
            shape = (len(each), *each[0].shape)
            pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
            np.stack(each, out=pixels.numpy())
            if on_gpu:
                pixels = pixels.to(self._device, non_blocking=True)
        with torch.inference_mode():
            if any_shape:
                model = cast(AnyShapeModel, self.model)
                raw = model.embed_any_shape(each, texts, first.query)
            else:
                raw = embed(pixels, texts)
            vectors = _unit(raw)
            done = None
            if on_gpu:
                vectors = vectors.to("cpu", non_blocking=True)
                done = torch.cuda.Event()  # type: ignore[no-untyped-call]
                done.record(torch.cuda.current_stream(raw.device))
        return Batch(items, vectors.cpu().numpy(), done)


def _unit(raw: torch.Tensor) -> torch.Tensor:
    """float32 rows of unit length."""
    import torch

    return torch.nn.functional.normalize(raw.float(), dim=-1)
