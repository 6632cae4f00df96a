"""Milvus Lite that opens no damaged collection, and rebuilds what can be derived.

By itself, it falls back to the previous manifest if `manifest.json` is damaged, and removes the
files that the older one does not know: rows would vanish silently. It also flushes the manifest to
disk, but not the files that it names.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from milvus_lite.db import ALIASES_FILENAME, DEFAULT_DATABASE_NAME, MilvusLite
from milvus_lite.engine.collection import Collection
from milvus_lite.exceptions import MilvusLiteError
from milvus_lite.storage.manifest import Manifest

from mmrag.index.row_counts import Noted, RowCounts, manifest_version
from mmrag.system.durable import move_aside, sync_file, sync_folder, write_file

_PROPERTY = "mmrag.encoder"
REPAIR = "Nothing was changed. `mmrag doctor --repair` moves it aside and says what is lost."


class GuardedLite(MilvusLite):  # type: ignore[misc]
    """A store whose collections are checked before they are first opened."""

    def __init__(self, counts: RowCounts) -> None:
        Manifest.save = _after_its_files(Manifest.save)
        super().__init__(str(counts.store))
        self._counts = counts
        self._looked_at: set[str] = set()
        mend_aliases(counts)

    def get_collection(self, name: str, database_name: str = DEFAULT_DATABASE_NAME) -> Collection:
        """As Milvus Lite's, but raise MilvusLiteError, which says what is damaged."""
        actual = self.resolve_collection_name(name, database_name=database_name)
        known = f"{database_name}/{actual}"
        folder = self._counts.folder(actual)
        if known in self._looked_at or not folder.is_dir():
            return super().get_collection(name, database_name)
        problem = damage(folder, self._counts.noted(actual))
        if problem:
            raise MilvusLiteError(f"The collection {actual} is damaged: {problem}. {REPAIR}")
        try:
            collection = super().get_collection(name, database_name)
        except MilvusLiteError:
            raise
        # Whatever its readers raise about the files' contents.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise MilvusLiteError(
                f"The collection {actual} is damaged: {reason}. {REPAIR}"
            ) from error
        collection.load = _mending(collection.load, folder)
        self._looked_at.add(known)
        return collection

    def list_collections(self, database_name: str = DEFAULT_DATABASE_NAME) -> list[str]:
        """As Milvus Lite's, without damaged ones: listing them opens each."""
        names = super().list_collections(database_name)
        return [name for name in names if self._opens(name, database_name)]

    def _opens(self, name: str, database_name: str) -> bool:
        try:
            self.get_collection(name, database_name)
        except MilvusLiteError:
            return False
        return True

    def drop_collection(self, name: str, database_name: str = DEFAULT_DATABASE_NAME) -> None:
        """As Milvus Lite's."""
        self._looked_at.clear()
        super().drop_collection(name, database_name)


def _after_its_files(save: Callable[[Any], None]) -> Callable[[Any], None]:
    """`Manifest.save` that flushes the files it names to disk before itself."""
    done: set[Path] = set()

    def save_after_them(manifest: Any) -> None:
        partitions = Path(manifest._data_dir) / "partitions"
        # They are written once, never changed, and removed when merged.
        new = set(partitions.rglob("*.parquet")) - done
        for path in [*new, *{file.parent for file in new}]:
            with suppress(FileNotFoundError):
                sync_folder(path) if path.is_dir() else sync_file(path)
        done.update(new)
        save(manifest)

    return save_after_them


def damage(folder: Path, noted: Noted) -> str:
    """The damage to a collection's files, as half a sentence; empty if there is none.

    Args:
        folder: of the collection.
        noted: what was last known of it.
    """
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        json.loads((folder / "schema.json").read_bytes())["fields"]
    except (OSError, ValueError, KeyError, TypeError):
        return "its schema.json cannot be read"
    manifest = folder / "manifest.json"
    if not manifest.exists():
        begun = noted.version or (folder / "manifest.json.prev").exists()
        return "its manifest.json is gone" if begun else ""
    version = manifest_version(folder)
    if version is None:
        return "its manifest.json cannot be read"
    if version < noted.version:
        return f"its manifest.json is an older one (version {version}, it was {noted.version})"
    for file in data_files(folder):
        try:
            pq.ParquetFile(file).close()
        # Arrow's errors are OSError and ValueError.
        except (OSError, ValueError) as error:
            absent = isinstance(error, FileNotFoundError)
            what = "is gone" if absent else "cannot be read"
            return f"its file {file.relative_to(folder)} {what}"
    return ""


def data_files(folder: Path) -> Iterator[Path]:
    """The Parquet files that a collection's manifest names."""
    partitions = json.loads((folder / "manifest.json").read_bytes()).get("partitions", {})
    for name, files in partitions.items():
        for relative in [*files.get("data_files", ()), *files.get("delta_files", ())]:
            yield folder / "partitions" / name / relative


def mend_aliases(counts: RowCounts) -> str:
    """Rebuild a damaged `aliases.json` from the collections' own notes.

    Returns:
        What was done, as a sentence; empty if nothing was wrong.
    """
    file = counts.store / ALIASES_FILENAME
    try:
        held = json.loads(file.read_bytes())
        if isinstance(held, dict) and all(isinstance(value, str) for value in held.values()):
            return ""
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        pass
    there = move_aside(file)
    made = derived_aliases(counts)
    write_file(file, json.dumps(made, indent=2, sort_keys=True))
    done = f"{file} was damaged: it is now {there.name}, and the {len(made)} names are made anew."
    logging.getLogger(__name__).warning("%s", done)
    return done


def derived_aliases(counts: RowCounts) -> dict[str, str]:
    """Name to collection: the newest complete one, else the oldest."""
    found: dict[str, list[tuple[int, str]]] = {}
    for folder in sorted((counts.store / "collections").iterdir()):
        try:
            properties = json.loads((folder / "schema.json").read_bytes())["properties"]
            name = str(json.loads(properties[_PROPERTY])["collection"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        numbered = re.fullmatch(re.escape(name) + r"__(\d+)", folder.name)
        if numbered:
            found.setdefault(name, []).append((int(numbered[1]), folder.name))
    made = {}
    for name, numbers in found.items():
        whole = [one for one in numbers if counts.noted(one[1]).rows is not None]
        made[name] = (max(whole) if whole else min(numbers))[1]
    return made


def _mending(load: Callable[[], Any], folder: Path) -> Callable[[], Any]:
    """Move damaged index files aside and rebuild them from the vectors."""

    def load_or_mend() -> Any:
        try:
            return load()
        except MilvusLiteError:
            raise
        # The index kinds' libraries raise their own errors.
        except Exception as error:  # noqa: BLE001
            damaged = [part for part in folder.glob("partitions/*/indexes") if part.is_dir()]
            for part in damaged:
                logging.getLogger(__name__).warning(
                    "%s was damaged (%s): it is made anew.", part, ascii(error)[:200]
                )
                move_aside(part)
            return load()

    return load_or_mend
