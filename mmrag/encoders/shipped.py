"""What the models that ship with mmrag are good for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from mmrag.encoders import SHIPPED_DIR
from mmrag.evaluation.known_sets import CATALOGUE


def drawings_only(encoder: str, paths: Iterable[str]) -> str | None:
    """One line for a shipped model that is used on pictures other than the catalogue's.

    Args:
        encoder: its name.
        paths: pictures of the gallery; the first few are looked at.
    """
    if Path(encoder).name != encoder or not (SHIPPED_DIR / encoder / "config.json").is_file():
        return None
    root = CATALOGUE.resolve()
    if all(Path(path).resolve().is_relative_to(root) for path in islice(paths, 20)):
        return None
    return (
        f"Note: the shipped encoder {encoder!r} knows the catalogue's drawings only; for your own "
        "pictures run `python -m mmrag download visualized-bge-base` and use "
        "--encoder visualized-bge-base."
    )
