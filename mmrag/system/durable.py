"""Files that are there as a whole or not at all, also when the power fails.

A file is written beside its place, put through to the disk (`fsync`), and only then renamed; the
folder is put through too, because the name is kept there.
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
    """A path beside `path` to write to; when the block ends it takes the place of `path`.

    Whatever ends the block early, the file that was there before stays as it was. The folder is
    made when it is absent. Who writes the same file meanwhile waits.

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
    """The file `path` + ".part", locked against other processes; made when it is absent.

    What an earlier process left in it is still there. It goes again when nothing came into it.

    Args:
        waiting: called once when another process has it.
    """
    part = path.with_name(path.name + ".part")
    while True:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            take(handle, waiting)
            if not _is(handle, part):
                # Whoever had it has finished it, or thrown it away.
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
    """Write a file whole or not at all; text is UTF-8.

    Raises:
        OSError: no space, no permission.
    """
    with replacing(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def settle(part: Path, path: Path) -> None:
    """Give a file that was written beside its place the name it is read by."""
    sync_file(part)
    part.replace(path)
    sync_folder(path.parent)


def move_aside(path: Path) -> Path:
    """Rename something that is damaged, so that a new one can take its place; nothing is deleted.

    Returns:
        Where it is now: the same name with `.broken-` and the time behind it.
    """
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    number = 1
    while (there := path.with_name(f"{path.name}.broken-{stamp}-{number}")).exists():
        number += 1
    path.rename(there)
    sync_folder(path.parent)
    return there


def put_through(folder: Path) -> None:
    """Put all files and names below a folder, and its own name, through to the disk."""
    for at, _, files in os.walk(folder):
        for name in files:
            # Another process may remove it meanwhile.
            with suppress(FileNotFoundError):
                sync_file(Path(at, name))
        sync_folder(Path(at))
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Put a file's content through to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder through to the disk, where the drive knows such a thing."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    # Some network drives know no such thing for a folder.
    except OSError:
        pass
    finally:
        os.close(handle)
