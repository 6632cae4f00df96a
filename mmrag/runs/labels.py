"""Labels of what a composed query needs, as `--ablate-modality` found it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmrag.runs.run import Run

PICTURE, TEXT, EITHER = "picture suffices", "text suffices", "either suffices"
BOTH, NONE = "needs both", "none finds it"
# The rankings of a composed query's parts, which a run keeps beside its own.
ALONE = ("image alone", "text alone")
LABELS = (PICTURE, TEXT, EITHER, BOTH, NONE)


def labels_of(run: Run) -> dict[str, str]:
    """Query id to label, of a run with `--ablate-modality`; empty for others."""
    found: Mapping[str, list[str]] = (
        run.ablations.get("modality", {}).get("composition", {}).get("labels", {})
    )
    return {query_id: label for label, ids in found.items() for query_id in ids}
