"""Pattern tiles: seamless squares that are sampled onto a product.

A tile is (TILE, TILE, 2) uint8: how much of the second tone covers the ground, and how much of
the third covers both. `TONES` says which tones of a palette these are.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from eval_sets.make_catalogue.attributes import Palette
from eval_sets.make_catalogue.shapes import Array, ellipse, points, smooth

TILE = 384
Bytes = npt.NDArray[np.uint8]
Layers = tuple[Bytes, Bytes]
_AXIS = (np.arange(TILE) + 0.5) / TILE
_U = np.broadcast_to(_AXIS[None, :], (TILE, TILE))
_V = np.broadcast_to(_AXIS[:, None], (TILE, TILE))
_EMPTY = np.zeros((TILE, TILE), np.uint8)


def _level(field: Array, sharpness: float) -> Bytes:
    """0 where the field is negative, 255 where it is positive, with a soft step between."""
    return np.rint(255 * np.clip(field * sharpness + 0.5, 0, 1)).astype(np.uint8)


def _triangle(phase: Array) -> Array:
    """A wave of period 1 between -1 and 1 with straight flanks."""
    return 4 * np.abs(phase - np.floor(phase + 0.5)) - 1


def _noise(rng: np.random.Generator, low: int, high: int) -> Array:
    """Seamless smooth noise of unit variance with frequencies between low and high per tile."""
    field = np.zeros((TILE, TILE))
    modes = [
        (fx, fy)
        for fx in range(high + 1)
        for fy in range(-high, high + 1)
        if low * low <= fx * fx + fy * fy <= high * high
    ]
    for fx, fy in modes:
        gain = rng.normal() / np.sqrt(fx * fx + fy * fy)
        x, y = 2 * np.pi * fx * _AXIS + rng.uniform(0, 2 * np.pi), 2 * np.pi * fy * _AXIS
        field += gain * (np.outer(np.cos(y), np.cos(x)) - np.outer(np.sin(y), np.sin(x)))
    return np.asarray(field / field.std())


def _stamp(layer: Bytes, outline: Array, value: int = 255) -> None:
    """Fill an outline in tile units, wrapping it round the borders."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            if high[0] + dx < 0 or low[0] + dx > 1 or high[1] + dy < 0 or low[1] + dy > 1:
                continue
            fixed = np.rint((outline + np.array([dx, dy])) * TILE * 16).astype(np.int32)
            cv2.fillPoly(layer, [fixed], value, cv2.LINE_AA, 4)


def _turned(outline: Array, angle: float, scale: float, x: float, y: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(outline @ np.array([[c, s], [-s, c]]) * scale + (x, y))


def _lattice(columns: int, rows: int) -> list[tuple[float, float]]:
    """Centres in staggered rows; rows must be even to be seamless."""
    return [
        ((column + 0.25 + 0.5 * (row % 2)) / columns, (row + 0.5) / rows)
        for row in range(rows)
        for column in range(columns)
    ]


_angles = np.pi * (np.arange(10) / 5 - 0.5)
_STAR = np.stack([np.cos(_angles), np.sin(_angles)], axis=1)
_STAR[1::2] *= 0.44
_t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_HEART = np.stack(
    [
        16 * np.sin(_t) ** 3,
        -(13 * np.cos(_t) - 5 * np.cos(2 * _t) - 2 * np.cos(3 * _t) - np.cos(4 * _t)),
    ],
    axis=1,
) / (17, 16)


def _plain(rng: np.random.Generator) -> Layers:
    return np.full((TILE, TILE), 255, np.uint8), _EMPTY


def _striped(rng: np.random.Generator) -> Layers:
    count = int(rng.integers(5, 7))
    return _level(_triangle(count * _U) + rng.uniform(-0.1, 0.1), 10), _EMPTY


def _polka_dot(rng: np.random.Generator) -> Layers:
    layer = _EMPTY.copy()
    radius = rng.uniform(0.068, 0.08)
    for x, y in _lattice(4, 4):
        _stamp(layer, ellipse(x, y, radius, radius))
    return layer, _EMPTY


def _leopard(rng: np.random.Generator) -> Layers:
    middle, ring = _EMPTY.copy(), _EMPTY.copy()
    for x, y in _lattice(5, 6):
        x, y = x + rng.uniform(-0.025, 0.025), y + rng.uniform(-0.02, 0.02)
        radius = rng.uniform(0.066, 0.082)
        turn, squash = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)
        _stamp(middle, ellipse(x, y, radius * 0.75, radius * 0.75 * squash))
        pieces = int(rng.integers(2, 4))
        for piece in range(pieces):
            span = rng.uniform(0.62, 0.8) / pieces
            arc = ellipse(0, 0, 1, squash, piece / pieces, piece / pieces + span)[::4]
            inner = arc[::-1] * rng.uniform(0.4, 0.55)
            blob = smooth(np.concatenate([arc, inner]), 2)
            _stamp(ring, _turned(blob, turn, radius, x, y))
    for x, y in _lattice(5, 6):
        spot = ellipse(x + 0.1, y + rng.uniform(-0.02, 0.02), 0.016, 0.021)
        _stamp(ring, spot)
    return middle, ring


