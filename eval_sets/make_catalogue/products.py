"""Hard goods: the outlines and shading of each product, as lists of parts back to front."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from eval_sets.make_catalogue.attributes import RGB
from eval_sets.make_catalogue.shapes import (
    Array,
    Part,
    bulge,
    cylinder,
    ellipse,
    mirrored,
    points,
    round_shade,
    rounded,
    smooth,
    stroke,
)
from eval_sets.make_catalogue.textiles import TEXTILES

Maker = Callable[[np.random.Generator], list[Part]]
GRAPHITE: RGB = (52, 54, 60)
STEEL: RGB = (188, 190, 194)
WHITE: RGB = (248, 247, 244)
WOODS: tuple[RGB, ...] = ((186, 146, 104), (212, 182, 142), (150, 112, 80))


def _wood(rng: np.random.Generator) -> RGB:
    return WOODS[int(rng.integers(len(WOODS)))]


def phone_case(rng: np.random.Generator) -> list[Part]:
    width = rng.uniform(0.52, 0.57)
    left = -width + 0.07
    parts = [
        Part([rounded(-width - 0.02, -1.02, width + 0.02, 1.02, 0.17)], GRAPHITE, relief=0.5),
        Part([rounded(-width, -1.0, width, 1.0, 0.15)], "pattern", bevel=0.07, gloss=0.22),
    ]
    for y in (-0.45, -0.2):
        parts.append(
            Part([rounded(width, y, width + 0.045, y + 0.18, 0.02)], GRAPHITE, casts=False)
        )
    camera = rounded(left, -0.93, left + 0.43, -0.5, 0.11)
    parts.append(Part([camera], (66, 68, 74), relief=0.5, bevel=0.03))
    lenses = [(0.12, -0.82), (0.12, -0.61), (0.31, -0.715)][: int(rng.integers(2, 4))]
    for x, y in lenses:
        parts.append(Part([ellipse(left + x, y, 0.085, 0.085)], (24, 25, 30), relief=0.2))
        parts.append(Part([ellipse(left + x, y, 0.045, 0.045)], (48, 58, 84), casts=False))
        spot = ellipse(left + x - 0.02, y - 0.02, 0.016, 0.016)
        parts.append(Part([spot], (225, 232, 245), relief=0, casts=False))
    return parts


def mug(rng: np.random.Generator) -> list[Part]:
    base, height = rng.uniform(0.55, 0.64), rng.uniform(0.72, 0.8)
    top, sag = 0.66, 0.15
    rim = ellipse(-0.2, -height, top, sag)
    foot = ellipse(-0.2, height, base, sag * 0.9, 0.0, 0.5)
    body = np.concatenate([foot, ellipse(-0.2, -height, top, sag, 0.5, 0.0)])
    handle = stroke(
        smooth(
            points(
                (0.38, -0.46), (0.62, -0.52), (0.92, -0.4), (0.9, 0.1), (0.66, 0.4), (0.3, 0.42)
            ),
            3,
            closed=False,
        ),
        0.17,
    )
    turn = cylinder(0.7, -sag)
    shading = round_shade(0.72)

    def warp(x: Array, y: Array) -> tuple[Array, Array]:
        return turn(x + 0.2, y)

    def shade(x: Array, y: Array, light: float) -> Array:
        return shading(x + 0.2, y, light)

    return [
        Part([handle], WHITE, relief=0.5, bevel=0.06),
        Part([body], "pattern", warp, shade, relief=0.12, gloss=0.2),
        Part([rim], WHITE, relief=0.1, casts=False),
        Part(
            [ellipse(-0.2, -height + 0.012, top * 0.92, sag * 0.82)],
            (214, 211, 205),
            shade=lambda x, y, light: 0.93 + 0.25 * (x + 0.2) * -light + 0.5 * (y + height),
            relief=0,
            casts=False,
        ),
    ]


def notebook(rng: np.random.Generator) -> list[Part]:
    width = rng.uniform(0.68, 0.76)
    page = rounded(-width + 0.05, -0.93, width + 0.035, 0.985, 0.03)
    cover = rounded(-width, -0.97, width, 0.95, 0.06)
    parts = [
        Part([page + np.array([0.025, 0.02])], (206, 200, 190), relief=0.2),
        Part([page], (252, 249, 240), relief=0.2),
        Part([cover], "pattern", relief=0.22, bevel=0.04),
    ]
    if rng.random() < 0.6:
        label = rounded(-0.3, -0.62, 0.42, -0.26, 0.05)
        parts.append(Part([label], WHITE, relief=0.15, bevel=0.03, casts=False))
        for y, end in ((-0.5, 0.32), (-0.38, 0.18)):
            line = rounded(-0.2, y - 0.018, end, y + 0.018, 0.017)
            parts.append(Part([line], (176, 174, 170), relief=0, casts=False))
    for y in np.linspace(-0.84, 0.84, 12):
        hole = ellipse(-width + 0.1, y, 0.034, 0.034)
        ring = stroke(ellipse(-width + 0.01, y - 0.01, 0.1, 0.052, 0.12, 1.0), 0.036)
        parts.append(Part([hole], GRAPHITE, relief=0, casts=False))
        parts.append(Part([ring], (120, 122, 128), relief=0.5, bevel=0.02))
    return parts


def umbrella(rng: np.random.Generator) -> list[Part]:
    ribs = int(rng.integers(4, 6))
    edge = np.linspace(-1, 1, ribs + 1)
    dome = ellipse(0, 0.12, 1.0, 0.98, 0.5, 1.0)
    scallops = [ellipse((a + b) / 2, 0.12, (b - a) / 2, 0.13, 1.0, 0.5) for a, b in pairwise(edge)]
    canopy = np.concatenate([dome, *scallops[::-1]])
    wood = _wood(rng)
    shaft = rounded(-0.03, -0.02, 0.03, 0.72, 0.02)
    hook = smooth(
        points((0, 0.66), (0, 0.92), (0.06, 1.05), (0.2, 1.05), (0.26, 0.9)), 3, closed=False
    )

    def warp(x: Array, y: Array) -> tuple[Array, Array]:
        return x * (1.05 - 0.25 * (y - 0.1)), y * 1.05 - 0.18 * x * x

    def shade(x: Array, y: Array, light: float) -> Array:
        depth = np.clip((y + 0.86) / 0.98, 0.06, 1.2)
        panel = (x / np.sqrt(np.clip(depth * (2 - np.minimum(depth, 1)), 0.05, 2)) + 1) * ribs / 2
        inside = panel - np.floor(panel) - 0.5
        brightness = 1.04 - 0.75 * inside * inside + 0.16 * light * x + 0.2 * light * inside
        return np.asarray(brightness)

    return [
        Part([rounded(-0.022, -1.02, 0.022, -0.78, 0.02)], wood),
        Part([shaft], STEEL, relief=0.5, bevel=0.03),
        Part([stroke(hook, 0.085)], wood, relief=0.5, bevel=0.04),
        Part([canopy], "pattern", warp, shade, relief=0.15, bevel=0.06),
    ]


def lamp(rng: np.random.Generator) -> list[Part]:
    top, low = rng.uniform(0.42, 0.55), rng.uniform(0.84, 0.95)
    shade_part = np.concatenate(
        [ellipse(0, 0.14, low, 0.11, 0.0, 0.5), ellipse(0, -0.95, top, 0.07, 0.5, 1.0)]
    )
    body: RGB = (_wood(rng), STEEL, (92, 92, 96), WHITE)[int(rng.integers(4))]
    stem = mirrored(
        points((0.05, 0.1), (0.06, 0.3), (0.19, 0.45), (0.24, 0.6), (0.14, 0.78), (0.05, 0.84))
    )
    turn = cylinder(1.0, -0.11)

    def warp(x: Array, y: Array) -> tuple[Array, Array]:
        share = np.clip((y + 0.95) / 1.09, 0, 1)
        u, v = turn(x / (top + share * (low - top)), y)
        return u * (top + low) / 2, v

    def glow(x: Array, y: Array, light: float) -> Array:
        return 1.16 - 0.38 * x * x - 0.22 * (y + 0.3) * (y + 0.3) + 0.06 * light * x

    return [
        Part([ellipse(0, 0.93, 0.42, 0.09)], body, relief=0.4),
        Part([smooth(stem, 2)], body, shade=round_shade(0.26), relief=0.3),
        Part([shade_part], "pattern", warp, glow, relief=0.08, bevel=0.05),
        Part([ellipse(0, -0.95, top, 0.07)], "pale", relief=0.1, bevel=0.03, casts=False),
        Part([ellipse(0, -0.945, top * 0.9, 0.05)], (255, 240, 205), relief=0, casts=False),
    ]


def plate(rng: np.random.Generator) -> list[Part]:
    squash = rng.uniform(0.9, 1.0)
    inner = rng.uniform(0.58, 0.66)

    def shade(x: Array, y: Array, light: float) -> Array:
        radius = np.sqrt(x * x + y * y / squash**2)
        well = np.clip(1 - np.abs(radius - inner) / 0.09, 0, 1)
        toward = (x * light - y) / np.maximum(radius, 0.2)
        return 1.0 - 0.3 * well * toward - 0.08 * well + 0.05 * np.clip(radius - inner, 0, 1)

    def bowl(x: Array, y: Array) -> tuple[Array, Array]:
        return x, y / squash

    return [
        Part([ellipse(0, 0, 1.0, squash)], WHITE, relief=0.35, bevel=0.05),
        Part([ellipse(0, 0, 0.95, 0.95 * squash)], "pattern", bowl, shade, relief=0.1, gloss=0.2),
    ]


def sneaker(rng: np.random.Generator) -> list[Part]:
    upper = smooth(
        points(
            (-0.96, 0.42), (-0.98, 0.0), (-0.93, -0.42), (-0.86, -0.56), (-0.62, -0.44),
            (-0.36, -0.4), (-0.2, -0.62), (-0.02, -0.6), (0.2, -0.22), (0.52, -0.06), (0.84, 0.06),
            (1.0, 0.26), (1.0, 0.42),
        ),
        2,
    )  # fmt: skip
    tongue = smooth(points((-0.24, -0.4), (-0.2, -0.78), (0.02, -0.76), (0.08, -0.4)), 2)
    collar = smooth(
        points((-0.9, -0.5), (-0.6, -0.36), (-0.32, -0.34), (-0.24, -0.5), (-0.5, -0.5)), 2
    )
    sole = smooth(points((-1.04, 0.32), (1.04, 0.3), (1.06, 0.44), (0.9, 0.58), (-1.0, 0.58)), 2)
    parts = [
        Part([tongue], "deep", relief=0.3),
        Part([collar], "deep", relief=0.2),
        Part([upper], "pattern", bulge(0.06), None, relief=0.4, bevel=0.12),
        Part([sole], WHITE, relief=0.45, bevel=0.05),
        Part([rounded(-0.98, 0.44, 0.98, 0.475, 0.015)], (205, 203, 198), relief=0, casts=False),
    ]
    for step in range(4):
        x, y = -0.1 + 0.11 * step, -0.44 + 0.12 * step
        lace = points((x - 0.09, y + 0.1), (x + 0.04, y + 0.02), (x + 0.13, y - 0.1))
        parts.append(Part([stroke(lace, 0.06)], WHITE, relief=0.3, bevel=0.02))
    return parts


PRODUCTS: dict[str, Maker] = {
    "phone case": phone_case,
    "mug": mug,
    "notebook": notebook,
    "umbrella": umbrella,
    "lamp": lamp,
    "plate": plate,
    "sneaker": sneaker,
    **TEXTILES,
}
