"""The encoder that everything else uses: images, texts or pairs in, unit vectors out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from mmrag.encoders.computing import Batch, Computing, Prepared, Record, Vectors
from mmrag.encoders.model import AnyShapeModel, EmbeddingModel, PaidModel
from mmrag.errors import ImageError, MmragError
from mmrag.images.decode import Pixels, load_image
from mmrag.images.looks import looks
from mmrag.images.processes import Decoders, decoders
from mmrag.images.streaming import map_ahead
from mmrag.types import ImageSource, Usage

if TYPE_CHECKING:
    from mmrag.encoders.gpu_path import GpuPath
    from mmrag.encoders.streams import Gpu

__all__ = ["Encoder", "EncoderInfo", "Prepared", "Vectors"]
Item = TypeVar("Item")
# Inputs per forward pass. On a CPU larger batches are no quicker, and their activations would not
# fit in the memory that is kept for reuse (`keep_freed_memory`).
_BATCH_SIZES = {"cpu": 8, "cuda": 256, "mps": 32}
_SMALL_MODEL, _SMALL_MODEL_BATCH = 10_000_000, 64
# Tokens that go through a model together, for pictures that keep their own sizes.
_BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class EncoderInfo:
    """An encoder's description and origin.

    `fingerprint` identifies the vectors: weights, preprocessing, composition and precision class.
    fp32, bf16 and fp16 are one class (their vectors agree to a cosine of 0.999 or better), so a
    gallery embedded on a GPU in bf16 can be searched on a CPU in fp32.

    `settings` says, in plain JSON values, how it sees pictures and composes, if it has a choice.

    Settings of composed inputs only, such as CLIP's image weight, count in `composed`, the
    fingerprint of composed vectors ("" if it is the same): pictures embedded alone can be searched
    with any. `weights` identifies the weights alone, "" if they are not known.
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
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    composed: str = ""

    def fingerprint_of(self, embed: str) -> str:
        """The fingerprint of a gallery's vectors: "image", "text", or "both" composed."""
        return self.composed or self.fingerprint if embed == "both" else self.fingerprint

    def can_search(self, fingerprint: str, embed: str) -> bool:
        """Whether a gallery with that fingerprint holds vectors of this encoder.

        Earlier versions put the image weight into the fingerprint of every gallery.
        """
        return fingerprint in {self.fingerprint_of(embed), self.composed or self.fingerprint}

    def _repr_html_(self) -> str:
        from mmrag import notebook

        return notebook.encoder_html(self)


