"""The panorama: borders, indices, caption, aspect ratios, any number of hits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from mmrag import MmragError, Query, draw_grid, result_grid, save_grid
from mmrag.images.grid import beside, encode_grid, grid_size
from mmrag.types import Hit, SearchResult

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


@pytest.mark.parametrize("cell", [100, 300, 500])
def test_the_caption_fits_its_bar(cell: int) -> None:
    bar = max(24, cell // 9)
    grid = draw_grid(picture("green", (cell - 16, cell - bar - 8)), [], cell=cell)
    letters = near(grid[cell - bar : cell, :cell], (255, 255, 255), 100)
    left, right = (int(part.any(0).argmax()) for part in (letters, letters[:, ::-1]))
    above, below = (int(part.any(1).argmax()) for part in (letters, letters[::-1]))
    assert abs(left - right) <= 4
    # Small letters, of which two reach below the line: a little over half of the bar.
    assert 0.5 < (bar - above - below) / bar < 0.6
    assert 2 <= below <= bar / 10
    assert near(grid[cell - bar - 1, cell // 2], (0, 128, 0)), "the picture ends at the bar"
    assert near(grid[cell // 3, 9], (0, 128, 0)), "and at the frame"
    assert near(grid[cell // 3, 7], BLUE)
    assert near(grid[cell // 3, cell - 11], (0, 128, 0))


def test_several_query_pictures_stand_under_each_other() -> None:
    shown = [picture("green"), picture("magenta"), picture("cyan")]
    grid = draw_grid(shown, [picture("yellow")] * 2, cell=100, columns=2)
    assert grid.shape == (3 * 100 + 2 * 6, 3 * 100 + 2 * 6, 3)
    assert grid_size(2, query=3, cell=100, columns=2) == (312, 312)
    assert [tuple(grid[y, 50]) for y in (40, 146, 252)] == [
        (0, 128, 0),
        (255, 0, 255),
        (0, 255, 255),
    ]
    assert (grid[100:106] == 255).all(), "a gap between rows"
    assert (grid[:, 100:106] == 255).all(), "and between columns"
    assert (grid[:, 206:212] == 255).all()
    assert tuple(grid[60, 160]) == tuple(grid[60, 266]) == (255, 255, 0)
    assert (grid[106:, 106:] == 255).all(), "nothing below the hits"
    assert np.array_equal(draw_grid([], [picture("red")]), draw_grid(None, [picture("red")]))
    assert np.array_equal(draw_grid((picture("red"),), []), draw_grid(picture("red"), []))


def test_marks_are_a_frame_and_a_second_number() -> None:
    plain, marked, later = (
        draw_grid(None, [picture("white")] * 9, cell=200, columns=9, marks=marks, first=first)
        for marks, first in ((False, 0), (True, 0), (True, 8))
    )
    frames = [tuple(marked[100, 206 * i]) for i in range(9)]
    assert len(set(frames[:8])) == 8
    assert frames[8] == frames[0] == (20, 140, 60)
    assert frames == [tuple(later[100, 206 * i]) for i in range(9)], "by the number"
    for edge in (marked[100, :5], marked[100, 195:200], marked[195:200, 60], marked[:5, 100]):
        assert (edge == frames[0]).all()
    assert (marked[100, 7] == 255).all()
    assert (plain[100, :200] == 255).all()
    corner = np.s_[150:200, 150:200]
    assert near(marked[corner], RED).sum() > 30
    assert not near(plain[corner], RED).any()
    # Eight and sixteen, of one frame: another number at both places.
    places = (np.s_[:50, :60], np.s_[150:200, 140:200])
    for place in places:
        assert not np.array_equal(
            near(marked[:, 1648:][place], RED), near(later[:, 1648:][place], RED)
        )


def test_a_number_stands_on_a_white_plate() -> None:
    grid = draw_grid(None, [picture("black")], cell=250, first=7)[:, :250]
    red = near(grid, RED, 100)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert (rows[0] >= 5) & (rows[-1] < 40) & (columns[0] >= 5) & (columns[-1] < 40)
    assert (grid[0, : columns[-1] + 5] == 255).all()
    assert (grid[: rows[-1] + 5, 0] == 255).all()
    plate = (grid[0] == 255).all(-1).sum(), (grid[:, 0] == 255).all(-1).sum()
    assert abs(plate[0] - (columns[0] + columns[-1])) <= 4, "in its middle"
    assert 5 <= plate[1] - rows[-1] <= 10
    assert plate[1] - (rows[-1] - rows[0]) < 25
    assert (grid[plate[1] :] == 0).all()
    assert (grid[:, plate[0] :] == 0).all()


@pytest.mark.parametrize(
    ("size", "seen"),
    [((10, 10), (64, 64)), ((1, 400), (64, 1)), ((400, 1), (1, 64)), ((128, 32), (16, 64))],
)
def test_a_picture_fills_its_cell_in_the_middle(
    size: tuple[int, int], seen: tuple[int, int]
) -> None:
    lower = draw_grid(None, [picture("blue", size)], cell=64)[:64, :64]
    shown = near(lower, (0, 0, 255))
    # The number's plate covers the corner.
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    assert rows[-1] == (64 + seen[0]) // 2 - 1 if seen[0] > 1 else rows.tolist() in ([31], [32])
    assert (
        columns[-1] == (64 + seen[1]) // 2 - 1 if seen[1] > 1 else columns.tolist() in ([31], [32])
    )


def test_wrong_sizes_are_refused() -> None:
    for options in ({"cell": 63}, {"columns": 0}):
        with pytest.raises(MmragError, match="at least 64 pixels and at least one column"):
            draw_grid(None, [], **options)
    assert draw_grid(None, [], cell=64, columns=1).shape == (64, 64, 3)
    assert [grid_size(n, query=q) for n, q in ((0, 0), (4, 0), (3, 1))] == [
        (912, 300),
        (912, 606),
        (1218, 300),
    ]


def test_grids_of_a_result_and_beside_each_other(tmp_path: Path) -> None:
    paths = []
    for i, colour in enumerate(("red", "lime")):
        paths.append(tmp_path / f"{i}.png")
        picture(colour).save(paths[-1])
    hits = [Hit(i + 1, str(i), str(path), 1.0, i + 1, "", {}) for i, path in enumerate(paths)]
    result = SearchResult(Query(str(paths[0])), hits, {})
    grid = result_grid(result, cell=100, columns=1, first=5)
    assert np.array_equal(grid, draw_grid(paths[0], paths, cell=100, columns=1, first=5))
    one, two = np.zeros((10, 20, 3), np.uint8), np.zeros((30, 5, 3), np.uint8)
    both = beside([one, two])
    assert both.shape == (30, 20 + 24 + 5 + 24, 3)
    assert not both[:10, :20].any()
    assert not both[:, 44:49].any()
    assert (both[10:, :44] == 255).all()
    assert (both[:, 49:] == 255).all()
    with pytest.raises(MmragError, match=r"not as '\.gif'"):
        save_grid(one, tmp_path / "x.gif")
    save_grid(one, tmp_path / "X.PNG")
    assert Image.open(tmp_path / "X.PNG").size == (20, 10)
    assert Image.open(io.BytesIO(encode_grid(one))).format == "JPEG"


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
