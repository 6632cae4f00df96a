"""The interface of an encoder's model, whatever its family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from mmrag.images.decode import Pixels
from mmrag.types import Usage

if TYPE_CHECKING:
    import torch
    from PIL import Image

Ability = Literal[
    "specialise", "int8", "compile", "train", "any-shape", "several", "paid", "graph", "square"
]


class EmbeddingModel(Protocol):
    """The model of a family: a `torch.nn.Module` with these members.

    `.to` moves it to its device and precision, so `embed` converts its inputs to the dtype and
    device of its weights. `abilities` names what else it can do:

    - "specialise": it has `specialise(fused)`, which replaces layers with quicker ones;
    - "int8": its `nn.Linear` layers may be replaced by packed and quantised ones;
    - "compile": it has `compile_images(n)`, which compiles batches of `n` images;
    - "train": it has `folder_class`, one of `folders.CLASSES`, which saves it;
    - "any-shape": it is an `AnyShapeModel`;
    - "several": its `embed_several` takes several pictures as one input;
    - "paid": it has `usage`, a `mmrag.types.Usage` of the requests so far;
    - "graph": it is a `GraphModel`;
    - "square": `preprocess(image)` is `resize_and_crop(image, image_size)`.
    """

    dim: int
    image_size: int
    abilities: frozenset[Ability]

    def preprocess(self, image: Image.Image) -> Pixels:
        """An RGB image to (height, width, 3) uint8."""

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """(n, height, width, 3) uint8 pixels and/or n texts to (n, dim) vectors of any length."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """As `torch.nn.Module`."""


class TrainableModel(EmbeddingModel, Protocol):
    """A model with the ability "train"."""

    folder_class: str


class PaidModel(EmbeddingModel, Protocol):
    """A model with the ability "paid"."""

    usage: Usage


class AnyShapeModel(EmbeddingModel, Protocol):
    """A model with the ability "any-shape", whose pictures keep their own sizes.

    `embed` is not called; `image_size` is 0.
    """

    def picture_tokens(self, height: int, width: int) -> int:
        """Roughly how many tokens a picture becomes, for batches that fit into memory."""

    def embed_any_shape(
        self, pictures: Sequence[Pixels] | None, texts: Sequence[str] | None, query: bool
    ) -> torch.Tensor:
        """n pictures (height, width, 3) uint8 and/or n texts to (n, dim) vectors of any length.

        Args:
            pictures: of similar, not equal, size.
            texts: n strings.
            query: whether they are queries rather than documents.
        """

    def embed_several(self, pictures: Sequence[Pixels], text: str | None) -> torch.Tensor:
        """One query of several pictures, with or without a text, to (1, dim); see "several"."""


class GraphModel(EmbeddingModel, Protocol):
    """A model with the ability "graph": its work on the device can be recorded there.

    `embed(pixels, texts)` is `embed_tokens(pixels, *tokens(pixels, texts))`.
    """

    def tokens(
        self, pixels: torch.Tensor | None, texts: Sequence[str] | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token ids (n, tokens) on the device, and a mask, False at padding, or None."""

    def room(self, pixels: torch.Tensor | None) -> int:
        """The most tokens that fit, beside a picture or alone."""

    def embed_tokens(
        self, pixels: torch.Tensor | None, ids: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Pixels and tokens on the device to (n, dim), without involving the host."""
