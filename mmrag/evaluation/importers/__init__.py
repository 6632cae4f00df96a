"""Formats of other people's data sets, each in one file with an `import_set` function.

A new format is one file here and one line in `IMPORTERS`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.evaluation.eval_set import EvalSet

IMPORTERS = {"grocery": "mmrag.evaluation.importers.grocery"}


def import_eval_set(format: str, source: Path, folder: Path, **options: Any) -> EvalSet:
    """Read `source` in `format` and save it as an eval set in `folder`.

    Raises:
        EvalSetError: unknown format, or `source` is not in it.
    """
    if format not in IMPORTERS:
        raise EvalSetError(f"Unknown format {format!r}; use one of {', '.join(IMPORTERS)}.")
    eval_set: EvalSet = importlib.import_module(IMPORTERS[format]).import_set(
        source, folder, **options
    )
    eval_set.save()
    return eval_set
