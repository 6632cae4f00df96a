"""Numbers agree with their nouns."""

from __future__ import annotations

import pytest

from mmrag.system.words import counted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (counted(0, "picture"), "0 pictures"),
        (counted(1, "picture"), "1 picture"),
        (counted(1200, "query"), "1,200 queries"),
        (counted(1, "query was", "queries were"), "1 query was"),
        (counted(2, "query was", "queries were"), "2 queries were"),
    ],
)
def test_singular_and_plural(words: str, said: str) -> None:
    assert words == said
