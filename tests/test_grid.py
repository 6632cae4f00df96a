"""The panorama: borders, indices, caption, aspect ratios, any number of hits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from mmrag import MmragError, Query, draw_grid, save_grid

BLUE, RED = (30, 80, 220), (220, 20, 20)


def picture(colour: str, size: tuple[int, int] = (200, 200)) -> Image.Image:
    return Image.new("RGB", size, colour)


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 40) -> np.ndarray:
    return (np.abs(pixels.astype(int) - colour) <= tolerance).all(-1)


@pytest.mark.parametrize(("hits", "rows"), [(0, 1), (1, 1), (3, 1), (4, 2), (9, 3), (25, 9)])
def test_any_number_of_hits(hits: int, rows: int) -> None:
    grid = draw_grid(picture("green"), [picture("yellow")] * hits, cell=100)
    assert grid.dtype == np.uint8
    assert grid.shape == (rows * 100 + (rows - 1) * 6, 4 * 100 + 3 * 6, 3)
    yellow = near(grid, (255, 255, 0))
    assert round(yellow.mean() * grid.shape[0] * grid.shape[1] / (100 * 100), 1) >= hits * 0.6


def test_query_border_and_caption() -> None:
    grid = draw_grid(picture("green"), [picture("yellow")])
    cell = grid[:300, :300]
    assert near(cell[0], BLUE).all()
    assert near(cell[:, 0], BLUE).all()
    assert near(cell[:, -1], BLUE).all()
    assert near(cell[100:150, 100:150], (0, 128, 0)).all()
    caption = near(cell[-33:], (255, 255, 255))
    assert 200 < caption.sum() < 3000, "white letters on the blue caption bar"
    assert not caption[-3:].any(), "no letter touches the edge"


def test_each_hit_has_its_own_index_in_red() -> None:
    grid = draw_grid(None, [picture("yellow")] * 3)
    corners = [near(grid[:40, x : x + 40], RED) for x in (0, 306, 612)]
    for corner in corners:
        assert corner.sum() > 30
    assert not np.array_equal(corners[0], corners[1])
    assert not np.array_equal(corners[1], corners[2])


def test_aspect_ratios_are_kept() -> None:
    grid = draw_grid(None, [picture("yellow", (400, 100))], cell=200)
    yellow = near(grid[:200, :200], (255, 255, 0))
    height, width = yellow.any(1).sum(), yellow.any(0).sum()
    assert (height, width) == (50, 200)


def test_hits_stand_in_reading_order() -> None:
    colours = ["red", "lime", "blue", "yellow", "cyan", "magenta"]
    grid = draw_grid(None, [picture(colour) for colour in colours], cell=100)
    centres = [grid[(i // 3) * 106 + 60, (i % 3) * 106 + 60] for i in range(6)]
    assert [tuple(c) for c in centres] == [ImageColor.getrgb(colour) for colour in colours]


def test_unreadable_hit_is_an_empty_cell(tmp_path: Path) -> None:
    grid = draw_grid(None, [tmp_path / "gone.jpg", picture("lime")], cell=100)
    assert near(grid[60:90, 10:90], (235, 235, 235)).mean() > 0.8
    assert near(grid[60, 160], (0, 255, 0))


def test_saving(tmp_path: Path) -> None:
    grid = draw_grid(picture("green"), [picture("yellow")])
    for name in ("grid.png", "new/grid.jpg", "grid.webp"):
        save_grid(grid, tmp_path / name)
        assert Image.open(tmp_path / name).size == (grid.shape[1], grid.shape[0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "grid.png")), grid)
    with pytest.raises(MmragError, match=r"written as \.jpg, \.png or \.webp"):
        save_grid(grid, tmp_path / "grid.txt")
    with pytest.raises(MmragError, match="cannot be written"):
        save_grid(grid, tmp_path / "grid.png" / "x.png")


def test_a_query_needs_something() -> None:
    with pytest.raises(ValueError, match="image, a text, or both"):
        Query()
