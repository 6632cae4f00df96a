"""Render parts into a picture: pose, light, background, shadow, and the pattern on the surface."""

from __future__ import annotations

import io
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from eval_sets.make_catalogue.attributes import PALETTES, PATTERNS, RGB, Combo, Palette
from eval_sets.make_catalogue.patterns import TILE, make_tile, tones
from eval_sets.make_catalogue.products import PRODUCTS
from eval_sets.make_catalogue.shapes import Array, Part
from eval_sets.make_catalogue.themes import SCENES, SWATCHES

# Vendor kernels differ between processors; OpenCV's own fixed-point code gives the same bytes.
cv2.setNumThreads(1)
if hasattr(cv2, "ipp"):
    cv2.ipp.setUseIPP(False)

SIZE = 160
CANVAS = 2 * SIZE
VARIANTS = 8
Picture = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.float32]

# Near-neutral, so that a picture never has the colour of its background.
_BACKDROPS: tuple[RGB, ...] = (
    (243, 241, 237),
    (232, 228, 221),
    (222, 224, 226),
    (236, 229, 226),
    (226, 231, 228),
    (206, 203, 198),
    (190, 194, 198),
    (214, 205, 194),
    (166, 166, 166),
    (104, 106, 110),
)
_DARK = (8, 9)


class Look:
    """What varies between two pictures of the same thing."""

    def __init__(self, combo: Combo, rng: np.random.Generator, seed: int, full: bool) -> None:
        self.rng = rng
        self.tile = _tile(seed, combo.pattern, int(rng.integers(VARIANTS)))
        self.palette = _jittered(PALETTES[combo.colour], rng)
        self.tones = tones(combo.pattern, self.palette)
        side = 1.0 if rng.random() < 0.5 else -1.0
        self.light = side * rng.uniform(0.3, 1.0)
        self.toward = np.array([self.light, -1.0]) / np.sqrt(1 + self.light**2)
        warmth = rng.normal(0, 0.022)
        self.temperature = np.array([1 + warmth, 1.0, 1 - 1.2 * warmth]) * rng.uniform(0.94, 1.05)
        turn = rng.normal(0, 0.045) if full else rng.uniform(-0.28, 0.28)
        if combo.product == "curtain" and not full:
            turn *= 0.25  # a rod that hangs askew looks broken
        zoom = rng.uniform(1.0, 1.1) if full else rng.uniform(0.75, 0.9)
        flip = -1.0 if rng.random() < 0.5 else 1.0
        c, s = np.cos(turn), np.sin(turn)
        squeeze = np.array([flip * rng.uniform(0.95, 1.0), rng.uniform(0.97, 1.0)])
        self.pose = np.array([[c, -s], [s, c]]) * squeeze * zoom * SIZE
        shift = 0 if full else 0.05
        self.centre = SIZE * (1 + rng.uniform(-shift, shift, 2)) + (0, -4)
        self.backdrop = self._pick_backdrop(combo)
        # Stripes may run any way; other patterns hang nearly straight.
        angle = rng.normal(0, 0.07)
        if combo.pattern == "striped":
            angle += (0.0, 0.5, 0.25, -0.25)[int(rng.integers(4))] * np.pi
        grain = rng.uniform(0.44, 0.58) * (1.15 if full else 1.0)
        c, s = np.cos(angle), np.sin(angle)
        self.weave = np.array([[c, -s], [s, c]]) * grain
        self.offset = rng.uniform(0, 1, 2)

    def _pick_backdrop(self, combo: Combo) -> Array:
        choice = int(self.rng.integers(len(_BACKDROPS)))
        if choice in _DARK and combo.colour in ("black", "brown", "purple", "blue"):
            choice -= 5
        return np.array(_BACKDROPS[choice]) * self.rng.uniform(0.97, 1.02)


@lru_cache(maxsize=VARIANTS * len(PATTERNS))
def _tile(seed: int, pattern: str, variant: int) -> Picture:
    return make_tile(pattern, np.random.default_rng([seed, 3, PATTERNS.index(pattern), variant]))


