"""Formats of published data sets, each in one file with an `import_set` function.

`import_set(source, folder, **options)` makes an `EvalSet` for `folder` out of the files under
`source`; pictures stay where they are, and need not exist. A new format is one file here and
one line in `IMPORTERS`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet, read_head
from mmrag.eval_sets.protocol import Protocol
from mmrag.eval_sets.protocols import apply_protocol, find_protocol, protocols

IMPORTERS = {
    name: f"mmrag.eval_sets.importers.{name}"
    for name in (
        "beir",
        "circo",
        "circus",
        "cirr",
        "fashioniq",
        "folder",
        "genecis",
        "grocery",
        "icir",
        "lasco",
        "mteb",
        "pinpoint",
        "trec",
        "webdataset",
    )
}


def import_eval_set(
    format: str, source: Path, folder: Path, protocol: str | None = None, **options: Any
) -> EvalSet:
    """Read `source` in `format` and save it as an eval set in `folder`.

    Args:
        format: one of `IMPORTERS`.
        source: the data set's folder, as published.
        folder: a new folder, or one that holds an earlier import of the same set.
        protocol: how it is asked, by name or as a TOML file (see `find_protocol`). Default: the
            format's first one, or with a `gallery` in `options` the one that fits it.
        options: arguments of the format's `import_set`: `split`, `images`, `category`, `gallery`.

    Raises:
        EvalSetError: unknown format or option, `source` is not in the format, or `folder` holds
            another eval set.
    """
    importer = _importer(format)
    unknown = sorted(set(options) - import_options(format))
    if unknown:
        raise EvalSetError(f"The format {format!r} takes no {', '.join(unknown)}.")
    asked = _protocol(format, protocol, options.get("gallery"))
    wanted = asked.gallery.replace("queries", "split") if asked else ""
    if wanted and "gallery" in import_options(format):
        options = {"gallery": wanted, **options}
    eval_set = importer(source, folder, **options).as_on_disk()
    if asked is not None:
        eval_set = apply_protocol(eval_set, asked)
    _check_destination(folder, eval_set.name)
    eval_set.save()
    return eval_set


def import_options(format: str) -> set[str]:
    """The options that a format takes, e.g. `split`."""
    return set(inspect.signature(_importer(format)).parameters) - {"source", "folder"}


def _protocol(format: str, reference: str | None, gallery: str | None) -> Protocol | None:
    if reference is not None:
        return find_protocol(reference, format)
    default = next(iter(protocols(format).values()), None)
    return default if default is None or gallery in (None, default.gallery) else None


def _check_destination(folder: Path, name: str) -> None:
    """Raise `EvalSetError` if `folder` holds a data set other than an earlier import of `name`."""
    if (folder / "eval_set.json").exists():
        there = read_head(folder).get("name")
        if there != name:
            raise EvalSetError(f"{folder} already holds the eval set {there!r}; name another one.")
    elif (folder / "corpus.jsonl").exists() or (folder / "queries.jsonl").exists():
        raise EvalSetError(f"{folder} already holds a data set; name another folder.")


def _importer(format: str) -> Callable[..., EvalSet]:
    if format not in IMPORTERS:
        raise EvalSetError(f"Unknown format {format!r}; use one of {', '.join(IMPORTERS)}.")
    importer: Callable[..., EvalSet] = importlib.import_module(IMPORTERS[format]).import_set
    return importer
