"""Weights of encoders by name, fetched from their hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders import PUBLISHED, PublishedEncoder
from mmrag.errors import CheckpointError, MmragError
from mmrag.system.hub import download_file


def download_encoder(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch a published encoder's checkpoint and text model into `MMRAG_HOME`.

    What is already there and complete is not fetched again; what was interrupted goes on.

    Args:
        name: `visualized-bge-base`, `visualized-bge-m3` or `clip:ARCH/PRETRAINED`.
        progress: `tqdm` or something with its interface; None shows nothing.

    Returns:
        The files.

    Raises:
        CheckpointError: no network, or a checksum that does not fit; says what to do by hand.
    """
    if name.startswith("clip:"):
        from mmrag.encoders.clip import fetch_published, split_name

        file, _ = fetch_published(*split_name(name), progress)
        return [Path(file)]
    if name not in PUBLISHED:
        raise MmragError(
            f"Nothing to download for {name!r}; use {', '.join(PUBLISHED)} or clip:ARCH/PRETRAINED."
        )
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
