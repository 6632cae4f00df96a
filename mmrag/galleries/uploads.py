"""Uploaded pictures to index, each set in its own folder under `MMRAG_HOME`."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from mmrag import config
from mmrag.errors import MmragError
from mmrag.images.formats import HEAD, UnreadFormat, recognise
from mmrag.types import Skipped

MAX_FILES = 1000
MAX_FILE_BYTES = 20_000_000
MAX_TOTAL_BYTES = 500_000_000
_MAX_NAME_BYTES = 150


def uploads_folder(collection: str) -> Path:
    """The folder of the pictures uploaded for a collection.

    Raises:
        MmragError: a collection cannot have this name.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", collection):
        raise MmragError(
            f"Collection {collection!r}: use up to 100 letters, digits and underscores, "
            "beginning with a letter."
        )
    return config.home() / "galleries" / collection


def collection_name(title: str) -> str:
    """A valid collection name, made from a folder's name or a person's words."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").lower()[:100]
    return name if re.match(r"[a-z]", name) else f"images_{name}".rstrip("_")[:100]


def check_upload(sizes: Iterable[int]) -> None:
    """Raise MmragError for more files, or more bytes in all, than an upload may have."""
    counted = list(sizes)
    if len(counted) > MAX_FILES:
        raise MmragError(
            f"{len(counted):,} files are more than the {MAX_FILES:,} that one upload may have; "
            "upload them in parts, or index their folder by its path."
        )
    if sum(counted) > MAX_TOTAL_BYTES:
        raise MmragError(
            f"{sum(counted) / 1e6:,.0f} MB are more than the {MAX_TOTAL_BYTES / 1e6:,.0f} MB that "
            "one upload may have; upload them in parts, or index their folder by its path."
        )


def save_uploads(
    collection: str, files: Iterable[tuple[str, bytes | memoryview]]
) -> tuple[Path, list[Skipped]]:
    """Add uploaded files to the collection's folder.

    Nothing is overwritten: another picture with a taken name gets a number. The same picture under
    the same name stays one file.

    Args:
        collection: its folder is created if new.
        files: name and content; only the last part of the name counts.

    Returns:
        The folder, and what was left out: too large, or not a picture that `index` reads.
    """
    folder = uploads_folder(collection)
    folder.mkdir(parents=True, exist_ok=True)
    skipped = []
    for name, content in files:
        safe = safe_name(name)
        found = recognise(safe, partial(bytes, content[:HEAD]))
        if found is None:
            skipped.append(Skipped(safe, "not an image in a supported format"))
        elif isinstance(found, UnreadFormat):
            skipped.append(Skipped(safe, found.reason))
        elif len(content) > MAX_FILE_BYTES:
            skipped.append(Skipped(safe, f"larger than {MAX_FILE_BYTES / 1e6:.0f} MB"))
        else:
            _save(folder, safe, content)
    return folder, skipped


def delete_uploads(collection: str) -> None:
    """Remove the pictures that were uploaded for a collection."""
    folder = uploads_folder(collection)
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)


def safe_name(name: str) -> str:
    """A file name that stays in its folder, is not hidden, and can be shown."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*').rstrip(" .")
    stem, dot, extension = kept.rpartition(".")
    if not dot:
        stem, extension = kept, ""
    stem = stem.encode("utf-8", "ignore")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" .")
    extension = extension.encode("ascii", "ignore").decode()[:10]
    return f"{stem or 'picture'}.{extension}" if extension else stem or "picture"


def _save(folder: Path, name: str, content: bytes | memoryview) -> None:
    """Write under `name`, or under a numbered one when another picture has it."""
    path, number = folder / name, 1
    while True:
        try:
            with path.open("xb") as file:
                file.write(content)
            return
        except FileExistsError:
            if path.read_bytes() == content:
                return
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
