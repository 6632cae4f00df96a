"""Things of cloth: the outlines and shading of each product, as lists of parts back to front."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eval_sets.make_catalogue.attributes import RGB
from eval_sets.make_catalogue.shapes import (
    Array,
    Part,
    bulge,
    ellipse,
    folds,
    points,
    rounded,
    smooth,
    stroke,
)

CANVAS: RGB = (226, 212, 186)
LEATHER: RGB = (104, 74, 54)
GRAPHITE: RGB = (58, 60, 66)
BRASS: RGB = (196, 164, 96)


def _phase(rng: np.random.Generator) -> float:
    return float(rng.uniform(0, 2 * np.pi))


def t_shirt(rng: np.random.Generator) -> list[Part]:
    hem = rng.uniform(0.58, 0.64)
    half = points(
        (0.22, -0.88), (0.46, -0.82), (0.72, -0.66), (1.02, -0.2), (0.74, 0.0), (0.58, -0.2),
        (0.57, 0.3), (hem, 0.92), (0.3, 0.95), (0.0, 0.95),
    )  # fmt: skip
    neck = ellipse(0, -0.9, 0.24, 0.24, 0.5, 0.0)
    shirt = np.concatenate([half, (half * (-1, 1))[::-1], neck])
    back = np.concatenate(
        [ellipse(0, -0.9, 0.24, 0.08, 0.0, 0.5), ellipse(0, -0.9, 0.24, 0.06, 0.5, 1.0)]
    )
    parts = [
        Part([back], "deep", relief=0.1),
        Part([shirt], "pattern", None, folds(1.6, 0.05, 0.3, _phase(rng)), relief=0.3),
        Part(
            [stroke(ellipse(0, -0.9, 0.26, 0.26, 0.02, 0.48), 0.06)], "pale", relief=0.3, bevel=0.03
        ),
    ]
    for side in (-1, 1):
        seam = stroke(
            points((0.585 * side, -0.22), (0.56 * side, -0.5), (0.62 * side, -0.68)), 0.015
        )
        parts.append(Part([seam], "deep", relief=0, casts=False))
    return parts


def tote_bag(rng: np.random.Generator) -> list[Part]:
    low, top = rng.uniform(0.7, 0.78), rng.uniform(0.62, 0.68)
    body = smooth(
        points((-top, -0.4), (top, -0.4), (low, 0.92), (0.6, 1.0), (-0.6, 1.0), (-low, 0.92)), 1
    )
    strap: RGB = (CANVAS, LEATHER)[int(rng.integers(2))]
    peak = rng.uniform(-1.08, -0.98)

    def handle(lift: float) -> Array:
        line = points((-0.36, -0.26), (-0.36, -0.6), (-0.2, peak + lift), (0.2, peak + lift),
                      (0.36, -0.6), (0.36, -0.26))  # fmt: skip
        return stroke(smooth(line, 3, closed=False), 0.1)

    return [
        Part([handle(0.09)], strap, lambda x, y: (x, y), lambda x, y, light: 0.8 + 0 * x),
        Part([body], "pattern", bulge(0.03), folds(1.3, 0.05, 0.2, _phase(rng)), relief=0.3),
        Part([rounded(-top, -0.41, top, -0.33, 0.02)], strap, relief=0.3, bevel=0.03),
        Part([handle(0.0)], strap, relief=0.4, bevel=0.04),
    ]


def cushion(rng: np.random.Generator) -> list[Part]:
    dent = rng.uniform(0.13, 0.18)
    side = np.linspace(-1, 1, 25)
    inward = 0.98 - dent * (1 - side**4) * (1 - 0.45 * np.exp(-6 * side * side))
    top = np.stack([side * 0.98, -inward], axis=1)
    right = np.stack([inward, side * 0.98], axis=1)
    outline = np.concatenate([top, right, -top, -right])

    def shade(x: Array, y: Array, light: float) -> Array:
        crease = np.clip((np.abs(x * y) - 0.3) / 0.7, 0, 1)
        return 1.1 - 0.24 * (x * x + y * y) + 0.1 * light * x - 0.1 * y - 0.2 * crease

    return [
        Part([outline * 1.035], "deep", relief=0.4, bevel=0.04),
        Part([outline], "pattern", bulge(0.12), shade, relief=0.25, bevel=0.14),
    ]


def cap(rng: np.random.Generator) -> list[Part]:
    lift = rng.uniform(-0.05, 0.05)
    crown = smooth(
        points((-0.92, 0.34), (-0.95, -0.1), (-0.78, -0.58), (-0.3, -0.86), (0.16, -0.8),
               (0.52, -0.46), (0.62, 0.0), (0.6, 0.26), (-0.1, 0.42)),
        3,
    )  # fmt: skip
    visor = smooth(
        points((0.1, 0.14), (0.56, 0.02), (0.92, 0.14 + lift), (1.12, 0.42 + lift),
               (0.96, 0.5 + lift), (0.5, 0.4), (0.06, 0.44)),
        3,
    )  # fmt: skip

    def dome(x: Array, y: Array) -> tuple[Array, Array]:
        return x * (1 + 0.12 * x * x), y - 0.12 * x * x

    def shade(x: Array, y: Array, light: float) -> Array:
        return 1.05 - 0.22 * (x + 0.15) ** 2 - 0.2 * np.clip(y, -1, 1) + 0.12 * light * x

    seams = [
        stroke(smooth(points((-0.2, -0.8), (0.08, -0.5), (0.22, 0.2)), 3, closed=False), 0.02),
        stroke(smooth(points((-0.2, -0.8), (-0.62, -0.45), (-0.7, 0.3)), 3, closed=False), 0.02),
    ]
    return [
        Part([crown], "pattern", dome, shade, relief=0.35, bevel=0.14),
        *(Part([seam], "deep", relief=0, casts=False) for seam in seams),
        Part([visor], "main", relief=0.55, bevel=0.08),
        Part([ellipse(-0.22, -0.8, 0.09, 0.055)], "deep", relief=0.4, bevel=0.04),
    ]


def backpack(rng: np.random.Generator) -> list[Part]:
    body = smooth(
        points((-0.66, 0.96), (-0.72, 0.2), (-0.64, -0.52), (-0.36, -0.84), (0.36, -0.84),
               (0.64, -0.52), (0.72, 0.2), (0.66, 0.96)),
        2,
    )  # fmt: skip
    trim: RGB = (GRAPHITE, LEATHER)[int(rng.integers(2))]
    loop = stroke(ellipse(0, -0.8, 0.2, 0.2, 0.5, 1.0), 0.08)
    pocket_top = rng.uniform(0.22, 0.3)
    pocket = rounded(-0.5, pocket_top, 0.5, 0.84, 0.14)
    zip_line = stroke(
        smooth(points((-0.6, -0.02), (-0.5, -0.5), (0, -0.7), (0.5, -0.5), (0.6, -0.02)), 3, False),
        0.045,
    )
    parts = [Part([loop], trim, relief=0.4, bevel=0.04)]
    for side in (-1, 1):
        strap = smooth(points((0.6, -0.5), (0.86, -0.1), (0.9, 0.5), (0.66, 0.8)), 3, closed=False)
        parts.append(Part([stroke(strap * (side, 1), 0.12)], trim, relief=0.4, bevel=0.05))
    parts += [
        Part([body], "pattern", bulge(0.06), None, relief=0.45, bevel=0.16),
        Part([zip_line], trim, relief=0.2, bevel=0.02, casts=False),
        Part([rounded(-0.53, pocket_top - 0.03, 0.53, 0.87, 0.16)], trim, relief=0.3, bevel=0.04),
        Part([pocket], "pattern", lambda x, y: (x * 0.97 + 0.4, y * 0.97 + 0.3), relief=0.35),
        Part([rounded(-0.36, pocket_top + 0.07, 0.36, pocket_top + 0.12, 0.02)], trim, relief=0.2),
        Part([rounded(0.3, pocket_top + 0.08, 0.36, pocket_top + 0.22, 0.02)], BRASS, relief=0.4),
    ]
    return parts


def scarf(rng: np.random.Generator) -> list[Part]:
    sway = rng.uniform(-0.04, 0.04)
    ring = [ellipse(0, -0.48, 0.74, 0.5), ellipse(0, -0.62, 0.4, 0.22)]
    parts = [
        Part([ellipse(0, -0.62, 0.46, 0.28)], "deep", relief=0.1),
    ]
    for side, length in ((-1, 0.98), (1, 0.78)):
        x0, x1 = sorted((0.04 * side, 0.56 * side + sway))
        tail = points(
            (x0 * 0.6, -0.3), (x1 * 0.6 + 0.05, -0.3), (x1, length - 0.14), (x0, length - 0.14)
        )
        for x in np.linspace(x0 + 0.03, x1 - 0.03, 7):
            fringe = stroke(points((x, length - 0.16), (x + 0.01, length + 0.04)), 0.05)
            parts.append(Part([fringe], "main", relief=0.3, bevel=0.02))
        parts.append(Part([tail], "pattern", None, folds(2.2, 0.07, 0.1, _phase(rng)), relief=0.3))

    def wrap(x: Array, y: Array) -> tuple[Array, Array]:
        return x, y - 0.35 * x * x + 0.3

    loops = folds(1.4, 0.1, 0.9, _phase(rng))
    parts.append(Part(ring, "pattern", wrap, loops, relief=0.5, bevel=0.12))
    return parts


def curtain(rng: np.random.Generator) -> list[Part]:
    tied = rng.random() < 0.5
    metal: RGB = (GRAPHITE, BRASS, (150, 112, 80))[int(rng.integers(3))]
    window = rounded(-0.72, -0.78, 0.72, 0.86, 0.01)
    parts = [
        Part([window], (250, 250, 247), relief=0.2, bevel=0.03, casts=False),
        Part([rounded(-0.66, -0.74, -0.03, 0.8, 0.01)], (222, 230, 234), relief=0, casts=False),
        Part([rounded(0.03, -0.74, 0.66, 0.8, 0.01)], (222, 230, 234), relief=0, casts=False),
    ]
    pleats = folds(rng.uniform(5.0, 6.5), 0.11, 0.0, _phase(rng))
    waist = 0.44 if tied else 0.2
    half = points((0.13, -0.88), (0.98, -0.88), (0.99, 0.3), (1.0, 0.96), (0.2, 0.97),
                  (waist, 0.35), (0.2, -0.1))  # fmt: skip
    for side in (-1, 1):
        cloth = np.concatenate([half[:4], half[4:5], smooth(half[4:], 3, closed=False)]) * (side, 1)
        parts.append(Part([cloth], "pattern", None, pleats, relief=0.2))
        if tied:
            tie = points((0.4, 0.32), (1.0, 0.22), (1.0, 0.34), (0.41, 0.44)) * (side, 1)
            parts.append(Part([tie], "deep", relief=0.4, bevel=0.04))
    parts.append(Part([rounded(-1.04, -0.97, 1.04, -0.89, 0.03)], metal, relief=0.5, bevel=0.04))
    for side in (-1, 1):
        parts.append(Part([ellipse(1.06 * side, -0.93, 0.075, 0.075)], metal, relief=0.5))
    return parts


TEXTILES: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "T-shirt": t_shirt,
    "tote bag": tote_bag,
    "cushion": cushion,
    "cap": cap,
    "backpack": backpack,
    "scarf": scarf,
    "curtain": curtain,
}
