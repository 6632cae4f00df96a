"""Names that other installed packages add: Python entry points."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mmrag.errors import MmragError


@cache
def added(group: str) -> dict[str, EntryPoint]:
    """Name to entry point of a group such as `mmrag.encoders`; nothing is imported.

    If several packages add one name, the first in alphabetical order counts.
    """
    found = sorted(entry_points(group=group), key=lambda one: (one.name, one.value))
    return {one.name: one for one in reversed(found)}


def load(group: str, name: str) -> Any:
    """Load the object that a package added under a name.

    Raises:
        MmragError: it cannot be imported; the message names the package.
    """
    point = added(group)[name]
    try:
        return point.load()
    # A third-party module can fail in any way on import.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise MmragError(
            f"{name!r} of the package {package(point)} cannot be imported ({reason}); "
            "upgrade that package or remove it."
        ) from error


def package(point: EntryPoint) -> str:
    """The name of the package that an entry point comes from."""
    return point.dist.name if point.dist is not None else "unknown"


def problems(*groups: str) -> list[str]:
    """A sentence for each entry point that cannot be imported."""
    found = []
    for group in groups:
        for name in added(group):
            try:
                load(group, name)
            except MmragError as error:
                found.append(str(error))
    return found
