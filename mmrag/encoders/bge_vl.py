"""BGE-VL base and large by name: CLIP models whose raw outputs are summed.

Method: J. Zhou et al.: "MegaPairs: Massive Data Synthesis For Universal Multimodal Retrieval",
arXiv:2412.14475. Their own code is not run: the weights are transformers' `CLIPModel`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders import sentence_names
from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions

USAGE = ""
OPTIONS = frozenset({"checkpoint", "image_weight", "fusion"})
_LICENCE = "MIT"
# Repository, dimension, parameters.
_PUBLISHED = {
    "bge-vl-base": ("BAAI/BGE-VL-base", 512, 149_620_737),
    "bge-vl-large": ("BAAI/BGE-VL-large", 768, 427_616_513),
}


def takes(name: str) -> bool:
    """Whether the name is one of the two."""
    return name in _PUBLISHED


def describe(search: str | None = None) -> list[EncoderDescription]:
    """Both models."""
    return [
        EncoderDescription(
            name,
            dim,
            224,
            sentence_names.is_here(repository),
            _LICENCE,
            repository,
            f"mmrag download {name}",
            parameters,
            {"composition": "fusion sum-raw"},
        )
        for name, (repository, dim, parameters) in _PUBLISHED.items()
    ]


def load(name: str, options: LoadOptions) -> LoadedModel:
    """Load from what `download` fetched, or from the folder that `options.checkpoint` names."""
    where = options.checkpoint or _PUBLISHED[name][0]
    return sentence_names.load_as(f"st:{where}", options, options.fusion or "sum-raw")


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch everything that loading needs into `MMRAG_HOME`."""
    return sentence_names.download(f"st:{_PUBLISHED[name][0]}", progress)
