"""Find out which pictures of an eval set exist, without one look-up per picture."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

NOT_FOUND = "file not found"
LEAVES_ROOT = "is a link that leads out of the image root"


def absent_files(root: str, paths: Iterable[str]) -> dict[str, str]:
    """Find unusable pictures: path to reason, for those that are not files below `root`.

    Links are followed while they stay below `root`. Every folder is listed once, which on a network
    drive takes far less time than a look-up of each file.

    Args:
        root: an absolute path without links in it.
        paths: absolute, in normal form, below `root`.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        folders[path.rpartition("/")[0]].append(path)
    absent = {}
    for folder, members in folders.items():
        reason = _folder_problem(root, folder or "/")
        if reason:
            absent.update(dict.fromkeys(members, reason))
            continue
        files = _plain_files(folder or "/")
        for path in members:
            if path.rpartition("/")[2] not in files:
                reason = _file_problem(root, path)
                if reason:
                    absent[path] = reason
    return absent


def _folder_problem(root: str, folder: str) -> str | None:
    real = os.path.realpath(folder)
    try:
        if not Path(real).is_dir():
            return NOT_FOUND
    except OSError as error:  # for example, a name that is too long
        return f"cannot be read: {error.strerror or error}"
    return None if _is_below(root, real) else LEAVES_ROOT


def _plain_files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    except OSError:
        return set()  # its files may still be readable; they are looked up one by one


def _file_problem(root: str, path: str) -> str | None:
    """The problem of a path not listed as a plain file: a link, another spelling, or absent."""
    try:
        # The folder has been checked: one look-up tells whether the file is simply absent.
        os.lstat(path)
        if not _is_below(root, os.path.realpath(path)):
            return LEAVES_ROOT
        return None if stat.S_ISREG(Path(path).stat().st_mode) else "is not a file"
    except FileNotFoundError:
        return NOT_FOUND
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _is_below(root: str, path: str) -> bool:
    return path == root or path.startswith(root if root.endswith("/") else root + "/")
