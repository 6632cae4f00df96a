"""Official Visualized BGE weights by name: where they are, and what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.encoders.weights import local_or_hub
from mmrag.errors import CheckpointError
from mmrag.system.hub import download_file

USAGE = ""
OPTIONS: frozenset[str] = frozenset({"checkpoint", "text_model"})


@dataclass(frozen=True)
class PublishedEncoder:
    """Official weights: where they are, their licence, and what they need."""

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
        """The folder that `mmrag download` fills."""
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


def takes(name: str) -> bool:
    """Whether the name is one of `PUBLISHED`."""
    return name in PUBLISHED


def describe(search: str | None = None) -> list[EncoderDescription]:
    """All of `PUBLISHED`."""
    return [
        EncoderDescription(
            spec.name,
            spec.dim,
            spec.image_size,
            spec.downloaded(),
            spec.licence,
            spec.source,
            f"mmrag download {spec.name}  ({spec.gigabytes} GB)",
        )
        for spec in PUBLISHED.values()
    ]


def load(name: str, options: LoadOptions) -> LoadedModel:
    """Load from `options.checkpoint`, else from what `download` fetched."""
    spec = PUBLISHED[name]
    path = local_or_hub(options.checkpoint) or spec.folder() / spec.checkpoint
    if not path.is_file():
        raise CheckpointError(
            f"The weights of {name} are not here. Run `mmrag download {name}` "
            f"({spec.gigabytes} GB) or give the file of {spec.source} with --checkpoint."
        )
    text_model = options.text_model
    if text_model is None:
        local = spec.folder() / "text-model"
        text_model = str(local) if (local / "config.json").is_file() else spec.text_model
    if not Path(text_model).is_dir():
        folder = config.weights_dir() / "hub" / text_model
        for file in spec.text_files:
            download_file(text_model, file, folder / file)
        text_model = str(folder)
    from mmrag.encoders import visualized_bge_files as files

    model = files.load_official(name, str(path), text_model)
    return LoadedModel(model, spec.licence, spec.source, files.preprocessing(model))


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch checkpoint and text model into `MMRAG_HOME`."""
    spec = PUBLISHED[name]
    wanted = [
        (spec.text_model, file, spec.folder() / "text-model" / file) for file in spec.text_files
    ]
    wanted.append((spec.repository, spec.checkpoint, spec.folder() / spec.checkpoint))
    try:
        return [download_file(*file, progress=progress) for file in wanted]
    except CheckpointError as error:
        raise CheckpointError(f"{error} {_by_hand(spec)}") from error


def _by_hand(spec: PublishedEncoder) -> str:
    return (
        f"To do it by hand, put {spec.checkpoint} of {spec.repository} into {spec.folder()}, and "
        f"{', '.join(spec.text_files)} of {spec.text_model} into {spec.folder() / 'text-model'} "
        "(another hub is named by HF_ENDPOINT)."
    )
