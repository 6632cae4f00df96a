"""Query pictures for themes: a swatch, draped cloth, a papered wall, and things that wear it.

Each is a list of parts, painted by the same code as the products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eval_sets.make_catalogue.attributes import RGB
from eval_sets.make_catalogue.shapes import (
    Array,
    Part,
    cylinder,
    ellipse,
    folds,
    mirrored,
    points,
    rounded,
    smooth,
    stroke,
)

Maker = Callable[[np.random.Generator], list[Part]]
FRAME = points((-3, -3), (3, -3), (3, 3), (-3, 3))
WOOD: RGB = (190, 160, 124)


def swatch(rng: np.random.Generator) -> list[Part]:
    if rng.random() < 0.5:
        return [Part([FRAME], "pattern", relief=0)]
    count = 22
    step = np.linspace(-0.96, 0.96, 2 * count + 1)
    depth = 0.96 + 0.045 * (np.arange(2 * count + 1) % 2)
    top = np.stack([step, -depth], axis=1)
    right = np.stack([depth, step], axis=1)
    return [Part([np.concatenate([top, right, -top, -right])], "pattern", relief=0.12, bevel=0.03)]


def drape(rng: np.random.Generator) -> list[Part]:
    slant, phase = rng.uniform(-0.7, 0.7), rng.uniform(0, 2 * np.pi)
    count = rng.uniform(1.4, 2.2)

    def warp(x: Array, y: Array) -> tuple[Array, Array]:
        along = np.pi * count * (x + slant * y) + phase
        return x + 0.06 * np.cos(along), y + 0.04 * np.sin(along)

    return [Part([FRAME], "pattern", warp, folds(count, 0.12, slant, phase), relief=0)]


def wall(rng: np.random.Generator) -> list[Part]:
    floor = rng.uniform(0.5, 0.66)
    x = rng.uniform(-0.5, 0.5)
    seat: RGB = ((206, 198, 186), (150, 150, 152), (232, 228, 220))[int(rng.integers(3))]
    leg = [rounded(x + dx, floor + 0.12, x + dx + 0.06, floor + 0.3, 0.02) for dx in (-0.42, 0.36)]
    return [
        Part([points((-3, -3), (3, -3), (3, floor), (-3, floor))], "pattern", relief=0),
        Part([points((-3, floor), (3, floor), (3, 3), (-3, 3))], WOOD, relief=0, casts=False),
        Part([points((-3, floor - 0.07), (3, floor - 0.07), (3, floor), (-3, floor))],
             (250, 249, 246), relief=0.2, bevel=0.02),
        *(Part([one], (96, 74, 56)) for one in leg),
        Part([rounded(x - 0.46, floor - 0.44, x + 0.46, floor + 0.1, 0.14)], seat, relief=0.5),
        Part([rounded(x - 0.56, floor - 0.14, x + 0.56, floor + 0.17, 0.12)], seat, relief=0.6),
    ]  # fmt: skip


def hide(rng: np.random.Generator) -> list[Part]:
    half = points(
        (0.0, -1.0), (0.16, -0.98), (0.2, -0.72), (0.5, -0.74), (0.86, -0.98), (0.98, -0.78),
        (0.7, -0.4), (0.6, 0.0), (0.68, 0.4), (0.98, 0.72), (0.86, 0.94), (0.5, 0.78), (0.2, 0.82),
        (0.08, 1.04), (0.0, 1.06),
    )  # fmt: skip
    outline = smooth(mirrored(half), 2)
    return [Part([outline], "pattern", relief=0.3, bevel=0.05)]


def balloon(rng: np.random.Generator) -> list[Part]:
    half = points((0.0, -1.02), (0.5, -0.98), (0.86, -0.62), (0.86, -0.2), (0.6, 0.24), (0.2, 0.54))
    envelope = smooth(mirrored(half), 2)
    turn = cylinder(0.92)

    def shade(x: Array, y: Array, light: float) -> Array:
        bands = np.cos(6 * np.arcsin(np.clip(x / 0.9, -0.98, 0.98)))
        return np.asarray(1.04 - 0.3 * (x - 0.2 * light) ** 2 + 0.05 * bands)

    ropes = [stroke(points((0.17 * s, 0.5), (0.1 * s, 0.8)), 0.02) for s in (-1, 0, 1)]
    clouds = [
        ellipse(cx, cy, w, 0.09)
        for cx, cy, w in ((-0.75, 0.7, 0.32), (0.8, 0.5, 0.28), (0.9, -0.8, 0.26))
    ]
    return [
        *(Part([cloud], (255, 255, 255), relief=0.15, bevel=0.1, casts=False) for cloud in clouds),
        *(Part([rope], (110, 92, 74), relief=0, casts=False) for rope in ropes),
        Part([rounded(-0.14, 0.78, 0.14, 1.0, 0.05)], (158, 118, 76), relief=0.4, casts=False),
        Part([envelope], "pattern", turn, shade, relief=0.2, bevel=0.12, casts=False),
    ]


def hills(rng: np.random.Generator) -> list[Part]:
    x = np.linspace(-1.7, 1.7, 60)
    phase = rng.uniform(0, 2 * np.pi)
    ridge = -0.3 + 0.16 * np.sin(1.7 * x + phase) + 0.05 * np.sin(4 * x)
    far = -0.42 - 0.2 * np.sin(2.2 * x + 0.7 * phase)
    ground = np.concatenate([np.stack([x, ridge], axis=1), points((1.7, 3), (-1.7, 3))])
    back = np.concatenate([np.stack([x, far], axis=1), points((1.7, 3), (-1.7, 3))])

    def slope(x: Array, y: Array) -> tuple[Array, Array]:
        return x * (1.1 - 0.25 * y), y * (1.1 - 0.12 * y)

    sun = ellipse(rng.uniform(-0.7, 0.7), -0.86, 0.13, 0.13)
    return [
        Part([FRAME], (232, 236, 238), relief=0, casts=False),
        Part([sun], (255, 250, 232), relief=0, casts=False),
        Part([back], (204, 208, 208), relief=0.1, casts=False),
        Part([ground], "pattern", slope, lambda x, y, light: 1.05 + 0.06 * light * x - 0.05 * y,
             relief=0.25, bevel=0.1, casts=False),
    ]  # fmt: skip


def fish(rng: np.random.Generator) -> list[Part]:
    body = smooth(
        points((-1.0, 0.02), (-0.8, -0.34), (-0.3, -0.6), (0.25, -0.5), (0.62, -0.1), (0.98, -0.5),
               (0.92, 0.0), (0.98, 0.5), (0.62, 0.12), (0.25, 0.5), (-0.3, 0.6), (-0.8, 0.38)),
        2,
    )  # fmt: skip
    fin = smooth(points((-0.4, -0.5), (-0.1, -0.86), (0.36, -0.76), (0.3, -0.4)), 2)
    belly = smooth(points((-0.3, 0.5), (0.0, 0.82), (0.24, 0.76), (0.16, 0.46)), 2)
    return [
        Part([fin], "main", relief=0.4),
        Part([belly], "main", relief=0.4),
        Part([body], "pattern", relief=0.4, bevel=0.16),
        Part([ellipse(-0.72, -0.08, 0.085, 0.085)], (252, 252, 250), relief=0.2, casts=False),
        Part([ellipse(-0.73, -0.08, 0.045, 0.045)], (24, 24, 28), relief=0, casts=False),
    ]


def cat(rng: np.random.Generator) -> list[Part]:
    body = smooth(
        points((-0.2, -0.3), (0.3, -0.18), (0.58, 0.3), (0.62, 0.98), (-0.62, 0.98), (-0.52, 0.3)),
        2,
    )
    head = smooth(
        points((-0.78, -1.02), (-0.42, -0.82), (0.06, -0.82), (0.4, -1.02), (0.42, -0.42),
               (0.14, -0.12), (-0.52, -0.12), (-0.8, -0.42)),
        2,
    )  # fmt: skip
    tail = stroke(
        smooth(points((0.4, 0.86), (0.9, 0.9), (0.98, 0.4), (0.74, 0.16)), 3, closed=False), 0.17
    )
    parts = [
        Part([tail], "pattern", relief=0.5, bevel=0.07),
        Part([body], "pattern", relief=0.4, bevel=0.16),
        Part([head], "pattern", lambda x, y: (x + 0.3, y + 0.2), relief=0.4, bevel=0.12),
    ]
    for x in (-0.42, 0.04):
        parts.append(Part([ellipse(x, -0.5, 0.09, 0.1)], (250, 250, 244), relief=0.1, casts=False))
        parts.append(Part([ellipse(x, -0.5, 0.04, 0.085)], (26, 26, 30), relief=0, casts=False))
    nose = smooth(points((-0.25, -0.36), (-0.13, -0.36), (-0.19, -0.27)), 1)
    parts.append(Part([nose], (70, 50, 52), relief=0, casts=False))
    return parts


def butterfly(rng: np.random.Generator) -> list[Part]:
    upper = smooth(points((0.04, -0.1), (0.3, -0.7), (0.92, -0.96), (1.02, -0.4), (0.66, 0.06)), 2)
    lower = smooth(points((0.04, -0.06), (0.7, 0.02), (0.86, 0.46), (0.5, 0.92), (0.2, 0.62)), 2)
    parts = []
    for wing in (lower, upper):
        for side in (-1, 1):
            outline = wing * (side, 1)
            centre = outline.mean(axis=0)
            parts.append(Part([(outline - centre) * 1.06 + centre], "deep", relief=0.2))
            parts.append(Part([outline], "pattern", relief=0.2, bevel=0.05, casts=False))
    for side in (-1, 1):
        feeler = smooth(points((0, -0.4), (0.1, -0.74), (0.26, -0.86)), 3, closed=False) * (side, 1)
        parts.append(Part([stroke(feeler, 0.03)], (48, 44, 44), relief=0, casts=False))
    parts.append(Part([ellipse(0, 0.02, 0.075, 0.5)], (56, 50, 48), relief=0.5))
    return parts


SWATCHES: dict[str, Maker] = {"swatch": swatch, "drape": drape, "wall": wall}
SCENES: dict[str, Maker] = {
    "hide": hide,
    "balloon": balloon,
    "hills": hills,
    "fish": fish,
    "cat": cat,
    "butterfly": butterfly,
}
