"""Outlines in the unit square [-1, 1]², y downwards, and the parts a picture is built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eval_sets.make_catalogue.attributes import RGB

Array = npt.NDArray[np.float64]
Paint = Literal["pattern", "main", "pale", "deep"] | RGB
Warp = Callable[[Array, Array], tuple[Array, Array]]
Shade = Callable[[Array, Array, float], Array]


@dataclass(frozen=True)
class Part:
    """One painted area.

    `outlines` are filled even-odd, so a second one inside the first is a hole. `warp` bends the
    pattern; `shade(x, y, light)` multiplies the paint, where light is -1 for light from the
    left and 1 for light from the right. `relief` is the strength of the rounded edge and `bevel`
    its width in units; `gloss` adds a highlight; `casts` says whether it throws a shadow.
    """

    outlines: Sequence[Array]
    paint: Paint
    warp: Warp | None = None
    shade: Shade | None = None
    relief: float = 0.3
    bevel: float = 0.08
    gloss: float = 0.0
    casts: bool = True


def points(*xy: tuple[float, float]) -> Array:
    """Vertices as an (n, 2) array."""
    return np.array(xy, dtype=np.float64)


def ellipse(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 1.0
) -> Array:
    """An ellipse, or the arc between two fractions of a turn (0 is right, 0.25 is down)."""
    angle = 2 * np.pi * np.linspace(start, end, 49)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> Array:
    """A rectangle with rounded corners."""
    corners = [
        (x1 - radius, y1 - radius, 0.0),
        (x0 + radius, y1 - radius, 0.25),
        (x0 + radius, y0 + radius, 0.5),
        (x1 - radius, y0 + radius, 0.75),
    ]
    return np.concatenate([ellipse(x, y, radius, radius, t, t + 0.25)[::6] for x, y, t in corners])


def smooth(corners: Array, rounds: int = 3, closed: bool = True) -> Array:
    """Chaikin's corner cutting: a smooth curve near the given corners."""
    curve = corners
    for _ in range(rounds):
        following = np.roll(curve, -1, axis=0) if closed else curve[1:]
        before = curve if closed else curve[:-1]
        cut = np.stack([0.75 * before + 0.25 * following, 0.25 * before + 0.75 * following], axis=1)
        cut = cut.reshape(-1, 2)
        curve = cut if closed else np.concatenate([curve[:1], cut, curve[-1:]])
    return curve


def stroke(line: Array, width: float) -> Array:
    """The outline of a line of the given width."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.sqrt((along * along).sum(axis=1, keepdims=True)), 1e-9)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) * (width / 2)
    return np.concatenate([line + normal, (line - normal)[::-1]])


def mirrored(half: Array) -> Array:
    """A closed outline from its right half, listed from top to bottom."""
    return np.concatenate([half, (half * (-1, 1))[::-1]])


def cylinder(radius: float, sag: float = 0.0) -> Warp:
    """The pattern wrapped round an upright cylinder seen slightly from above."""

    def warp(x: Array, y: Array) -> tuple[Array, Array]:
        across = np.clip(x / radius, -0.99, 0.99)
        return radius * np.arcsin(across), y - sag * np.sqrt(1 - across * across)

    return warp


def bulge(amount: float) -> Warp:
    """The pattern stretched in the middle, as on a stuffed thing."""

    def warp(x: Array, y: Array) -> tuple[Array, Array]:
        factor = 1 + amount * (x * x + y * y)
        return x * factor, y * factor

    return warp


def round_shade(radius: float, depth: float = 0.45) -> Shade:
    """Shading of an upright cylinder lit from the side."""

    def shade(x: Array, y: Array, light: float) -> Array:
        across = np.clip(x / radius - 0.3 * light, -1.2, 1.2)
        return 1.08 - depth * across * across

    return shade


def folds(count: float, depth: float, slant: float = 0.0, phase: float = 0.0) -> Shade:
    """Soft folds that run down the cloth."""

    def shade(x: Array, y: Array, light: float) -> Array:
        along = np.pi * count * (x + slant * y) + phase
        return 1 + depth * (np.sin(along + 0.6 * light) + 0.4 * np.sin(1.7 * along + 1.0 + y))

    return shade
