"""A run as one file, to carry a baseline between machines."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from mmrag.errors import MmragError
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.runs.run import Run
from mmrag.runs.store import RunStore, run_document, run_from_document
from mmrag.system.durable import write_file

_KIND, _VERSION = "mmrag run", 1
# A file from elsewhere may unpack to anything; 10,000 queries with 1,000 results are 0.4 GB.
_LARGEST = 2**31


def export_baseline(run: Run, path: str | os.PathLike[str]) -> Path:
    """Write a loaded run, whole, as gzipped JSON; no path of this machine is in it."""
    named = replace(run, eval_set=replace(run.eval_set, folder=Path(run.eval_set.folder).name))
    held = {"kind": _KIND, "version": _VERSION, **run_document(named)}
    path = Path(path)
    write_file(path, gzip.compress(orjson.dumps(held), mtime=0))
    return path


def import_baseline(
    path: str | os.PathLike[str],
    store: RunStore,
    eval_set: str | os.PathLike[str] | None = None,
) -> tuple[Run, bool]:
    """Store the run in a file that `export_baseline` wrote, under its own id.

    Args:
        path: the file.
        store: where it goes.
        eval_set: the folder of its eval set here. Default: the known set of the same folder name.

    Returns:
        The run, and whether it is new here.

    Raises:
        MmragError: not such a file.
    """
    run = _read(Path(path))
    known = known_eval_sets().get(run.eval_set.folder)
    folder = Path(eval_set) if eval_set is not None else known or Path(run.eval_set.folder)
    run.eval_set = replace(run.eval_set, folder=str(folder.absolute()))
    if any(one.run_id == run.run_id for one in store.runs(run.eval_set.name)):
        return run, False
    store.start(run)
    for stage, ranked in run.rankings.items():
        store.write(run.run_id, stage, list(ranked.values()))
    store.save(run)
    return run, True


def _read(path: Path) -> Run:
    wrong = f"{path} is no run that `mmrag runs export` wrote"
    try:
        with gzip.open(path) as file:
            data = file.read(_LARGEST + 1)
        held: Any = orjson.loads(data) if len(data) <= _LARGEST else None
    except (gzip.BadGzipFile, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise MmragError(f"{wrong}: {error}.") from error
    except OSError as error:
        raise MmragError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not isinstance(held, dict) or held.get("kind") != _KIND:
        raise MmragError(f"{wrong}.")
    if held.get("version") != _VERSION:
        raise MmragError(f"{path} was written by a newer mmrag; update this one.")
    try:
        run = run_from_document(held)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MmragError(f"{wrong}: {error!r}.") from error
    if run.state == "running":
        raise MmragError(f"{path} holds a run that was not finished.")
    return run
