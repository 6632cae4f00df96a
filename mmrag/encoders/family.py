"""What a family of encoders provides; `registry.FAMILIES` is the table of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mmrag.encoders.encoder import EmbeddingModel


@dataclass(frozen=True)
class EncoderDescription:
    """An encoder as `list_encoders` shows it, without loading anything."""

    name: str
    dim: int
    image_size: int
    available: bool
    licence: str
    source: str
    how_to_get: str


@dataclass(frozen=True)
class LoadOptions:
    """The arguments of `load_encoder` that a family may use; see there."""

    checkpoint: str | os.PathLike[str] | None = None
    text_model: str | None = None
    image_weight: float | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 on the CPU.

    `preprocessing` is what decides its vectors beside the weights, as plain JSON values: it becomes
    part of the fingerprint.
    """

    model: EmbeddingModel
    licence: str
    source: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


class Family(Protocol):
    """A module with these names, and a line in `FAMILIES`.

    It must import nothing heavy before `load` or `download`.
    """

    USAGE: str
    """How its encoders are named, for messages and help, such as `clip:ARCH/PRETRAINED`."""

    def takes(self, name: str) -> bool:
        """Whether the family knows an encoder of this name."""

    def describe(self) -> list[EncoderDescription]:
        """Those of its encoders that can be listed."""

    def load(self, name: str, options: LoadOptions) -> LoadedModel:
        """Load one.

        Raises:
            MmragError: there is none of that name.
            CheckpointError: weights are absent, wrong or incomplete; says what to do.
        """

    def download(self, name: str, progress: Callable[..., Any] | None) -> list[Path]:
        """Fetch what loading needs; nothing where nothing is needed.

        Raises:
            CheckpointError: no network, or a file that arrived damaged.
        """
