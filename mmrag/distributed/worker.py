"""A worker's encoder, loaded by name, on the worker's share of the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag import config
from mmrag.encoders import list_encoders
from mmrag.encoders.family import LoadOptions
from mmrag.errors import MmragError

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder, EncoderInfo


@dataclass(frozen=True)
class EncoderSpec(LoadOptions):
    """An encoder as `load_encoder` takes it; made where the paths are valid."""

    name: str
    device: str = "auto"
    precision: str = "auto"
    home: str = field(default_factory=lambda: str(config.home()))
    max_pixels: int = field(default_factory=config.max_pixels)

    def absolute(self) -> EncoderSpec:
        """The same with absolute paths where fields name local files or folders."""
        return replace(
            self,
            name=self.name if _has_that_name(self.name) else _absolute(self.name),
            checkpoint=self.checkpoint and _absolute(os.fspath(self.checkpoint)),
            text_model=self.text_model and _absolute(self.text_model),
        )

    def load(self, threads: int, fingerprint: str | None = None) -> Encoder:
        """Load the encoder; this process then computes with `threads` threads.

        Args:
            threads: for torch on a CPU.
            fingerprint: that its vectors must have.

        Raises:
            MmragError: it cannot be loaded here, or is another one.
        """
        # A node may have its own home, but images are skipped by the same limit.
        os.environ.setdefault("MMRAG_HOME", self.home)
        os.environ["MMRAG_MAX_PIXELS"] = str(self.max_pixels)
        import torch

        from mmrag.encoders import load_encoder

        torch.set_num_threads(threads)
        options = {one.name: getattr(self, one.name) for one in fields(LoadOptions)}
        encoder = load_encoder(self.name, device=self.device, precision=self.precision, **options)
        if fingerprint is not None and encoder.info.fingerprint != fingerprint:
            raise MmragError(
                f"The encoder {self.name!r} is not the same on all nodes: fingerprint "
                f"{encoder.info.fingerprint} here, {fingerprint} expected. Copy its files."
            )
        return encoder


def describe(spec: EncoderSpec, threads: int) -> tuple[EncoderInfo, int]:
    """The encoder as a worker has it, and the batch size that suits it there."""
    encoder = spec.load(threads)
    return encoder.info, encoder.batch_size


def _has_that_name(name: str) -> bool:
    """Whether `load_encoder` knows an encoder of this name, even if a folder has it too."""
    return name in {description.name for description in list_encoders()}


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).exists() else name
