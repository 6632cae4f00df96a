"""The folders searched for eval sets by name."""

from __future__ import annotations

import os
from pathlib import Path

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system import shipped

SHIPPED_SETS = shipped.ROOT / "eval_sets"
CATALOGUE = SHIPPED_SETS / "catalogue"
PHOTOS = SHIPPED_SETS / "grocery"


def known_eval_sets() -> dict[str, Path]:
    """Folder name to folder of the eval sets at hand: photographs, drawings, then others.

    They are searched for in the project's `eval_sets`, in `MMRAG_HOME/eval_sets`, and in the
    folders that `MMRAG_EVAL_SETS` names (separated as in PATH), each an eval set or a folder of
    eval sets.
    """
    named = os.environ.get("MMRAG_EVAL_SETS", "").split(os.pathsep)
    places = [
        SHIPPED_SETS / PHOTOS.name,
        SHIPPED_SETS,
        config.home() / "eval_sets",
        *(Path(name) for name in named if name),
    ]
    found: dict[str, Path] = {}
    for place in places:
        try:
            heads = [place / "eval_set.json", *sorted(place.glob("*/eval_set.json"))]
            there = [head.parent for head in heads if head.is_file()]
        except OSError as error:
            raise MmragError(
                f"The folder {place} of eval sets (MMRAG_EVAL_SETS) cannot be read: "
                f"{error.strerror or error}."
            ) from error
        for folder in there:
            found.setdefault(folder.name, folder)
    return found


def own_eval_sets() -> dict[str, Path]:
    """The `known_eval_sets` that may be changed: not shipped, and writable."""
    return {
        name: folder
        for name, folder in known_eval_sets().items()
        if not folder.resolve().is_relative_to(SHIPPED_SETS.resolve())
        and os.access(folder, os.W_OK)
    }
