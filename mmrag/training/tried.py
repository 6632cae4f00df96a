"""A table of trainings whose folders lie beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag.system.text_files import read_text

LOG = "training.json"


@dataclass(frozen=True)
class Tried:
    """One training: its folder's name, its settings that differ from the others', and its results.

    `metrics` are hit rates on the held-out queries, by name.
    """

    name: str
    differs: dict[str, Any]
    steps: int
    seconds: float
    metrics: dict[str, float]


def tried(out: Path) -> list[Tried]:
    """Finished trainings with the same training and held-out queries, best first.

    Args:
        out: the folder of one training; the others are searched for beside it.
    """
    logs = {path.parent.name: _read(path) for path in sorted(out.parent.glob(f"*/{LOG}"))}
    own = logs.get(out.name, {}).get("sets")
    same = {name: log for name, log in logs.items() if own and log.get("sets") == own}
    settings = {name: _settings(log) for name, log in same.items()}
    keys = sorted({key for one in settings.values() for key in one})
    differing = [key for key in keys if len({str(s.get(key)) for s in settings.values()}) > 1]
    found = [
        Tried(
            name,
            {key: settings[name].get(key) for key in differing},
            int(log["steps"]),
            float(log["seconds"]),
            dict(next(iter(log["metrics_after"].values()))),
        )
        for name, log in same.items()
    ]
    return sorted(found, key=lambda one: -one.metrics["hit_rate@1"])


def _settings(log: Mapping[str, Any]) -> dict[str, Any]:
    return {"encoder": log["encoder"], **log["settings"]}


def _read(path: Path) -> dict[str, Any]:
    try:
        log = json.loads(read_text(path))
    # Anything else there is not one of these trainings.
    except (OSError, ValueError):
        return {}
    return log if isinstance(log, dict) else {}
