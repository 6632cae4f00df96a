"""Names spelled differently from the files or ids that they mean.

macOS decomposes letters ("e" and its accent), Windows separates folders by a backslash, and paths
listed elsewhere begin with that machine's folders.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from mmrag.errors import EvalSetError
from mmrag.system.files import NOT_FOUND, absent_files

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


class AmbiguousName(EvalSetError):
    """A name that could mean several things."""


def slashed(name: str) -> str:
    """A name with slashes for the backslashes of Windows."""
    return name.replace("\\", "/")


def plain(name: str) -> str:
    """A name in Unicode's composed form (NFC), with slashes."""
    return unicodedata.normalize("NFC", slashed(name))


def is_absolute(name: str) -> bool:
    """Whether a path begins at a root, here or on Windows."""
    return _ABSOLUTE.match(name) is not None


class Names:
    """The meanings of names; an exact spelling always goes first."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @cached_property
    def _plain(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self._names:
            found[plain(name)].append(name)
        return found

    @cached_property
    def _ends(self) -> dict[str, list[tuple[list[str], str]]]:
        found = defaultdict(list)
        for name in self._names:
            parts = plain(name).split("/")
            found[parts[-1]].append((parts, name))
        return found

    def find(self, name: str) -> str | None:
        """The name itself, else the one that differs only in separators or Unicode's form.

        Raises:
            AmbiguousName: there are several such names.
        """
        for candidate in (name, slashed(name)):
            if candidate in self._names:
                return candidate
        found = self._plain.get(plain(name), ())
        if len(found) > 1:
            raise AmbiguousName(
                f"{name!a} could be {' or '.join(map(ascii, found))}, which differ only in "
                "how their letters or separators are written; write the name exactly as it is"
            )
        return found[0] if found else None

    def find_by_end(self, path: str) -> str | None:
        """The one name that shares more of its last parts with `path` than any other."""
        wanted = plain(path).split("/")
        lengths = [
            (_common_end(parts, wanted), name) for parts, name in self._ends.get(wanted[-1], ())
        ]
        longest = max((length for length, _ in lengths), default=0)
        found = [name for length, name in lengths if length == longest]
        return found[0] if len(found) == 1 else None


def as_on_disk(root: str, paths: Iterable[str]) -> dict[str, str]:
    """Map absent paths to the file below `root` that is meant, if there is one.

    Files that another of `paths` names exactly are not given to a second one.

    Args:
        root: an absolute path without links in it.
        paths: absolute, in normal form, below `root`.

    Raises:
        AmbiguousName: several files fit a path.
    """
    wanted = dict.fromkeys(paths)
    absent = absent_files(root, wanted)
    folders: dict[str, Names] = {}
    found = {}
    for path, reason in absent.items():
        if reason == NOT_FOUND and (there := _look(root, path, folders)) is not None:
            found[path] = there
    taken = {path for path in wanted if path not in absent}
    refused = taken.union(absent_files(root, found.values()))
    return {path: there for path, there in found.items() if there not in refused}


def _look(root: str, path: str, folders: dict[str, Names]) -> str | None:
    at = root.rstrip("/")
    for part in slashed(path[len(at) + 1 :]).split("/"):
        if part in ("", ".", ".."):
            return None
        if at not in folders:
            folders[at] = Names(_members(at or "/"))
        name = folders[at].find(part)
        if name is None:
            return None
        at = f"{at}/{name}"
    return at


def _members(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _common_end(a: list[str], b: list[str]) -> int:
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count
