"""Odd-looking pictures, remembered by content: unchanged ones are not decoded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mmrag import config
from mmrag.images.looks import LOOKS

WORDS = {**LOOKS, "repeated": "the same file as another one"}
_FILE = "odd_pictures.txt"


def known() -> dict[str, tuple[str, ...]]:
    """Content hash to looks, of all odd pictures ever decoded here."""
    try:
        lines = (config.home() / "cache" / _FILE).read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        content_hash, *looks = line.split()[:3] or [""]
        if len(content_hash) == 64:
            found[content_hash] = tuple(one for one in looks if one in LOOKS)
    return found


def count(content_hashes: Iterable[str]) -> dict[str, int]:
    """Count a collection's odd pictures by kind; kinds without any are left out.

    `repeated` counts identical files, beyond the first of each.
    """
    before, copies = known(), Counter(content_hashes)
    found = {
        look: sum(n for one, n in copies.items() if look in before.get(one, ())) for look in LOOKS
    }
    found["repeated"] = copies.total() - len(copies)
    return {name: n for name, n in found.items() if n}


def remember(odd: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """Add content hashes and looks; an unwritable home only costs the counts."""
    text = "".join(f"{content_hash} {' '.join(looks)}\n" for content_hash, looks in odd)
    if not text:
        return
    path = config.home() / "cache" / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(text)
    except OSError:
        return
