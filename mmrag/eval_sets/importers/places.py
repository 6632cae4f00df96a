"""The places of a data set's files and pictures."""

from __future__ import annotations

from pathlib import Path

from mmrag.errors import EvalSetError


def data_folder(source: Path, needed: str, *below: str) -> Path:
    """`source` or one of the folders `below` it, whichever holds the path `needed`.

    Raises:
        EvalSetError: none does; names what was looked for.
    """
    for folder in (source, *(source / name for name in below)):
        if (folder / needed).exists():
            return folder.resolve()
    raise EvalSetError(f"{source} holds no {needed}; name the folder that does.")


def image_folder(images: Path | None, *usual: Path) -> Path:
    """`images` when given, else the first of the `usual` folders that exists, else the first.

    Raises:
        EvalSetError: `images` is no folder.
    """
    if images is not None:
        if not images.is_dir():
            raise EvalSetError(f"{images} is not a folder.")
        return images.resolve()
    return next((folder for folder in usual if folder.is_dir()), usual[0]).resolve()


def check_gallery(gallery: str, *known: str) -> None:
    """Raise `EvalSetError` when the format has no such gallery."""
    if gallery not in known:
        raise EvalSetError(f"There is no gallery {gallery!r}; use one of {', '.join(known)}.")
