"""Plots as inline SVG that follows the page's colours; all text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mmrag.metrics.summary import Estimate

_WIDTH, _HEIGHT = 500, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 12, 40


@dataclass(frozen=True)
class Line:
    """A curve over 1, 2, 3 ... with its band; values between 0 and 1."""

    name: str
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def curves(lines: Sequence[Line], across: str, up: str) -> Markup:
    """Draw curves with their 95 % bands over k = 1, 2, 3 ...

    Args:
        lines: of the same length; the first is drawn in front.
        across: what the horizontal axis counts.
        up: what the vertical axis shows.
    """
    n = max(len(line.values) for line in lines)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(k: int) -> float:
        return _LEFT + wide * (k - 1) / max(1, n - 1)

    def y(value: float) -> float:
        return _TOP + high * (1 - value)

    parts = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            _LEFT, _WIDTH - _RIGHT, y(tick), y(tick)
        )
        + Markup('<text class="end" x="{}" y="{:.1f}">{:.0%}</text>').format(
            _LEFT - 8, y(tick) + 4, tick
        )
        for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    ticks = [1, *range(n // 5 if n >= 10 else 1, n + 1, n // 5 if n >= 10 else 1)]
    parts += [
        Markup('<text class="middle" x="{:.1f}" y="{}">{}</text>').format(
            x(k), _HEIGHT - _BOTTOM + 18, k
        )
        for k in dict.fromkeys(ticks)
    ]
    parts.append(
        Markup('<text class="middle" x="{:.1f}" y="{}">{}</text>').format(
            _LEFT + wide / 2, _HEIGHT - 4, across
        )
    )
    for number, line in reversed(list(enumerate(lines))):
        places = range(1, len(line.values) + 1)
        top = [f"{x(k):.1f},{y(v):.1f}" for k, v in zip(places, line.high, strict=True)]
        bottom = [f"{x(k):.1f},{y(v):.1f}" for k, v in zip(places, line.low, strict=True)]
        points = [f"{x(k):.1f},{y(v):.1f}" for k, v in zip(places, line.values, strict=True)]
        parts.append(
            Markup('<polygon class="band s{}" points="{}"/>').format(
                number, " ".join(top + bottom[::-1])
            )
        )
        parts.append(
            Markup('<polyline class="line s{}" points="{}"><title>{}</title></polyline>').format(
                number, " ".join(points), line.name
            )
        )
    return _svg(_WIDTH, _HEIGHT, f"{up} over {across}", Markup().join(parts))


def bars(estimates: Sequence[tuple[str, Estimate]], what: str) -> Markup:
    """Draw horizontal bars from 0 to 1 with 95 % whiskers; the first one stands out.

    Args:
        estimates: label and value.
        what: the metric, for readers who cannot see the plot.
    """
    row, label, right = 30, 110, 96
    wide = _WIDTH - label - right
    height = row * len(estimates) + 8
    parts = []
    for i, (name, estimate) in enumerate(estimates):
        top = i * row + 6
        middle = top + row / 2 - 3
        low, high = (label + wide * value for value in estimate.ci95)
        shown = name if len(name) <= 16 else name[:15] + "…"
        parts.append(
            Markup(
                '<text class="end" x="{}" y="{:.1f}">{}<title>{}</title></text>'
                '<rect class="track" x="{}" y="{}" width="{}" height="{}" rx="3"/>'
                '<rect class="bar s{}" x="{}" y="{}" width="{:.1f}" height="{}" rx="3"/>'
                '<path class="whisker" d="M{:.1f} {:.1f}H{:.1f}M{:.1f} {:.1f}v8M{:.1f} {:.1f}v8"/>'
                '<text x="{}" y="{:.1f}">{:.3f} <tspan class="faint">n={}</tspan></text>'
            ).format(
                label - 10,
                middle + 4,
                shown,
                name,
                label,
                top,
                wide,
                row - 8,
                0 if i == 0 else 1,
                label,
                top,
                wide * estimate.mean,
                row - 8,
                low,
                middle + 1,
                high,
                low,
                middle - 3,
                high,
                middle - 3,
                label + wide + 10,
                middle + 4,
                estimate.mean,
                estimate.queries,
            )
        )
    return _svg(_WIDTH, height, f"{what} by category", Markup().join(parts))


def _svg(width: int, height: int, label: str, content: Markup) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, label, content
    )
