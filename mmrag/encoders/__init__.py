"""Encoders by name: `load_encoder(name)` loads one, `list_encoders()` describes all of them.

A new family of encoders is one file with an `EmbeddingModel`, a branch in `load_encoder`, and a
line in `PUBLISHED` for each set of weights that has a name of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.encoders.checkpoints import read_card
from mmrag.errors import CheckpointError, MmragError

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder

SHIPPED_DIR = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class PublishedEncoder:
    """Official weights: where they are, under which licence, and what belongs to them."""

    name: str
    dim: int
    image_size: int
    licence: str
    repository: str
    checkpoint: str
    text_model: str
    text_files: tuple[str, ...]
    gigabytes: float

    @property
    def source(self) -> str:
        """The hub repository and the file in it."""
        return f"{self.repository}/{self.checkpoint}"

    def folder(self) -> Path:
        """Where `python -m mmrag download` puts the files."""
        return config.weights_dir() / self.name

    def downloaded(self) -> bool:
        """Whether checkpoint and text model are complete there."""
        files = [self.folder() / self.checkpoint]
        files += [self.folder() / "text-model" / name for name in self.text_files]
        return all(file.is_file() for file in files)


PUBLISHED = {
    spec.name: spec
    for spec in (
        PublishedEncoder(
            name="visualized-bge-base",
            dim=768,
            image_size=224,
            licence="MIT",
            repository="BAAI/bge-visualized",
            checkpoint="Visualized_base_en_v1.5.pth",
            text_model="BAAI/bge-base-en-v1.5",
            text_files=("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
            gigabytes=0.4,
        ),
        PublishedEncoder(
            name="visualized-bge-m3",
            dim=1024,
            image_size=224,
            licence="MIT",
            repository="BAAI/bge-visualized",
            checkpoint="Visualized_m3.pth",
            text_model="BAAI/bge-m3",
            text_files=(
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "sentencepiece.bpe.model",
            ),
            gigabytes=1.8,
        ),
    )
}


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


def list_encoders() -> list[EncoderDescription]:
    """The shipped and the published encoders; CLIP architectures are open_clip's own list."""
    shipped = [_describe_shipped(folder) for folder in sorted(SHIPPED_DIR.glob("*/config.json"))]
    published = [
        EncoderDescription(
            spec.name,
            spec.dim,
            spec.image_size,
            spec.downloaded(),
            spec.licence,
            spec.source,
            f"python -m mmrag download {spec.name}  ({spec.gigabytes} GB)",
        )
        for spec in PUBLISHED.values()
    ]
    return shipped + published


