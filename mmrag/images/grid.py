"""The panorama: the query on the left, the numbered hits in a grid beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from mmrag.errors import ImageError, MmragError
from mmrag.images.decode import Pixels, load_image
from mmrag.system.durable import write_file
from mmrag.types import ImageSource, SearchResult

CELL = 300
SMALLEST_CELL = 64
COLUMNS = 3
GAP = 6
_BORDER = 8
_BLUE, _RED, _WHITE, _GREY = (30, 80, 220), (220, 20, 20), (255, 255, 255), (235, 235, 235)
# Colours that each have a common one-word name.
_FRAMES = (
    (20, 140, 60),
    (130, 40, 170),
    (240, 140, 20),
    (0, 160, 190),
    (120, 80, 40),
    (230, 60, 150),
    (90, 90, 90),
    (190, 180, 20),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_grid(
    query_image: ImageSource | Sequence[ImageSource] | None,
    hits: Sequence[ImageSource],
    *,
    cell: int = CELL,
    columns: int = COLUMNS,
    marks: bool = False,
    first: int = 0,
) -> Pixels:
    """Draw query and hits as one picture, as a reranker is shown it.

    Args:
        query_image: drawn on the left with a blue border and the word "query", several one below
            another; None, or an empty sequence, omits the column.
        hits: drawn in reading order, aspect ratios kept, each with its number in red at the
            top left. A hit that cannot be read is an empty cell that says so.
        cell: side of a cell in pixels.
        columns: cells per row.
        marks: each hit also gets a coloured frame, and its number at the lower right.
        first: the first hit's number.

    Returns:
        (height, width, 3) uint8, RGB.
    """
    if cell < SMALLEST_CELL or columns < 1:
        raise MmragError(
            f"A grid needs cells of at least {SMALLEST_CELL} pixels and at least one column."
        )
    asked = _as_list(query_image)
    left = cell + GAP if asked else 0
    width, height = grid_size(len(hits), query=len(asked), cell=cell, columns=columns)
    canvas = np.full((height, width, 3), _WHITE, np.uint8)
    for i, one in enumerate(asked):
        _draw_query(canvas[i * (cell + GAP) :, :cell][:cell], one)
    for i, hit in enumerate(hits):
        y, x = (i // columns) * (cell + GAP), left + (i % columns) * (cell + GAP)
        _draw_hit(canvas[y : y + cell, x : x + cell], hit, first + i, marks)
    return canvas


def grid_size(
    hits: int, *, query: int, cell: int = CELL, columns: int = COLUMNS
) -> tuple[int, int]:
    """Width and height of what `draw_grid` draws for this many hits and query pictures."""
    rows = max(1, -(-hits // columns), query)
    left = cell + GAP if query else 0
    return left + columns * cell + (columns - 1) * GAP, rows * cell + (rows - 1) * GAP


def _as_list(images: ImageSource | Sequence[ImageSource] | None) -> list[ImageSource]:
    if images is None:
        return []
    return list(images) if isinstance(images, list | tuple) else [cast(ImageSource, images)]


def result_grid(
    result: SearchResult, *, cell: int = CELL, columns: int = COLUMNS, first: int = 0
) -> Pixels:
    """`draw_grid` for a search result, hits in their order."""
    paths = [hit.path for hit in result.hits]
    return draw_grid(result.query.images, paths, cell=cell, columns=columns, first=first)


def beside(grids: Sequence[Pixels]) -> Pixels:
    """Grids side by side on white, from left to right."""
    height = max(len(grid) for grid in grids)
    parts = []
    for grid in grids:
        part = np.full((height, grid.shape[1] + 4 * GAP, 3), 255, np.uint8)
        part[: len(grid), : grid.shape[1]] = grid
        parts.append(part)
    return np.hstack(parts)


def save_grid(pixels: Pixels, path: str | os.PathLike[str]) -> None:
    """Write a grid as JPEG, PNG or WebP, depending on the path's extension.

    Raises:
        MmragError: unknown extension, or the folder cannot be written to.
    """
    extension = Path(path).suffix.lower()
    if extension not in (".jpg", ".jpeg", ".png", ".webp"):
        raise MmragError(f"A grid is written as .jpg, .png or .webp, not as {extension or path!r}.")
    data = encode_grid(pixels, extension)
    try:
        write_file(Path(path), data)
    except OSError as error:
        raise MmragError(f"{path} cannot be written: {error.strerror or error}.") from error


def encode_grid(pixels: Pixels, extension: str = ".jpg") -> bytes:
    """A grid as the bytes of a file: ".jpg", ".png" or ".webp"."""
    ok, encoded = cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not ok:
        raise MmragError(f"The grid could not be encoded as {extension}.")
    return encoded.tobytes()


def _draw_query(view: Pixels, source: ImageSource) -> None:
    """Draw the picture above its caption, inside a blue frame."""
    cell = view.shape[0]
    caption = max(24, cell // 9)
    _place(view[_BORDER : cell - caption, _BORDER : cell - _BORDER], source)
    cv2.rectangle(view, (0, 0), (cell - 1, cell - 1), _BLUE, _BORDER * 2 - 1)
    view[cell - caption :] = _BLUE
    scale = caption / 38
    (text_width, text_height), below = cv2.getTextSize("query", _FONT, scale, 2)
    x = (cell - text_width) // 2
    y = cell - (caption - text_height - below) // 2 - below
    cv2.putText(view, "query", (x, y), _FONT, scale, _WHITE, 2, cv2.LINE_AA)


def _draw_hit(view: Pixels, source: ImageSource, number: int, marks: bool) -> None:
    view[:] = _GREY
    _place(view, source)
    side, scale = view.shape[0], view.shape[0] / 250
    if marks:
        thick = max(2, side // 40)
        colour = _FRAMES[number % len(_FRAMES)]
        cv2.rectangle(view, (0, 0), (side - 1, side - 1), colour, 2 * thick - 1)
    (width, height), _ = cv2.getTextSize(str(number), _FONT, scale, 2)
    corners = [(0, 0), (side - width - 14, side - height - 14)] if marks else [(0, 0)]
    for x, y in corners:
        # A white plate keeps the number legible on any picture.
        view[y : y + height + 14, x : x + width + 14] = _WHITE
        place = (x + 7, y + height + 7)
        cv2.putText(view, str(number), place, _FONT, scale, _RED, 2, cv2.LINE_AA)


def _place(view: Pixels, source: ImageSource) -> None:
    """Fit the picture into `view`, centred, with its aspect ratio."""
    height, width = view.shape[:2]
    try:
        image = np.asarray(load_image(source, min_side=max(height, width)))
    except ImageError:
        view[:] = _GREY
        cv2.putText(view, "unreadable", (10, height // 2), _FONT, 0.6, (90, 90, 90), 1, cv2.LINE_AA)
        return
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = cv2.resize(image, size, interpolation=shrink)
    y, x = (height - size[1]) // 2, (width - size[0]) // 2
    view[y : y + size[1], x : x + size[0]] = fitted
