"""The prompt of a ranking: one panorama, or single pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmrag.errors import ImageError
from mmrag.images.decode import longest_side
from mmrag.images.grid import CELL, GAP, SMALLEST_CELL, draw_grid, grid_size
from mmrag.images.unreadable import by_words
from mmrag.rerank.prompt_files import DEFAULT_PROMPT, PromptFile, load_prompt
from mmrag.rerank.reply_order import SCHEMA
from mmrag.types import Hit, Query
from mmrag.vision.prices import ImageRule
from mmrag.vision.prompt import DATA_RULE, Picture, Prompt, data

Presentation = Literal["grid", "images"]
MAX_TOKENS = 1000
# One tile of 512 x 512 pixels is the unit in which OpenAI's models see.
_SIDE = 512


@dataclass(frozen=True)
class Look:
    """How candidates are shown.

    Attributes:
        presentation: as one panorama ("grid") or a picture each ("images").
        prompt: the texts.
        image: how the model sees pictures, None if unknown: a panorama is drawn no larger than it
            sees without scaling, and no larger than the pictures are.
        detail: how closely the model looks.
        picture_size: pixels of the shorter side of what is sent; None for the above in a panorama
            (cells of 300 pixels if `image` tells nothing), and for a longer side of 512 in single
            pictures.
    """

    presentation: Presentation
    prompt: PromptFile
    image: ImageRule | None = None
    detail: str = "high"
    picture_size: int | None = None

    def size(self, n: int, query: int, largest: int = CELL) -> tuple[int, int]:
        """Width and height of a panorama; arguments as `cell`."""
        cell = self.cell(n, query, largest)
        return grid_size(n, query=query, cell=cell, columns=_columns(n))

    def cell(self, n: int, query: int, largest: int = CELL) -> int:
        """The side of a cell in a panorama of n candidates and `query` query pictures.

        Args:
            n: candidates.
            query: query pictures.
            largest: the longest side of all these pictures, in pixels; none is drawn larger.
        """
        image = self.image
        cell = CELL if image is None or not image.scales(self.detail) else max(CELL, largest)
        if self.picture_size is not None:
            columns, rows = _columns(n), -(-n // _columns(n))
            cell = (self.picture_size + GAP) // min(columns + bool(query), max(rows, query)) - GAP
        while image is not None and cell > SMALLEST_CELL:
            size = grid_size(n, query=query, cell=cell, columns=_columns(n))
            if image.seen(*size, self.detail) == size:
                break
            cell -= 2
        return max(cell, SMALLEST_CELL)


DEFAULT_LOOK = Look("grid", load_prompt(DEFAULT_PROMPT))


def ranking_prompt(query: Query, hits: Sequence[Hit], look: Look = DEFAULT_LOOK) -> Prompt:
    """A prompt that shows `hits` as candidates 0, 1, ... in their order.

    An unreadable candidate is shown as such, so that indices stay.
    """
    n, texts = len(hits), look.prompt
    seen = texts.look(n, look.presentation, query.image is not None)
    rules = "\n\n".join([texts.task, seen, DATA_RULE, texts.asked(n)])
    instruction = (
        f"Instruction: {data(query.text, 2000)}"
        if query.text
        else "There is no instruction: rank by likeness to the query picture."
    )
    grid = look.presentation == "grid"
    parts = _grid_parts(query, hits, look) if grid else _image_parts(query, hits, look)
    unwanted = _unwanted_parts(query, look)
    return Prompt(rules, (instruction, *unwanted, *parts), MAX_TOKENS, SCHEMA)


def _unwanted_parts(query: Query, look: Look) -> list[str | Picture]:
    if query.unwanted is None:
        return []
    parts: list[str | Picture] = ["What the best candidates do not show:"]
    if query.unwanted.text:
        parts.append(data(query.unwanted.text, 2000))
    for image in query.unwanted.images:
        parts.append(Picture.read(image, _SIDE, look.picture_size))
    return parts


def _columns(n: int) -> int:
    return max(1, math.ceil(math.sqrt(n)))


def _grid_parts(query: Query, hits: Sequence[Hit], look: Look) -> list[str | Picture]:
    n, paths = len(hits), [hit.path for hit in hits]
    largest = max(map(longest_side, [*query.images, *paths]), default=CELL)
    panorama = draw_grid(
        query.images,
        paths,
        cell=look.cell(n, len(query.images), largest),
        columns=_columns(n),
        marks=look.prompt.marks,
    )
    lines = [
        f"Description of candidate {i}: {data(hit.text)}" for i, hit in enumerate(hits) if hit.text
    ]
    return ["\n".join(lines), Picture.of(panorama)] if lines else [Picture.of(panorama)]


def _image_parts(query: Query, hits: Sequence[Hit], look: Look) -> list[str | Picture]:
    parts: list[str | Picture] = []
    if query.images:
        parts.append("Query picture:" if len(query.images) == 1 else "Query pictures:")
        parts += [Picture.read(image, _SIDE, look.picture_size) for image in query.images]
    for i, hit in enumerate(hits):
        line = f"Candidate {i}:" + (f" {data(hit.text)}" if hit.text else "")
        try:
            parts += [line, Picture.read(hit.path, _SIDE, look.picture_size)]
        except ImageError:
            parts.append(by_words(line))
    return parts