class Encoder:
    """Encodes in batches, decoding images on other threads while the model computes."""

    def __init__(
        self, model: EmbeddingModel, info: EncoderInfo, computing: Computing | None = None
    ) -> None:
        self.model = model
        self.info = info
        self._computing = computing or Computing(model, info.device)
        square = model is not None and "square" in model.abilities
        self._decoders: Decoders | None = decoders() if square else None

    def _repr_html_(self) -> str:
        return self.info._repr_html_()

    @property
    def batch_size(self) -> int:
        """Inputs per forward pass that suit the device and the model."""
        if self._computing.batch_size is not None:
            return self._computing.batch_size
        if self.info.device == "cpu" and self.info.parameters < _SMALL_MODEL:
            return _SMALL_MODEL_BATCH
        return _BATCH_SIZES.get(self.info.device.split(":")[0], 32)

    def take(
        self, path: GpuPath, gpu: Gpu, free_bytes: float, record: Record | None = None
    ) -> None:
        """Compute by another path than the plain one; see `gpu_path`.

        Args:
            path: the path.
            gpu: copies and computes side by side.
            free_bytes: free memory of the device, to choose batches that fit.
            record: makes CUDA graphs, if not `graphs.capture`.
        """
        self._computing.take(path, gpu, free_bytes, record)

    def __repr__(self) -> str:
        return f"Encoder({self.info.name!r}, dim={self.info.dim}, device={self.info.device!r})"

    def prepare(self, image: ImageSource | None, text: str | None, query: bool = False) -> Prepared:
        """Decode and resize one input. Thread-safe; raises `ImageError`."""
        pixels: Pixels | None = None
        odd: tuple[str, ...] = ()
        if image is not None:
            size, others = self.model.image_size, self._decoders
            if others is not None and isinstance(image, str | os.PathLike | bytes):
                pixels, odd = others.cropped(image, size)
            else:
                rgb = load_image(image, min_side=size or None)
                pixels, odd = self.model.preprocess(rgb), looks(rgb)
        if text is not None:
            # Command-line arguments may hold bytes that are not UTF-8, which no tokenizer takes.
            text = text.encode("utf-8", "replace").decode()
        return Prepared(pixels, text, odd, query)

    def encode(
        self,
        images: Sequence[ImageSource | None] | None = None,
        texts: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        query: bool = False,
    ) -> Vectors:
        """Encode images, texts, or both: with both lists, pair i is one composed query.

        Args:
            images: paths, file contents as bytes, or Pillow images. An entry may be `None` if there
                is a text at the same position, and vice versa.
            texts: strings; too long ones are truncated with a warning.
            batch_size: inputs per forward pass; default: what suits the device.
            query: whether they are queries; matters to models that distinguish them.

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
            return self.prepare(all_images[i], all_texts[i], query)

        vectors = np.empty((n, self.info.dim), np.float32)
        # Texts of similar length share a batch, so little is spent on padding.
        order = sorted(range(n), key=lambda i: len(all_texts[i] or ""))
        for i, outcome in self.encode_stream(order, load, batch_size):
            if isinstance(outcome, ImageError):
                image = all_images[i]
                name = os.fspath(image) if isinstance(image, str | os.PathLike) else f"number {i}"
                raise ImageError(f"Image {name}: {outcome}") from outcome
            assert outcome is not None
            vectors[i] = outcome
        return vectors

    @property
    def usage(self) -> Usage | None:
        """Requests, tokens and cost so far of a hosted model; None for a local one."""
        return cast(PaidModel, self.model).usage if "paid" in self.model.abilities else None

    @property
    def takes_several(self) -> bool:
        """Whether the model sees several pictures of one query together."""
        return "several" in self.model.abilities

    def encode_several(self, images: Sequence[ImageSource], text: str | None) -> Vectors:
        """(dim,) float32 unit vector of one query of several pictures; see `takes_several`.

        Raises:
            ImageError: an image cannot be read.
        """
        import torch

        prepared = [self.prepare(image, text) for image in images]
        pixels = [one.pixels for one in prepared if one.pixels is not None]
        with torch.inference_mode():
            raw = cast(AnyShapeModel, self.model).embed_several(pixels, prepared[0].text).float()
            found: Vectors = torch.nn.functional.normalize(raw, dim=-1)[0].cpu().numpy()
        return found

    def encode_stream(
        self,
        items: Iterable[Item],
        load: Callable[[Item], Prepared | None],
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> Iterator[tuple[Item, Vectors | ImageError | None]]:
        """Encode a stream of any length in bounded memory.

        Args:
            items: whatever identifies an input; consumed as the model keeps up.
            load: turns an item into its `Prepared` input, or None when there is nothing to
                encode; runs on decoding threads.
            batch_size: inputs per forward pass; default: what suits the device.
            workers: decoding threads; default `MMRAG_DECODE_WORKERS`.

        Yields:
            (item, vector of shape (dim,)); (item, ImageError) for one that cannot be read; (item,
            None) for one with nothing to encode. Order is kept within a kind (image, text, pair),
            not between kinds.
        """
        batch_size = batch_size or self.batch_size
        pending: dict[tuple[bool, bool, int], list[tuple[Item, Prepared]]] = {}
        # On a GPU one batch computes while the next one is gathered and sent.
        running: Batch[Item] | None = None
        for item, result in map_ahead(load, items, workers=workers, ahead=2 * batch_size):
            if result is None or isinstance(result, ImageError):
                yield item, result
                continue
            if isinstance(result, BaseException):
                raise result
            size = self._size_class(result)
            kind = (result.pixels is not None, result.text is not None, size)
            batch = pending.setdefault(kind, [])
            batch.append((item, result))
            if len(batch) == min(batch_size, max(1, _BATCH_TOKENS >> size)):
                started = self._computing.start(batch)
                batch.clear()
                if running is not None:
                    yield from running.vectors()
                running = started if started.done is not None else None
                if running is None:
                    yield from started.vectors()
        if running is not None:
            yield from running.vectors()
        for batch in pending.values():
            if batch:
                yield from self._computing.start(batch).vectors()

    def _size_class(self, prepared: Prepared) -> int:
        """n for pictures of up to 2^n tokens if they keep their sizes: similar ones go together."""
        if prepared.pixels is None or "any-shape" not in self.model.abilities:
            return 0
        model = cast(AnyShapeModel, self.model)
        return model.picture_tokens(*prepared.pixels.shape[:2]).bit_length()
