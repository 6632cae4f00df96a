"""The base of models whose pictures keep their own sizes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch

from mmrag.images.decode import Pixels


class AnyShape(torch.nn.Module):
    """A model with the ability "any-shape"; see `AnyShapeModel`."""

    # Pictures are read at their own size.
    image_size = 0

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """Embed pictures of one size as documents; see `EmbeddingModel.embed`. Returns (n, dim)."""
        pictures = None if pixels is None else list(pixels.cpu().numpy())
        return self.embed_any_shape(pictures, texts, query=False)

    @abstractmethod
    def embed_any_shape(
        self, pictures: Sequence[Pixels] | None, texts: Sequence[str] | None, query: bool
    ) -> torch.Tensor:
        """Embed n inputs of one kind; see `AnyShapeModel`. Returns (n, dim)."""