def _jittered(palette: Palette, rng: np.random.Generator) -> Palette:
    """A small change of tint and lightness, well within what a person calls the same colour."""
    tint, light = rng.normal(0, 5, 3), rng.normal(0, 5)
    tint *= min(1.0, sum(palette.main) / 270)  # the same step tints a dark tone far more

    def move(tone: RGB) -> RGB:
        moved = np.clip(np.array(tone) + np.clip(tint, -9, 9) + np.clip(light, -9, 9), 0, 255)
        return int(moved[0]), int(moved[1]), int(moved[2])

    return Palette(move(palette.main), palette.pale, move(palette.deep))


def _background(look: Look, scenery: bool) -> Pixels:
    rng = look.rng
    axis = np.linspace(-1, 1, CANVAS, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    shade = 1 + np.float32(0.05 * look.light) * x - np.float32(0.05) * y
    picture = shade[:, :, None] * look.backdrop.astype(np.float32)
    kind = rng.random()
    if scenery or kind < 0.45:
        return picture
    if kind < 0.8:
        # A table edge behind the product.
        horizon = int(CANVAS * rng.uniform(0.5, 0.72))
        fall = np.linspace(0.86, 1.0, CANVAS - horizon, dtype=np.float32)[:, None, None]
        table = _BACKDROPS[int(rng.integers(8))]
        picture[horizon:] = fall * np.array(table, np.float32) * shade[horizon:, :, None]
        return picture
    # A pool of light on the wall.
    centre = rng.uniform(-0.4, 0.4, 2).astype(np.float32)
    distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    glow = np.float32(1.07) - np.float32(0.13) * np.minimum(distance, 2)
    return np.asarray(picture * glow[:, :, None], np.float32)


def _mask(part: Part, look: Look) -> tuple[Picture, tuple[slice, slice]]:
    """A part's coverage, and the window of the canvas that holds it."""
    fixed = [
        np.rint((outline @ look.pose.T + look.centre) * 16).astype(np.int32)
        for outline in part.outlines
    ]
    spread = np.concatenate(fixed) / 16
    margin = 3
    x0, y0 = (int(v) for v in np.clip(np.floor(spread.min(axis=0)) - margin, 0, CANVAS - 1))
    x1, y1 = (int(v) for v in np.clip(np.ceil(spread.max(axis=0)) + margin, 1, CANVAS))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    corner = np.array([x0, y0], np.int32) * 16
    cv2.fillPoly(mask, [outline - corner for outline in fixed], 255, cv2.LINE_AA, 4)
    return mask, (slice(y0, y1), slice(x0, x1))


def _surface(part: Part, look: Look, window: tuple[slice, slice]) -> tuple[Array, Array]:
    """Product coordinates of the pixels in a window."""
    rows, columns = window
    inverse = np.linalg.inv(look.pose)
    px = np.arange(columns.start, columns.stop)[None, :] + 0.5 - look.centre[0]
    py = np.arange(rows.start, rows.stop)[:, None] + 0.5 - look.centre[1]
    return inverse[0, 0] * px + inverse[0, 1] * py, inverse[1, 0] * px + inverse[1, 1] * py


def _pattern(part: Part, look: Look, x: Array, y: Array) -> Pixels:
    u, v = part.warp(x, y) if part.warp else (x, y)
    s = look.weave[0, 0] * u + look.weave[0, 1] * v + look.offset[0]
    t = look.weave[1, 0] * u + look.weave[1, 1] * v + look.offset[1]
    s, t = s - np.floor(s), t - np.floor(t)
    layers = cv2.remap(
        look.tile,
        (s * TILE - 0.5).astype(np.float32),
        (t * TILE - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    share = layers.astype(np.float32) * np.float32(1 / 255)
    ground, second, third = look.tones.astype(np.float32)
    colour = ground + share[:, :, :1] * (second - ground)
    return np.asarray(colour + share[:, :, 1:] * (third - colour), np.float32)


def _blur(mask: Picture, radius: float) -> Picture:
    side = 2 * max(1, int(radius)) + 1
    once = cv2.blur(mask, (side, side), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.blur(once, (side, side), borderType=cv2.BORDER_CONSTANT), np.uint8)


def _shifted(mask: Picture, dx: int, dy: int) -> Picture:
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if abs(dx) >= width or abs(dy) >= height:
        return moved
    moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = mask[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return moved


def _lighting(part: Part, look: Look, mask: Picture, x: Array, y: Array) -> Pixels:
    """Brightness of each pixel: the part's own shading and its rounded edge."""
    light = np.ones(mask.shape, np.float32)
    if part.shade:
        light = part.shade(x, y, look.light * np.sign(look.pose[0, 0])).astype(np.float32)
        light = np.broadcast_to(light, mask.shape)
    if part.relief:
        radius = part.bevel * SIZE
        soft = _blur(mask, radius * 0.7)
        dx, dy = (int(v) for v in np.rint(look.toward * max(1.0, radius * 0.6)))
        lit = _shifted(soft, dx, dy).astype(np.int16) - _shifted(soft, -dx, -dy)
        light = light * (1 + np.float32(part.relief / 255 * 0.8) * lit.astype(np.float32))
    return np.asarray(light, np.float32)


def _paint(picture: Pixels, part: Part, look: Look) -> None:
    mask, window = _mask(part, look)
    x, y = _surface(part, look, window)
    if part.paint == "pattern":
        colour = _pattern(part, look, x, y)
    else:
        named = getattr(look.palette, part.paint) if isinstance(part.paint, str) else part.paint
        colour = np.broadcast_to(np.array(named, np.float32), (*mask.shape, 3))
    colour = colour * _lighting(part, look, mask, x, y)[:, :, None]
    if part.gloss:
        streak = (x - 0.34 * look.light) * look.toward[0] - 0.5 * y * look.toward[1] - 0.28
        shine = np.clip(1 - 30 * streak * streak, 0, 1) ** 2
        colour = colour + (np.float32(part.gloss) * shine.astype(np.float32))[:, :, None] * (
            np.float32(255) - colour
        )
    cover = mask.astype(np.float32)[:, :, None] * np.float32(1 / 255)
    picture[window] += cover * (colour - picture[window])


def _cast(picture: Pixels, parts: list[Part], look: Look) -> None:
    """Draw a soft shadow of every part that casts one, away from the light."""
    shadow = np.zeros((CANVAS, CANVAS), np.uint8)
    for part in parts:
        if part.casts:
            mask, window = _mask(part, look)
            np.maximum(shadow[window], mask, out=shadow[window])
    far = look.rng.uniform(7, 16)
    dx, dy = (int(v) for v in np.rint(-look.toward * far))
    soft = _blur(_shifted(shadow, dx, dy), look.rng.uniform(6, 11))
    near = _blur(_shifted(shadow, dx // 4, dy // 4), 3)
    depth = np.float32(look.rng.uniform(0.22, 0.4) / 255)
    fall = 1 - depth * soft.astype(np.float32) - np.float32(0.14 / 255) * near.astype(np.float32)
    picture *= fall[:, :, None]


def render(combo: Combo, seed: int, key: tuple[int, int], theme: str | None = None) -> Picture:
    """Draw a product, or a theme with its pattern and colour, as (160, 160, 3) uint8.

    `key` names the picture within the seed; the same key gives the same picture.
    """
    rng = np.random.default_rng([seed, *key])
    scenery = theme in SWATCHES or theme == "hills"
    look = Look(combo, rng, seed, full=scenery)
    maker = {**SWATCHES, **SCENES}[theme] if theme else PRODUCTS[combo.product]
    parts = maker(rng)
    picture = _background(look, scenery or theme == "balloon")
    _cast(picture, parts, look)
    for part in parts:
        _paint(picture, part, look)
    picture *= look.temperature.astype(np.float32)
    small = cv2.resize(
        np.rint(np.clip(picture, 0, 255)).astype(np.uint8),
        (SIZE, SIZE),
        interpolation=cv2.INTER_AREA,
    )
    return np.asarray(small, np.uint8)


def encoded(picture: Picture) -> bytes:
    """The picture as a WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()
