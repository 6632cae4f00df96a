"""Fusion of pictures and texts for models that encode the two separately."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mmrag.errors import MmragError

if TYPE_CHECKING:
    import torch

    Fusion = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def _sum_raw(images: torch.Tensor, texts: torch.Tensor, weight: float) -> torch.Tensor:
    return weight * images + (1 - weight) * texts


def _sum_unit(images: torch.Tensor, texts: torch.Tensor, weight: float) -> torch.Tensor:
    return _sum_raw(_unit(images), _unit(texts), weight)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _image_only(images: torch.Tensor, texts: torch.Tensor, weight: float) -> torch.Tensor:
    return images


def _text_only(images: torch.Tensor, texts: torch.Tensor, weight: float) -> torch.Tensor:
    return texts


# Functions of (n, dim) outputs and the picture's share; results are normalised afterwards.
FUSIONS: dict[str, Fusion] = {
    "sum-unit": _sum_unit,
    "sum-raw": _sum_raw,
    "image-only": _image_only,
    "text-only": _text_only,
}


def fuse(
    images: torch.Tensor, texts: torch.Tensor, how: str = "sum-unit", image_weight: float = 0.5
) -> torch.Tensor:
    """Compose (n, dim) outputs for pictures and texts to (n, dim) float32 of any length."""
    return FUSIONS[how](images.float(), texts.float(), image_weight)


def check_fusion(how: str, image_weight: float) -> None:
    """Raise MmragError unless `fuse` takes these."""
    if how not in FUSIONS:
        raise MmragError(f"Unknown fusion {how!r}; use {', '.join(FUSIONS)}.")
    if not 0 <= image_weight <= 1:
        raise MmragError(f"image_weight must be between 0 and 1, not {image_weight}.")
