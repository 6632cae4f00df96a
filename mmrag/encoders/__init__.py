"""Encoders by name: `load_encoder(name)` loads one, `list_encoders()` describes all of them.

A new family of encoders is one file and one line in `registry.FAMILIES`; other packages add
encoders by the entry points `mmrag.encoders` (see `plugins`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.encoders.family import EncoderDescription, LoadOptions
from mmrag.encoders.folders import SHIPPED_DIR, is_shipped
from mmrag.encoders.registry import family_of, list_encoders, usages

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder

__all__ = [
    "SHIPPED_DIR",
    "EncoderDescription",
    "default_encoder_name",
    "download_encoder",
    "list_encoders",
    "load_encoder",
    "usages",
]


def default_encoder_name() -> str:
    """`MMRAG_ENCODER`, else the shipped `demo`, else the official Visualized BGE base."""
    return config.default_encoder() or ("demo" if is_shipped("demo") else "visualized-bge-base")


def load_encoder(
    name: str | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    text_model: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    image_weight: float | None = None,
) -> Encoder:
    """Load an encoder.

    Args:
        name: one that `list_encoders` names, `clip:ARCH/PRETRAINED` or `clip:ARCH` with any name
            open_clip knows (ARCH may also be the path of a configuration in its format), or a
            folder that `mmrag train` wrote. Default: `default_encoder_name()`.
        checkpoint: weights file, a local path or a hub name `ORG/REPOSITORY/FILE`. Default: what
            `mmrag download` fetched.
        text_model: folder or hub name whose configuration and tokenizer Visualized BGE uses.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16`, `fp16` or `int8`; `auto` is bf16 where the hardware
            multiplies in bf16.
        image_weight: CLIP's share of the image in a composed query, 0 to 1 (default 0.5).

    Raises:
        MmragError: unknown name, device or precision, or the model cannot do what is asked.
        CheckpointError: weights are absent, wrong or incomplete; the message says what to do.
    """
    from mmrag.encoders.device import resolve_device

    resolve_device(device)
    name = name or default_encoder_name()
    loaded = family_of(name).load(name, LoadOptions(checkpoint, text_model, image_weight))
    from mmrag.encoders.build import build_encoder

    return build_encoder(
        loaded.model,
        loaded.preprocessing,
        name,
        loaded.licence,
        loaded.source,
        device,
        precision,
    )


def download_encoder(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch what an encoder needs into `MMRAG_HOME`.

    What is already there and complete is not fetched again; what was interrupted goes on.

    Args:
        name: of an encoder that is not here, such as `visualized-bge-base`.
        progress: `tqdm` or something with its interface; None shows nothing.

    Returns:
        The files.

    Raises:
        MmragError: an unknown name, or one that needs nothing.
        CheckpointError: no network, or a checksum that does not fit; says what to do by hand.
    """
    return family_of(name).download(name, progress)
