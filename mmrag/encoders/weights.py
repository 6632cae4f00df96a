"""A checkpoint named by the user: a local file, or a hub's."""

from __future__ import annotations

import os
from pathlib import Path

from mmrag import config
from mmrag.errors import CheckpointError
from mmrag.system.hub import download_file


def local_or_hub(checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """The file that `--checkpoint` names: a local path, or `ORG/REPOSITORY/FILE` on a hub.

    Raises:
        CheckpointError: there is no such file, or it cannot be fetched.
    """
    if checkpoint is None or Path(checkpoint).is_file():
        return None if checkpoint is None else Path(checkpoint)
    parts = str(checkpoint).split("/")
    if len(parts) == 3 and not Path(parts[0]).exists() and all(parts):
        repository, file = "/".join(parts[:2]), parts[2]
        return download_file(repository, file, config.weights_dir() / "hub" / repository / file)
    raise CheckpointError(f"No checkpoint at {checkpoint}.")
