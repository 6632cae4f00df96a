"""The prompts that ask a vision model for a ranking, as one panorama or as single pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from mmrag.errors import ImageError
from mmrag.images.grid import draw_grid
from mmrag.rerank.reply_order import SCHEMA
from mmrag.types import Hit, Query
from mmrag.vision.prompt import DATA_RULE, Picture, Prompt, data

Presentation = Literal["grid", "images"]
MAX_TOKENS = 1000
# One tile of 512 x 512 pixels is the unit that OpenAI's models look at.
_SIDE = 512

_TASK = """You put the results of a picture search into a better order. The search has a query \
picture, an instruction, or both. With both, the best result keeps what the query picture shows \
except for what the instruction changes. Example: for a picture of a cloth armchair with the \
instruction "in leather", a similar armchair in leather comes first; other leather furniture and \
the same armchair in cloth come later."""
_GRID = """You see one panorama of {n} candidates in a grid{query}. The red number in the upper \
left corner of a candidate is its index; indices run from 0 to {last}, in reading order."""
_GRID_QUERY = "; the picture on the left with a blue frame and the word query is the query picture"
_IMAGES = """You see {n} candidates{query}. The line before a candidate gives its index; indices \
run from 0 to {last}."""
_IMAGES_QUERY = " after the query picture"
_FORM = """Rank all {n} candidates from the most to the least suitable, each index once, and say \
in one or two sentences why the first one fits best; name it by what it shows, not by its index. \
If no other form is asked of you, answer in exactly this one:
Ranked list: [the indices, separated by commas]
Reasons: the explanation"""


def ranking_prompt(query: Query, hits: Sequence[Hit], presentation: Presentation) -> Prompt:
    """A prompt that shows `hits` as candidates 0, 1, ... in their order.

    A candidate that cannot be read is shown as such, so that indices stay.
    """
    n = len(hits)
    grid = presentation == "grid"
    shown, beside = (_GRID, _GRID_QUERY) if grid else (_IMAGES, _IMAGES_QUERY)
    look = shown.format(n=n, last=n - 1, query=beside if query.image is not None else "")
    rules = "\n\n".join([_TASK, look, DATA_RULE, _FORM.format(n=n)])
    instruction = (
        f"Instruction: {data(query.text, 2000)}"
        if query.text
        else "There is no instruction: rank by likeness to the query picture."
    )
    parts = _grid_parts(query, hits) if grid else _image_parts(query, hits)
    return Prompt(rules, (instruction, *parts), MAX_TOKENS, SCHEMA)


def _grid_parts(query: Query, hits: Sequence[Hit]) -> list[str | Picture]:
    columns = max(1, math.ceil(math.sqrt(len(hits))))
    panorama = draw_grid(query.image, [hit.path for hit in hits], columns=columns)
    lines = [
        f"Description of candidate {i}: {data(hit.text)}" for i, hit in enumerate(hits) if hit.text
    ]
    return ["\n".join(lines), Picture.of(panorama)] if lines else [Picture.of(panorama)]


def _image_parts(query: Query, hits: Sequence[Hit]) -> list[str | Picture]:
    parts: list[str | Picture] = []
    if query.image is not None:
        parts += ["Query picture:", Picture.read(query.image, _SIDE)]
    for i, hit in enumerate(hits):
        line = f"Candidate {i}:" + (f" {data(hit.text)}" if hit.text else "")
        try:
            parts += [line, Picture.read(hit.path, _SIDE)]
        except ImageError:
            parts.append(f"{line} (its picture cannot be read)")
    return parts
