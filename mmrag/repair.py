"""Check everything under `MMRAG_HOME`, and move what is broken aside.

Caches are checked too, though they repair themselves when read.
"""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from mmrag import config
from mmrag.errors import MmragError
from mmrag.index.image_index import ImageIndex
from mmrag.index.lite_repair import Finding, look_through
from mmrag.index.lite_repair import repair as repair_store
from mmrag.index.milvus_collection import list_collections
from mmrag.index.rows import metadata_json, row_hash
from mmrag.index.schema import STORED_FIELDS
from mmrag.system.durable import move_aside

ADVICE = "`mmrag doctor --repair` moves it aside"
_BATCH, _SEARCHED, _LENGTH, _SAME = 500, 20, 1e-3, 0.999


def check() -> list[Finding]:
    """Verify everything: databases, weights, results, the store's files, its rows and index."""
    found = [Finding(str(path), problem, ADVICE) for path, problem, _ in _broken_files()]
    return found + _check_store()


def repair() -> list[Finding]:
    """Move aside what is broken, rebuild what can be derived; return what was done and lost.

    Raises:
        IndexStoreError: the store is in use.
    """
    found = repair_store(Path(config.default_uri())) if _is_local() else []
    for path, problem, lost in _broken_files():
        there = move_aside(path)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(there.with_name(there.name + suffix))
        found.append(Finding(str(path), problem, f"it is now {there.name}; {lost}"))
    return found


def damaged_collections() -> list[Finding]:
    """Damaged collections of the default store, by its files alone."""
    return look_through(Path(config.default_uri())) if _is_local() else []


def _is_local() -> bool:
    return "://" not in config.default_uri()


def _broken_files() -> Iterator[tuple[Path, str, str]]:
    """Each broken file, its problem, and what is lost and how to get it back."""
    home = config.home()
    for pattern, problem_of, lost in _KINDS:
        for path in sorted(home.glob(pattern)):
            if ".broken-" in path.name:
                continue
            if not path.is_dir():
                problem = problem_of(path)
            else:
                problem = "is a folder" if _is_named_here(path) else ""
            if problem:
                yield path, problem, lost


def _is_named_here(path: Path) -> bool:
    """Whether mmrag itself has a file of this name. Other folders, such as a Milvus Lite store or
    one of weights, may have any name."""
    return path.name in ("runs.db", "adopted.json") or path.suffix == ".sqlite"


def _database(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as file:
            said = str(file.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        # Locked or unreadable: that is no damage.
        return "" if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if said == "ok" else said


def _safetensors(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            file.keys()
    except (SafetensorError, OSError, ValueError) as error:
        return " ".join(str(error).split())[:200]
    return ""


def _archive(path: Path) -> str:
    """The damage to a torch file; one that is no zip archive may predate the zip format."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        return f"{bad} in it is damaged" if bad else ""
    except (zipfile.BadZipFile, OSError) as error:
        with path.open("rb") as file:
            return str(error) if file.read(1) != b"\x80" else ""


def _json(path: Path) -> str:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return f"no JSON ({error})"
    return ""


_AGAIN = "it is made again when it is wanted"
_WEIGHTS = "fetch it again with `mmrag download`"
_RUNS = (
    "the runs and jobs in it are lost, unless `sqlite3 FILE .recover` gets some of them back, or "
    "a copy is restored"
)
# The place below MMRAG_HOME, the check for such a file, and the consequence if it is broken.
_KINDS: list[tuple[str, Callable[[Path], str], str]] = [
    ("*.db", _database, _RUNS),
    ("*.sqlite", _database, _AGAIN),
    ("cache/*.sqlite", _database, _AGAIN),
    ("adopted.json", _json, "adopt the collections again with `mmrag adopt`"),
    ("weights/**/*.safetensors", _safetensors, _WEIGHTS),
    ("weights/**/*.pt*", _archive, _WEIGHTS),
    ("weights/**/*.json", _json, _WEIGHTS),
    ("bench/**/*.json", _json, "measure it again with `mmrag bench --save`"),
]


def _check_store() -> list[Finding]:
    found = damaged_collections()
    try:
        names = [info.name for info in list_collections()]
    except MmragError as error:
        return [*found, Finding("The store", str(error), "see `mmrag doctor`")]
    for name in names:
        try:
            with ImageIndex.open(collection=name) as index:
                problems = list(islice(_check_rows(index), 5))
        except MmragError as error:
            problems = [str(error)]
        again = "index its folder again with --replace"
        found += [Finding(f"Collection {name}", problem, again) for problem in problems]
    return found


def _check_rows(index: ImageIndex) -> Iterator[str]:
    """Sentences about rows that have a wrong hash or vector, or that the index does not find."""
    rows = index.rows([*STORED_FIELDS, "row_hash", "vector"])
    searched = 0
    while some := list(islice(rows, _BATCH)):
        vectors = np.array([row["vector"] for row in some], np.float32)
        lengths = np.linalg.norm(vectors, axis=1)
        for row, length in zip(some, lengths, strict=True):
            described = metadata_json(row["metadata"] or {})
            of = (row["content_hash"], row["path"], row["text"], described)
            if row_hash("image", *of)[32:] != row["row_hash"][32:]:
                yield f"the row of {row['image_id']} does not fit its hash"
            elif not abs(length - 1) < _LENGTH:
                yield f"the vector of {row['image_id']} is not of unit length"
        sample = vectors[: max(0, _SEARCHED - searched)]
        searched += len(sample)
        if len(sample):
            for row, hits in zip(some, index.search(sample, 1), strict=False):
                if not hits or hits[0]["score"] < _SAME:
                    yield f"its index does not find {row['image_id']} by its own vector"
