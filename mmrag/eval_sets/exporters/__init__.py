"""Eval sets in the layouts of other tools, each in one file with an `export_set` function.

`export_set(eval_set, folder)` writes into a folder that is new or empty. A new format is one file
here and one line in `EXPORTERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet

EXPORTERS = {name: f"mmrag.eval_sets.exporters.{name}" for name in ("beir", "mteb", "webdataset")}


def export_eval_set(eval_set: EvalSet, format: str, folder: Path) -> None:
    """Write an eval set in one of `EXPORTERS`.

    Raises:
        EvalSetError: unknown format, a folder that holds something, or pictures that are missing.
    """
    if format not in EXPORTERS:
        raise EvalSetError(f"Unknown format {format!r}; use one of {', '.join(EXPORTERS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EvalSetError(f"{folder} is not empty; name a new folder.")
    if missing := eval_set.missing():
        n = len(missing)
        are = "1 picture is missing" if n == 1 else f"{n} pictures are missing, such as the first"
        raise EvalSetError(f"{are}: {missing[0].path} ({missing[0].reason}).")
    folder.mkdir(parents=True, exist_ok=True)
    export: Callable[[EvalSet, Path], None] = importlib.import_module(EXPORTERS[format]).export_set
    export(eval_set, folder)