def _zebra(rng: np.random.Generator) -> Layers:
    bend, width = _noise(rng, 1, 2), _noise(rng, 2, 5)
    field = np.sin(2 * np.pi * (5 * _V + 0.42 * bend)) + 0.55 * width
    return _EMPTY, _level(field - 0.05, 5)


def _tartan(rng: np.random.Generator) -> Layers:
    def bands(axis: Array) -> tuple[Array, Array]:
        phase = _triangle(2 * axis)
        wide = np.clip((phase - 0.02) * 24 + 0.5, 0, 1)
        fine = np.clip((0.07 - np.abs(phase + 0.62)) * 24 + 0.5, 0, 1)
        return wide, fine

    (across, line_a), (down, line_d) = bands(_U), bands(_V)
    main = np.rint(255 * np.maximum(0.52 * (across + down), 0)).clip(0, 255).astype(np.uint8)
    deep = np.rint(255 * np.clip(0.75 * (line_a + line_d), 0, 1) * 0.9).astype(np.uint8)
    dark = np.rint(60 * across * down).astype(np.uint8)
    return main, np.maximum(deep, dark)


def _floral(rng: np.random.Generator) -> Layers:
    petals, accents = _EMPTY.copy(), _EMPTY.copy()
    for x, y in _lattice(3, 4):
        x, y = x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.015, 0.015)
        turn, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.105, 0.122)
        for side in (-0.5, 0.5):
            leaf = _turned(ellipse(1.25, 0, 0.42, 0.2), turn + np.pi * (0.8 + side), size, x, y)
            _stamp(accents, leaf, 150)
        for petal in range(5):
            shape = ellipse(0.6, 0, 0.44, 0.33)
            angle = turn + 2 * np.pi * petal / 5
            _stamp(petals, _turned(shape, angle, size, x, y))
            _stamp(accents, _turned(shape, angle, size, x, y), 0)
        _stamp(accents, ellipse(x, y, 0.3 * size, 0.3 * size))
    return petals, accents


def _motif(outline: Array, size: float, wobble: float) -> Callable[[np.random.Generator], Layers]:
    def tile(rng: np.random.Generator) -> Layers:
        layer = _EMPTY.copy()
        for x, y in _lattice(4, 4):
            turn = rng.uniform(-wobble, wobble)
            _stamp(layer, _turned(outline, turn, size * rng.uniform(0.94, 1.06), x, y))
        return layer, _EMPTY

    return tile


def _checkerboard(rng: np.random.Generator) -> Layers:
    return _level(np.sin(6 * np.pi * _U) * np.sin(6 * np.pi * _V), 14), _EMPTY


def _zigzag(rng: np.random.Generator) -> Layers:
    field = _triangle(4 * _V + rng.uniform(0.38, 0.46) * _triangle(4 * _U))
    return _level(field, 6), _EMPTY


def _camouflage(rng: np.random.Generator) -> Layers:
    first, second = _noise(rng, 2, 5), _noise(rng, 2, 5)
    return _level(first - 0.1, 14), _level(second - 0.75, 14)


