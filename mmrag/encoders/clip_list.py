"""All models that open_clip publishes, and local ones of other names that it takes."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip

from mmrag.encoders import clip_sources
from mmrag.encoders.clip_files import found_weights, is_here
from mmrag.encoders.clip_sources import CONFIG_FILE, ClipSource
from mmrag.encoders.family import EncoderDescription
from mmrag.errors import MmragError

# Parameters of each architecture, as counted in its modules, without those whose text tower's size
# only a hub knows.
_PARAMETERS = json.loads((Path(__file__).parent / "clip_parameters.json").read_text())


def describe(search: str) -> list[EncoderDescription]:
    """Models whose names contain `search`, ignoring case."""
    root = clip_sources.clip_folder()
    fetched = sorted(root.glob(f"*/*/{CONFIG_FILE}"))
    names = [f"clip:hf-hub:{file.parent.relative_to(root).as_posix()}" for file in fetched]
    names += [f"clip:{arch}/{tag}" for arch, tag in open_clip.list_pretrained()]
    found = (_describe(name) for name in names if search.lower() in name.lower())
    return [description for description in found if description is not None]


def _describe(name: str) -> EncoderDescription | None:
    try:
        source = clip_sources.resolve(name)
    # A damaged configuration, or one for something other than pictures.
    except MmragError:
        return None
    vision = source.model_cfg["vision_cfg"]
    size = vision.get("image_size", 224)
    return EncoderDescription(
        name,
        int(source.model_cfg["embed_dim"]),
        max(size) if isinstance(size, list) else int(size),
        is_here(source),
        source.licence,
        f"open_clip {source.what}",
        f"mmrag download {name}",
        _parameters(source),
        {**source.preprocess_cfg, "quick_gelu": bool(source.model_cfg.get("quick_gelu"))},
    )


def _parameters(source: ClipSource) -> int:
    known = int(_PARAMETERS.get(source.what.partition(",")[0], 0))
    weights = found_weights(source)
    return known or (weights.stat().st_size // 4 if weights else 0)
