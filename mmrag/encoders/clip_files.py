"""The files of open_clip's models: found here, or fetched from a hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag.encoders.clip_sources import WEIGHTS, ClipSource, clip_folder
from mmrag.errors import CheckpointError
from mmrag.system.hub import check_repository, download_any, download_file

# All possible files of a tokenizer; vocabularies last, so that one of them means all are there.
_VOCABULARIES = (
    "merges.txt",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "tokenizer.json",
)
_TOKENIZER = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    *_VOCABULARIES,
)
_BY_HAND = (
    "To do it by hand, get the file elsewhere and give it with --checkpoint and the same name."
)


@dataclass(frozen=True)
class ClipFiles:
    """Paths of a model's files; `text_model` configures a text tower from transformers."""

    weights: Path
    tokenizer: Path | None
    text_model: Path | None


def fetch(source: ClipSource, progress: Callable[..., Any] | None = None) -> ClipFiles:
    """The files of `source`; missing ones are fetched.

    Raises:
        CheckpointError: they cannot be fetched; says what to do.
    """
    text_model = source.model_cfg["text_cfg"].get("hf_model_name")
    return ClipFiles(
        _fetch_weights(source, progress),
        _fetch_tokenizer(source, progress) if source.tokenizer else None,
        _fetch_text_config(text_model) if text_model else None,
    )


def is_here(source: ClipSource) -> bool:
    """Whether `fetch` has nothing to fetch."""
    text_model = source.model_cfg["text_cfg"].get("hf_model_name")
    return (
        found_weights(source) is not None
        and (not source.tokenizer or _has_vocabulary(_local(source.tokenizer)))
        and (not text_model or (_local(text_model) / "config.json").is_file())
    )


def found_weights(source: ClipSource) -> Path | None:
    """The weights, if they are here."""
    if isinstance(source.weights, Path):
        return source.weights if source.weights.is_file() else None
    repository, files = _hub_files(source.weights)
    here = (clip_folder(repository) / file for file in files)
    return next((file for file in here if file.is_file()), None)


def _hub_files(weights: str) -> tuple[str, tuple[str, ...]]:
    """A repository, and its files to try."""
    repository, _, file = weights.rpartition("/")
    if not file:
        return repository, WEIGHTS
    return repository, (re.sub(r"\.(bin|pth)$", ".safetensors", file), file)


def _fetch_weights(source: ClipSource, progress: Callable[..., Any] | None) -> Path:
    found = found_weights(source)
    if found is not None:
        return found
    if isinstance(source.weights, Path):
        raise CheckpointError(f"No weights at {source.weights}.")
    repository, files = _hub_files(source.weights)
    folder = clip_folder(repository)
    try:
        fetched = download_any(repository, files, folder, progress, first=True)
        # It states the weights' licence; not every repository has one.
        download_any(repository, ("README.md",), folder)
    except CheckpointError as error:
        raise CheckpointError(f"{error} {_BY_HAND}") from error
    if not fetched:
        raise CheckpointError(f"{repository} has no weights that are known here. {_BY_HAND}")
    return fetched[0]


def _fetch_tokenizer(source: ClipSource, progress: Callable[..., Any] | None) -> Path:
    assert source.tokenizer is not None
    folder = _local(source.tokenizer)
    if _has_vocabulary(folder):
        return folder
    if isinstance(source.tokenizer, str):
        try:
            download_any(source.tokenizer, _TOKENIZER, folder, progress)
        except CheckpointError as error:
            raise CheckpointError(
                f"The tokenizer of {source.what} is not here: {error} To do it by hand, put the "
                f"tokenizer files of {source.tokenizer} into {folder}."
            ) from error
    if not _has_vocabulary(folder):
        raise CheckpointError(f"{source.what} has no tokenizer in {folder}.")
    return folder


def _fetch_text_config(repository: str) -> Path:
    """Fetch the configuration from which a text tower of transformers is built."""
    folder = _local(repository)
    if not (folder / "config.json").is_file():
        download_file(repository, "config.json", folder / "config.json")
    return folder


def _local(tokenizer: Path | str) -> Path:
    if isinstance(tokenizer, Path):
        return tokenizer
    check_repository(tokenizer)
    return clip_folder(tokenizer)


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / file).is_file() for file in _VOCABULARIES)
