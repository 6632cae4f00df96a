"""CLIP by open_clip's names: `clip:ARCH/PRETRAINED`, or `clip:ARCH` with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.encoders.weights import local_or_hub

USAGE = "clip:ARCH/PRETRAINED"


def takes(name: str) -> bool:
    """Whether it begins with `clip:`."""
    return name.startswith("clip:")


def describe() -> list[EncoderDescription]:
    """None: they are open_clip's own list."""
    return []


def load(name: str, options: LoadOptions) -> LoadedModel:
    """From open_clip's published weights, or from `options.checkpoint`."""
    path = local_or_hub(options.checkpoint)
    from mmrag.encoders import clip

    arch, pretrained = clip.split_name(name)
    weight = 0.5 if options.image_weight is None else options.image_weight
    model = clip.load_open_clip(arch, pretrained, str(path) if path else None, weight)
    source = f"open_clip {arch}, {pretrained or path}"
    return LoadedModel(model, "see the source", source, clip.preprocessing(model))


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Published weights, into `MMRAG_HOME`."""
    from mmrag.encoders import clip

    file, _ = clip.fetch_published(*clip.split_name(name), progress)
    return [Path(file)]
