"""The one rule for pictures that cannot be read, and its wording.

`load_image` and `read_bytes` raise `ImageError` with the reason. A gallery's picture is then left
out, counted and listed; a query's picture removes its query, with the reason; a candidate is shown
to a model by its words alone. Work continues with the next.
"""

from __future__ import annotations

import hashlib

from mmrag.errors import ImageError
from mmrag.images.decode import read_bytes


def query_problem(reason: object) -> str:
    """The reason a query has no answer, or keeps its order: its own picture."""
    return f"the query picture cannot be read: {reason}"


def picture_problem(reason: object) -> str:
    """The reason nothing was asked about several pictures: one of them."""
    return f"a picture cannot be read: {reason}"


def by_words(line: str) -> str:
    """A prompt's substitute for a picture, beside the words about it."""
    return f"{line} (its picture cannot be read)"


def content_hash(path: str) -> str | None:
    """SHA-256 of a picture's file; None if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except ImageError:
        return None
