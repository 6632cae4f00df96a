"""Labels of what a composed query needs, as found by `--ablate-modality`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrag.runs.run import Run

PICTURE, TEXT, EITHER = "picture suffices", "text suffices", "either suffices"
BOTH, NONE = "needs both", "none finds it"
# Stages that rank a composed query's parts, kept beside the run's own.
ALONE = ("image alone", "text alone")
LABELS = (PICTURE, TEXT, EITHER, BOTH, NONE)


def labels_of(run: Run) -> dict[str, str]:
    """Query id to label, of a run with `--ablate-modality`; empty for others."""
    found: Mapping[str, list[str]] = (
        run.ablations.get("modality", {}).get("composition", {}).get("labels", {})
    )
    return {query_id: label for label, ids in found.items() for query_id in ids}


def composition_rows(
    found: Mapping[str, Any], metrics: Container[str]
) -> list[tuple[str, str, str]]:
    """(metric, composition gap, value of the queries that need both), with intervals, in words.

    Args:
        found: `composition` of the ablation of picture and text.
        metrics: which to show; all if none of these was measured.
    """
    gaps, needing = found["gaps"], found["needs_both"]
    names = list(dict.fromkeys([*gaps, *needing]))
    shown = [name for name in names if name in metrics] or names
    return [(name, _words(gaps.get(name)), _words(needing.get(name))) for name in shown]


def _words(one: Mapping[str, Any] | None) -> str:
    return "" if one is None else "{:.3f} ({:.3f} to {:.3f})".format(one["mean"], *one["ci95"])
