"""Pictures of one colour each, and results made of them, for tests that need a vision model."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mmrag import Query
from mmrag.types import Hit, SearchResult

Colour = tuple[int, int, int]
# Far from the red of the numbers and the grey of empty cells.
QUERY: Colour = (40, 120, 200)


def colours(n: int, seed: int = 0) -> list[Colour]:
    """Colours at clearly different distances from `QUERY` and of different brightness."""
    rng = random.Random(seed)
    found: list[Colour] = []
    while len(found) < n:
        colour = (rng.randrange(140), rng.randrange(256), rng.randrange(256))
        if all(
            abs(distance(colour) - distance(other)) > 3 and abs(sum(colour) - sum(other)) > 6
            for other in found
        ):
            found.append(colour)
    return found


def distance(colour: Colour, to: Colour = QUERY) -> float:
    return float(np.linalg.norm(np.array(colour, float) - to))


def paint(path: Path, colour: Colour, size: tuple[int, int] = (120, 120)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def result_of(
    folder: Path,
    shown: list[Colour],
    *,
    image: bool = True,
    text: str | None = "the same in another shade",
    texts: bool = False,
) -> SearchResult:
    """A result as retrieval gives it, whose hits have these colours in this order."""
    query = Query(str(paint(folder / "query.png", QUERY)) if image else None, text)
    hits = []
    for i, colour in enumerate(shown):
        path = paint(folder / f"{i:02}.png", colour, (120, 90 + 10 * (i % 4)))
        described = f"item {i} in rgb{colour}" if texts else ""
        hits.append(Hit(i + 1, f"{i:02}.png", str(path), 1 - i / 100, i + 1, described, {}))
    return SearchResult(query, hits, {"encode": 1.0, "search": 1.0, "total": 2.0})


def nearest_first(shown: list[Colour]) -> list[str]:
    """The image ids in the order that the rule of the server gives, computed from the colours."""
    return [f"{i:02}.png" for i in sorted(range(len(shown)), key=lambda i: distance(shown[i]))]


def brightest_first(shown: list[Colour]) -> list[str]:
    return [f"{i:02}.png" for i in sorted(range(len(shown)), key=lambda i: -sum(shown[i]))]


def ids(result: SearchResult) -> list[str]:
    return [hit.image_id for hit in result.hits]


def variations(result: SearchResult, n: int) -> list[SearchResult]:
    return [replace(result, query=Query(result.query.image, f"shade {i}")) for i in range(n)]
