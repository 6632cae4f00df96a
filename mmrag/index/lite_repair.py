"""Check and repair a local store: what is broken is moved aside, never removed."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.errors import IndexStoreError
from mmrag.index.lite_guard import GuardedLite, damage, mend_aliases
from mmrag.index.lite_server import lock, read_record
from mmrag.index.row_counts import Noted, RowCounts
from mmrag.system.durable import move_aside, write_file


@dataclass(frozen=True)
class Finding:
    """Something broken: what, how, and what was done or should be done."""

    what: str
    problem: str
    done: str


def look_through(store: Path) -> list[Finding]:
    """The damaged collections of a store, even one in use; changes nothing."""
    counts = _counts(store)
    return [
        Finding(f"Collection {folder.name}", problem, "run `mmrag doctor --repair`")
        for folder in _folders(store)
        if (problem := damage(folder, counts.noted(folder.name)))
    ]


def repair(store: Path) -> list[Finding]:
    """Rebuild what can be derived, move the rest aside, and accept the rows that are there.

    Raises:
        IndexStoreError: the store is in use.
    """
    counts = _counts(store)
    if not (store / "collections").is_dir():
        return []
    with _to_oneself(counts):
        names = mend_aliases(counts)
        found = [Finding(str(store / "aliases.json"), "damaged", names)] if names else []
        for folder in _folders(store):
            noted = counts.noted(folder.name)
            problem = damage(folder, noted)
            if problem:
                found.append(_repair_one(counts, folder, noted, problem))
        with closing(GuardedLite(counts)) as opened:
            found += [one for folder in _folders(store) for one in _accept(counts, opened, folder)]
        return found


def _repair_one(counts: RowCounts, folder: Path, noted: Noted, problem: str) -> Finding:
    what = f"Collection {folder.name}"
    if "manifest.json" in problem and _rebuild_manifest(counts, folder, noted):
        return Finding(what, problem, f"made anew from its files: all {noted.rows:,} rows are back")
    aside = counts.store.with_name(counts.store.name + ".broken")
    aside.mkdir(exist_ok=True)
    there = move_aside(folder).rename(aside / f"{folder.name}-{time.time_ns()}")
    _forget_names(counts.store, folder.name)
    counts.forget(folder.name)
    lost = "its rows" if noted.rows is None else f"{noted.rows:,} rows"
    return Finding(
        what, problem, f"lost: {lost}. It is now {there}; index its folder again, or restore a copy"
    )


def _rebuild_manifest(counts: RowCounts, folder: Path, noted: Noted) -> bool:
    """Rebuild `manifest.json` from the existing files, only if all noted rows come back."""
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    manifest, before = folder / "manifest.json", folder / "manifest.json.prev"
    if noted.rows is None:
        return False
    try:
        made: dict[str, Any] = json.loads(before.read_bytes())
        files = {
            partition.name: {
                f"{kind}_files": sorted(f"{kind}/{f.name}" for f in partition.glob(f"{kind}/*"))
                for kind in ("data", "delta")
            }
            for partition in sorted((folder / "partitions").iterdir())
        }
        newest = [
            pc.max(pq.read_table(file, columns=["_seq"])["_seq"]).as_py() or 0
            for file in folder.glob("partitions/*/d*a/*.parquet")
        ]
        made["partitions"] = {**made.get("partitions", {}), **files}
        made["version"] = max(noted.version, int(made["version"])) + 1
        made["current_seq"] = max([int(made.get("current_seq", 0)), *newest])
    # Arrow's errors are OSError and ValueError; the others come from a bad older manifest.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    aside = move_aside(manifest) if manifest.exists() else None
    write_file(manifest, json.dumps(made, indent=2, sort_keys=True))
    with closing(GuardedLite(counts)) as opened:
        whole = _rows(opened, folder.name) == noted.rows
    if not whole:
        move_aside(manifest)
        if aside is not None:
            aside.rename(manifest)
    return whole


def _accept(counts: RowCounts, opened: GuardedLite, folder: Path) -> Iterator[Finding]:
    """Note the number of rows that are there, if it differs."""
    noted = counts.noted(folder.name)
    if noted.rows is None or not (folder / "manifest.json").exists():
        return
    rows = _rows(opened, folder.name)
    if rows is not None and rows != noted.rows:
        counts.note(folder.name, rows)
        yield Finding(
            f"Collection {folder.name}",
            f"it holds {rows:,} rows and was left with {noted.rows:,}",
            f"the {rows:,} are used from now on; index its folder again for the rest",
        )


def _rows(opened: GuardedLite, name: str) -> int | None:
    try:
        return int(opened.get_collection(name).num_entities)
    # Whatever its readers raise about the files' contents.
    except Exception:  # noqa: BLE001
        return None


def _forget_names(store: Path, collection: str) -> None:
    file = store / "aliases.json"
    if file.exists():
        held = json.loads(file.read_bytes())
        kept = {name: actual for name, actual in held.items() if actual != collection}
        write_file(file, json.dumps(kept, indent=2, sort_keys=True))


def _counts(store: Path) -> RowCounts:
    store = store.expanduser().absolute()
    return RowCounts(store, store.with_name(store.name + ".server"))


def _folders(store: Path) -> list[Path]:
    root = store.expanduser().absolute() / "collections"
    return sorted(folder for folder in root.glob("*") if folder.is_dir())


@contextmanager
def _to_oneself(counts: RowCounts) -> Iterator[None]:
    """Hold the store alone, with its server stopped."""
    counts.state.mkdir(exist_ok=True)
    ends = time.monotonic() + config.store_linger() + 5
    while True:
        try:
            with lock(counts.state / "users.lock", fcntl.LOCK_EX, seconds=0.5):
                record = read_record(counts.state)
                if record is None or not record.alive():
                    yield
                    return
        except IndexStoreError:
            pass
        if time.monotonic() > ends:
            raise IndexStoreError(
                f"The store {counts.store} is in use; stop the dashboard and other commands that "
                "use it, then run this again."
            )
        time.sleep(0.2)
