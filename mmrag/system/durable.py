"""Files written whole or not at all, even if the power fails.

A file is written next to its path, synced to disk (`fsync`), and only then renamed; its folder,
which holds the name, is synced too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mmrag.system.locks import take


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; when the block ends, it replaces `path`.

    If the block ends early, for whatever reason, the former file stays. The folder is created if
    absent. Another writer of the same file waits meanwhile.

    Raises:
        OSError: no space, no permission.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with own_part(path) as part:
        try:
            yield part
            settle(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def own_part(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[Path]:
    """Give the file `path` + ".part", locked against other processes; created if absent.

    What an earlier process left in it is kept. It is removed at the end if still empty.

    Args:
        waiting: called once if another process has it.
    """
    part = path.with_name(path.name + ".part")
    while True:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            take(handle, waiting)
            if not _is(handle, part):
                # The process that had it finished or removed it.
                continue
            try:
                yield part
            finally:
                if _is(handle, part) and not os.fstat(handle).st_size:
                    part.unlink()
            return
        finally:
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all; text becomes UTF-8.

    Raises:
        OSError: no space, no permission.
    """
    with replacing(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def settle(part: Path, path: Path) -> None:
    """Rename a file written beside its final path to the name under which it is read."""
    sync_file(part)
    part.replace(path)
    sync_folder(path.parent)


def move_aside(path: Path) -> Path:
    """Rename something damaged, so that a new one can take its place; nothing is deleted.

    Returns:
        The new path: the same name with `.broken-` and the time appended.
    """
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    number = 1
    while (there := path.with_name(f"{path.name}.broken-{stamp}-{number}")).exists():
        number += 1
    path.rename(there)
    sync_folder(path.parent)
    return there


def put_through(folder: Path) -> None:
    """Sync all files and names below a folder, and its own name, to disk."""
    for at, _, files in os.walk(folder):
        for name in files:
            # Another process may remove it meanwhile.
            with suppress(FileNotFoundError):
                sync_file(Path(at, name))
        sync_folder(Path(at))
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Sync a file's content to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, if the drive supports it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    # Some network drives cannot sync a folder.
    except OSError:
        pass
    finally:
        os.close(handle)
