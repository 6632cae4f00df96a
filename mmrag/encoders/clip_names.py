"""CLIP: `clip:` and any name that open_clip takes, or `clip:ARCH` with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.encoders.weights import local_or_hub

USAGE = "clip:ARCH/PRETRAINED"
OPTIONS = frozenset({"checkpoint", "image_weight", "preprocess", "fusion"})
DEFAULT_IMAGE_WEIGHT = 0.5


def takes(name: str) -> bool:
    """Whether the name begins with `clip:`."""
    return name.startswith("clip:")


def describe(search: str | None = None) -> list[EncoderDescription]:
    """None without `search`: open_clip has its own list."""
    if search is None:
        return []
    from mmrag.encoders import clip_list

    return clip_list.describe(search)


def load(name: str, options: LoadOptions) -> LoadedModel:
    """Load open_clip's published weights, or `options.checkpoint`."""
    path = local_or_hub(options.checkpoint)
    from mmrag.encoders import clip, clip_files, clip_sources

    source = clip_sources.resolve(name, path, options.preprocess)
    weight = DEFAULT_IMAGE_WEIGHT if options.image_weight is None else options.image_weight
    files = clip_files.fetch(source)
    model = clip.load_source(source, files, weight, options.fusion or "sum-unit")
    what = f"open_clip {source.what}" + (f", {path}" if path else "")
    return LoadedModel(
        model,
        source.licence,
        what,
        clip.preprocessing(model),
        clip.settings(model),
        {"image_weight": DEFAULT_IMAGE_WEIGHT, "fusion": None},
    )


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch weights, configuration and tokenizer into `MMRAG_HOME`."""
    from mmrag.encoders import clip_files, clip_sources

    files = clip_files.fetch(clip_sources.resolve(name), progress)
    return [file for file in (files.weights, files.tokenizer, files.text_model) if file]
