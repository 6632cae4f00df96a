"""The encoder that everything else uses: images, texts or pairs in, unit vectors out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mmrag.errors import ImageError, MmragError
from mmrag.images import ImageSource, Pixels, load_image
from mmrag.streaming import map_ahead

if TYPE_CHECKING:
    import torch
    from PIL import Image

Vectors = npt.NDArray[np.float32]
Item = TypeVar("Item")


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder is and where it comes from.

    `fingerprint` identifies the vectors: weights, preprocessing, composition and precision class.
    fp32, bf16 and fp16 are one class (their vectors agree to a cosine of 0.999 or better), so a
    gallery embedded on a GPU in bf16 can be searched on a CPU in fp32.
    """

    name: str
    dim: int
    image_size: int
    fingerprint: str
    licence: str
    source: str
    device: str
    precision: str
    parameters: int


@dataclass(frozen=True)
class Prepared:
    """One input, decoded and resized: pixels (height, width, 3) uint8, a text, or both."""

    pixels: Pixels | None
    text: str | None


class EmbeddingModel(Protocol):
    """What an encoder file provides; `VisualizedBGE` and `CLIPModel` are the two here."""

    dim: int
    image_size: int

    def preprocess(self, image: Image.Image) -> Pixels:
        """An RGB image to (height, width, 3) uint8."""

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """(n, height, width, 3) uint8 pixels and/or n texts to (n, dim) vectors of any length."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """As `torch.nn.Module`."""


class Encoder:
    """Encodes in batches, decoding images on other threads while the model computes."""

    def __init__(self, model: EmbeddingModel, info: EncoderInfo) -> None:
        self.model = model
        self.info = info

    def __repr__(self) -> str:
        return f"Encoder({self.info.name!r}, dim={self.info.dim}, device={self.info.device!r})"

    def prepare(self, image: ImageSource | None, text: str | None) -> Prepared:
        """Decode and resize one input. Thread-safe; raises `ImageError`."""
        pixels = None
        if image is not None:
            rgb = load_image(image, min_side=self.model.image_size)
            pixels = self.model.preprocess(rgb)
        return Prepared(pixels, text)

    def encode(
        self,
        images: Sequence[ImageSource | None] | None = None,
        texts: Sequence[str | None] | None = None,
        batch_size: int = 32,
    ) -> Vectors:
        """Encode images, texts, or both: with both lists, pair i is one composed query.

        Args:
            images: paths, file contents as bytes, or Pillow images. `None` entries are allowed
                where the text at the same position is there, and the other way round.
            texts: strings; too long ones are truncated with a warning.
            batch_size: inputs per forward pass.

        Returns:
            (n, dim) float32 with rows of unit length, in the order of the input.

        Raises:
            ImageError: an image cannot be read; the message names it.
            MmragError: the lists differ in length, or a pair has neither image nor text.
        """
        if isinstance(images, str | bytes) or isinstance(texts, str):
            raise MmragError("encode() takes lists: encode(images=[image], texts=[text]).")
        n = len(images) if images is not None else len(texts) if texts is not None else 0
        if images is not None and texts is not None and len(images) != len(texts):
            raise MmragError(f"encode() got {len(images)} images but {len(texts)} texts.")
        all_images = list(images) if images is not None else [None] * n
        all_texts = list(texts) if texts is not None else [None] * n
        for i in range(n):
            if all_images[i] is None and all_texts[i] is None:
                raise MmragError(f"Input {i} has neither an image nor a text.")

        def load(i: int) -> Prepared:
            return self.prepare(all_images[i], all_texts[i])

        vectors = np.empty((n, self.info.dim), np.float32)
        # Texts of like length share a batch, so little is spent on padding.
        order = sorted(range(n), key=lambda i: len(all_texts[i] or ""))
        for i, outcome in self.encode_stream(order, load, batch_size):
            if isinstance(outcome, ImageError):
                image = all_images[i]
                name = os.fspath(image) if isinstance(image, str | os.PathLike) else f"number {i}"
                raise ImageError(f"Image {name}: {outcome}") from outcome
            assert outcome is not None
            vectors[i] = outcome
        return vectors

    def encode_stream(
        self,
        items: Iterable[Item],
        load: Callable[[Item], Prepared | None],
        batch_size: int = 32,
        workers: int | None = None,
    ) -> Iterator[tuple[Item, Vectors | ImageError | None]]:
        """Encode a stream of any length in bounded memory.

        Args:
            items: whatever identifies an input; consumed as the model keeps up.
            load: turns an item into its `Prepared` input, or None when there is nothing to
                encode; runs on decoding threads.
            batch_size: inputs per forward pass.
            workers: decoding threads; default `MMRAG_DECODE_WORKERS`.

        Yields:
            (item, vector of shape (dim,)); (item, ImageError) for one that cannot be read; (item,
            None) for one with nothing to encode. Order is kept within a kind (image, text, pair),
            not between kinds.
        """
        pending: dict[tuple[bool, bool], list[tuple[Item, Prepared]]] = {}
        for item, result in map_ahead(load, items, workers=workers, ahead=2 * batch_size):
            if result is None or isinstance(result, ImageError):
                yield item, result
                continue
            if isinstance(result, BaseException):
                raise result
            kind = (result.pixels is not None, result.text is not None)
            batch = pending.setdefault(kind, [])
            batch.append((item, result))
            if len(batch) == batch_size:
                yield from self._encode_batch(batch)
                batch.clear()
        for batch in pending.values():
            if batch:
                yield from self._encode_batch(batch)

    def _encode_batch(self, batch: Sequence[tuple[Item, Prepared]]) -> list[tuple[Item, Vectors]]:
        import torch

        first = batch[0][1]
        pixels = None
        if first.pixels is not None:
            stacked = np.stack(
                [prepared.pixels for _, prepared in batch if prepared.pixels is not None]
            )
            pixels = torch.from_numpy(stacked)
        texts = None
        if first.text is not None:
            texts = [prepared.text or "" for _, prepared in batch]
        with torch.inference_mode():
            raw = self.model.embed(pixels, texts).float()
            vectors = torch.nn.functional.normalize(raw, dim=-1).cpu().numpy()
        return [(item, vectors[row]) for row, (item, _) in enumerate(batch)]
