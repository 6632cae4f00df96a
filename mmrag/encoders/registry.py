"""The families of encoders. A new one is one file (see `family.Family`) and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import cast

from mmrag.encoders.family import EncoderDescription, Family
from mmrag.errors import MmragError

# Asked in this order if they know a name.
FAMILIES = (
    "mmrag.encoders.visualized_bge_weights",
    "mmrag.encoders.bge_vl",
    "mmrag.encoders.clip_names",
    "mmrag.encoders.sentence_names",
    "mmrag.vision.embedding_names",
    "mmrag.encoders.plugins",
    "mmrag.encoders.folders",
)


def families() -> Iterator[Family]:
    """The families, imported."""
    for module in FAMILIES:
        yield cast(Family, importlib.import_module(module))


def family_of(name: str) -> Family:
    """The family that knows an encoder of this name.

    Raises:
        MmragError: none does; the message lists the known names.
    """
    for family in families():
        if family.takes(name):
            return family
    known = [description.name for description in list_encoders()]
    raise MmragError(f"Unknown encoder {name!r}; use {', '.join([*known, *usages()])}.")


def list_encoders(search: str | None = None) -> list[EncoderDescription]:
    """The encoders that can be listed, without loading anything.

    Args:
        search: only those whose names contain this, ignoring case; then also open_clip's.
    """
    listed = [description for family in families() for description in family.describe(search)]
    return [one for one in listed if search is None or search.lower() in one.name.lower()]


def usages() -> list[str]:
    """Name forms of the encoders that are not listed one by one."""
    return [family.USAGE for family in families() if family.USAGE]
