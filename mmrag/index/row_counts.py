"""Row counts of a local store's collections, noted outside the store.

The store's own files can be damaged. Beside it, `STORE.server` holds what they last said: the
number of rows, and the version of the collection's `manifest.json`, which only ever grows.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mmrag.system.durable import put_through, sync_file, sync_folder, write_file


@dataclass(frozen=True)
class Noted:
    """A collection's notes; `rows` is None from the first write until a run completes."""

    rows: int | None
    version: int


class RowCounts:
    """The notes for one store.

    Args:
        store: the store's folder.
        state: the folder for the notes; created if absent.
    """

    def __init__(self, store: Path, state: Path) -> None:
        self.store, self.state = store, state

    def note(self, collection: str, rows: int | None) -> None:
        """Note a collection's rows (None: unknown until further notice) and present version.

        Rows are flushed to disk before they are noted, and so is the collection's name.
        """
        if rows is not None:
            put_through(self.folder(collection))
            self.put_names_through()
        before = self.noted(collection)
        version = max(manifest_version(self.folder(collection)) or 0, before.version)
        noted = Noted(rows, version)
        if noted != before:
            write_file(self._file(collection), json.dumps(asdict(noted)))

    def noted(self, collection: str) -> Noted:
        """The notes; rows None and version 0 if there are none, or they cannot be read."""
        try:
            fields = json.loads(self._file(collection).read_text())
            rows = fields["rows"]
            return Noted(None if rows is None else int(rows), int(fields["version"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Noted(None, 0)

    def put_names_through(self) -> None:
        """Flush the collections' names to disk."""
        with suppress(FileNotFoundError):
            sync_file(self.store / "aliases.json")
        for folder in (self.store, self.store.parent):
            sync_folder(folder)

    def forget(self, collection: str) -> None:
        """Forget a removed collection."""
        self._file(collection).unlink(missing_ok=True)

    def folder(self, collection: str) -> Path:
        """The store's folder of a collection."""
        return self.store / "collections" / collection

    def _file(self, collection: str) -> Path:
        return self.state / f"rows-{collection}.json"


def manifest_version(folder: Path) -> int | None:
    """The version of a collection's `manifest.json`; None if it cannot be read."""
    try:
        return int(json.loads((folder / "manifest.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