def default_encoder_name() -> str:
    """`MMRAG_ENCODER`, else the shipped `demo`, else the official Visualized BGE base."""
    named = config.default_encoder()
    if named:
        return named
    return "demo" if (SHIPPED_DIR / "demo" / "config.json").is_file() else "visualized-bge-base"


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
        name: `visualized-bge-base`, `visualized-bge-m3`, a shipped model, `clip:ARCH/PRETRAINED`
            or `clip:ARCH` with any name open_clip knows (ARCH may also be the path of a
            configuration in its format), or a folder that `mmrag train` wrote. Default:
            `default_encoder_name()`.
        checkpoint: weights file, a local path or a hub name `ORG/REPOSITORY/FILE`. Default: what
            `mmrag download` fetched.
        text_model: folder or hub name whose configuration and tokenizer Visualized BGE uses.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`; `auto` is bf16 where the hardware multiplies
            in bf16.
        image_weight: CLIP's share of the image in a composed query, 0 to 1 (default 0.5).

    Raises:
        MmragError: unknown name, device or precision.
        CheckpointError: weights are absent, wrong or incomplete; the message says what to do.
    """
    from mmrag.encoders.device import resolve_device

    resolve_device(device)
    name = name or default_encoder_name()
    path = _local_or_hub(checkpoint)
    folder = SHIPPED_DIR / name if (SHIPPED_DIR / name / "config.json").is_file() else Path(name)
    if name in PUBLISHED:
        return _load_visualized_bge(PUBLISHED[name], path, text_model, device, precision)
    if name.startswith("clip:"):
        return _load_clip(name, path, device, precision, image_weight)
    if (folder / "config.json").is_file():
        return _load_folder(name, folder, device, precision, image_weight)
    known = ", ".join([description.name for description in list_encoders()])
    raise MmragError(
        f"Unknown encoder {name!r}; use {known}, clip:ARCH/PRETRAINED, "
        "or a folder that `mmrag train` wrote."
    )


def _load_visualized_bge(
    spec: PublishedEncoder, path: Path | None, text_model: str | None, device: str, precision: str
) -> Encoder:
    path = path or spec.folder() / spec.checkpoint
    if not path.is_file():
        raise CheckpointError(
            f"The weights of {spec.name} are not here. Run `python -m mmrag download {spec.name}` "
            f"({spec.gigabytes} GB) or give the file of {spec.source} with --checkpoint."
        )
    if text_model is None:
        local = spec.folder() / "text-model"
        text_model = str(local) if (local / "config.json").is_file() else spec.text_model
    if not Path(text_model).is_dir():
        from mmrag.system.hub import download_file

        folder = config.weights_dir() / "hub" / text_model
        for file in spec.text_files:
            download_file(text_model, file, folder / file)
        text_model = str(folder)
    from mmrag.encoders import visualized_bge_files as files
    from mmrag.encoders.build import build_encoder

    model = files.load_official(spec.name, str(path), text_model)
    return build_encoder(
        model, files.preprocessing(model), spec.name, spec.licence, spec.source, device, precision
    )


def _load_clip(
    name: str, path: Path | None, device: str, precision: str, image_weight: float | None
) -> Encoder:
    from mmrag.encoders import clip
    from mmrag.encoders.build import build_encoder

    arch, pretrained = clip.split_name(name)
    weight = 0.5 if image_weight is None else image_weight
    model = clip.load_open_clip(arch, pretrained, str(path) if path else None, weight)
    source = f"open_clip {arch}, {pretrained or path}"
    licence = "see the source"
    return build_encoder(model, clip.preprocessing(model), name, licence, source, device, precision)


def _load_folder(
    name: str, folder: Path, device: str, precision: str, image_weight: float | None
) -> Encoder:
    from mmrag.encoders.build import build_encoder

    card = read_card(folder)
    if card.get("class") == "clip":
        from mmrag.encoders import clip

        model: Any = clip.load_folder(folder, image_weight)
        preprocessing = clip.preprocessing(model)
    else:
        from mmrag.encoders import visualized_bge_files as files

        model = files.load_folder(folder)
        preprocessing = files.preprocessing(model)
    licence, source = str(card.get("licence", "unknown")), str(card.get("source", folder))
    return build_encoder(model, preprocessing, name, licence, source, device, precision)


def _local_or_hub(checkpoint: str | os.PathLike[str] | None) -> Path | None:
    if checkpoint is None or Path(checkpoint).is_file():
        return None if checkpoint is None else Path(checkpoint)
    parts = str(checkpoint).split("/")
    if len(parts) == 3 and not Path(parts[0]).exists() and all(parts):
        from mmrag.system.hub import download_file

        repository, file = "/".join(parts[:2]), parts[2]
        return download_file(repository, file, config.weights_dir() / "hub" / repository / file)
    raise CheckpointError(f"No checkpoint at {checkpoint}.")


def _describe_shipped(config_file: Path) -> EncoderDescription:
    card = read_card(config_file.parent)
    return EncoderDescription(
        config_file.parent.name,
        int(card["dim"]),
        int(card["image_size"]),
        True,
        str(card["licence"]),
        str(card["source"]),
        "ships with mmrag",
    )
