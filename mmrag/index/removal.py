"""Rows that an indexing run may remove: vanished ones, and not too many of them unasked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mmrag.errors import RemovalError
from mmrag.galleries.gallery import Gallery
from mmrag.system.files import NOT_FOUND

_FEW, _PART = 10, 0.1


def vanished(stored: Iterable[str], gallery: Gallery) -> set[str]:
    """Ids of rows whose picture is no longer in the gallery.

    A picture that is there but was left out for another reason has not vanished.
    """
    left_out = {skipped.path for skipped in gallery.skipped if skipped.reason != NOT_FOUND}
    return set(stored) - {image.image_id for image in gallery.images} - left_out


def check_removal(what: str, rows: int, gone: Collection[str], prune: bool) -> None:
    """Raise RemovalError if more than a tenth of the rows (and more than ten) would go unasked.

    Args:
        what: the start of the sentence, such as "Collection demo".
        prune: the user asked for it.
    """
    if prune or len(gone) <= max(_FEW, rows * _PART):
        return
    raise RemovalError(
        f"{what} would lose {len(gone):,} of its {rows:,} rows, whose pictures are not there or "
        f"not readable (the first is {min(gone)}); nothing was removed. Check that the folder "
        "is the right one and complete; to remove them, add --prune (prune=True)."
    )