def _wavy(rng: np.random.Generator) -> Layers:
    bend = rng.uniform(0.5, 0.6) * np.sin(2 * np.pi * 2 * _U)
    return _level(_triangle(6 * _V + bend) - 0.25, 7), _EMPTY


def _houndstooth(rng: np.random.Generator) -> Layers:
    cell = np.arange(8)
    x, y = np.meshgrid(cell, cell)
    dark = np.where((x + y) % 4 < 2, x < 4, y < 4).astype(np.uint8) * 255
    sheet = np.tile(np.kron(dark, np.ones((16, 16), np.uint8)), (3, 3))
    return np.asarray(sheet, np.uint8), _EMPTY


def _marble(rng: np.random.Generator) -> Layers:
    cloud, bend = _noise(rng, 1, 4), _noise(rng, 1, 5)
    veins = np.abs(np.sin(np.pi * (_U + 2 * _V + 0.55 * bend)))
    fine = np.abs(_noise(rng, 2, 5))
    main = np.clip(0.5 + 0.42 * cloud, 0.0, 1.0)
    white = np.clip(1.5 - 6.0 * veins, 0, 1) + np.clip(0.7 - 5.0 * fine, 0, 1)
    return np.rint(255 * main).astype(np.uint8), np.rint(255 * np.clip(white, 0, 1)).astype(
        np.uint8
    )


def _honeycomb(rng: np.random.Generator) -> Layers:
    layer = np.full((TILE, TILE), 255, np.uint8)
    size = rng.uniform(0.80, 0.84)
    hexagon = points((0, -2), (1, -1), (1, 1), (0, 2), (-1, 1), (-1, -1)) * size
    for x, y in _lattice(4, 4):
        # A pointy cell is 1/4 wide and its rows are 1/4 apart, so one unit up is 1/12.
        _stamp(layer, hexagon * (1 / 8, 1 / 12) + (x, y), 0)
    return layer, _EMPTY


_MAKERS: dict[str, Callable[[np.random.Generator], Layers]] = {
    "plain": _plain,
    "striped": _striped,
    "polka dot": _polka_dot,
    "leopard": _leopard,
    "zebra": _zebra,
    "tartan": _tartan,
    "floral": _floral,
    "star": _motif(_STAR, 0.115, 0.5),
    "checkerboard": _checkerboard,
    "zigzag": _zigzag,
    "camouflage": _camouflage,
    "wavy": _wavy,
    "heart": _motif(_HEART, 0.095, 0.2),
    "houndstooth": _houndstooth,
    "marble": _marble,
    "honeycomb": _honeycomb,
}


def make_tile(pattern: str, rng: np.random.Generator) -> Bytes:
    """One variant of a pattern."""
    return np.stack(_MAKERS[pattern](rng), axis=2)


def _mix(a: Array, b: Array, share: float) -> Array:
    return a + share * (b - a)


def tones(pattern: str, palette: Palette) -> Array:
    """Ground, second and third tone, (3, 3) in 0..255.

    Each pattern keeps one arrangement in every colour, so 'the same in green' means one thing.
    """
    main, pale, deep = (np.array(t, np.float64) for t in (palette.main, palette.pale, palette.deep))
    is_dark = float(main.sum()) < 150
    tint = _mix(main, pale, 0.62 if is_dark else 0.3)
    shadow = deep * 0.45
    if pattern == "leopard":
        middle = _mix(main, pale, 0.3) if is_dark else _mix(main, deep, 0.3)
        return np.stack([tint, middle, shadow])
    if pattern == "zebra":
        return np.stack([pale if is_dark else tint, main, shadow])
    if pattern == "camouflage":
        light = _mix(main, pale, 0.5)
        return np.stack([light, main if not is_dark else _mix(main, pale, 0.25), deep])
    if pattern == "marble":
        return np.stack([_mix(main, pale, 0.62), main, pale])
    if pattern in ("polka dot", "heart", "wavy", "honeycomb"):
        return np.stack([main, pale, deep])
    return np.stack([pale, main, deep])
