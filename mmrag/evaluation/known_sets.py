"""Where eval sets are looked for by name."""

from __future__ import annotations

import os
from pathlib import Path

from mmrag import config

SHIPPED_SETS = Path(__file__).parents[2] / "eval_sets"
CATALOGUE = SHIPPED_SETS / "catalogue"


def known_eval_sets() -> dict[str, Path]:
    """Folder name to folder of the eval sets at hand, the shipped one first.

    Looked for in the project's `eval_sets`, in `MMRAG_HOME/eval_sets`, and in the folders that
    `MMRAG_EVAL_SETS` names (separated as in PATH), each an eval set or a folder of eval sets.
    """
    named = os.environ.get("MMRAG_EVAL_SETS", "").split(os.pathsep)
    places = [SHIPPED_SETS, config.home() / "eval_sets", *(Path(name) for name in named if name)]
    found: dict[str, Path] = {}
    for place in places:
        for head in [place / "eval_set.json", *sorted(place.glob("*/eval_set.json"))]:
            if head.is_file():
                found.setdefault(head.parent.name, head.parent)
    return found
