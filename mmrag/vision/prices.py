"""Token prices, and how pictures become tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_MILLION = 1_000_000
_LARGEST = 1_000_000_000
_TILE = 512
_HUGE = 1_000_000


@dataclass(frozen=True)
class ImageRule:
    """How a model turns a picture into tokens; pictures beyond its limits are scaled down.

    There are three ways (https://developers.openai.com/api/docs/guides/images-vision describes the
    first two): `base` tokens plus `tile` tokens per 512 x 512 pixels, after the picture is made to
    fit into 2,048 x 2,048 and its shorter side into 768; `patch` tokens per patch of `side` pixels,
    at most `most` patches (`most_auto` with detail "auto"); or `flat` tokens whatever the size.
    """

    base: float = 85
    tile: float = 170
    patch: float | None = None
    side: int = 32
    most: float | None = None
    most_auto: float | None = None
    flat: float | None = None

    def seen(self, width: int, height: int, detail: str = "high") -> tuple[int, int]:
        """The size in pixels that the model looks at, not larger than the picture's own."""
        fit = 1.0
        if detail == "low":
            fit = min(1.0, _TILE / max(width, height))
        elif self.patch is not None:
            most = self._most(detail)
            if most is not None and self._patches(width, height) > most:
                fit = math.sqrt(most * self.side**2 / (width * height))
                # Both sides are rounded down to whole patches.
                columns = max(1, math.floor(fit * width / self.side))
                rows = max(1, math.floor(fit * height / self.side))
                fit = min(columns * self.side / width, rows * self.side / height)
        elif self.flat is None:
            fit = min(1.0, 2048 / max(width, height))
            fit *= min(1.0, 768 / (fit * min(width, height)))
        return max(1, math.ceil(fit * width)), max(1, math.ceil(fit * height))

    def scales(self, detail: str = "high") -> bool:
        """Whether pictures beyond some size are scaled down."""
        return self.seen(_HUGE, _HUGE, detail) != (_HUGE, _HUGE)

    def tokens(self, width: int, height: int, detail: str = "high") -> int:
        """Tokens of a picture of this size in pixels."""
        if self.flat is not None:
            return math.ceil(self.flat)
        if self.patch is None:
            if detail == "low":
                return math.ceil(self.base)
            width, height = self.seen(width, height, detail)
            tiles = math.ceil(width / _TILE) * math.ceil(height / _TILE)
            return math.ceil(self.base + self.tile * tiles)
        most = self._most(detail)
        if detail == "low":
            width, height = self.seen(width, height, detail)
        patches = self._patches(width, height)
        return math.ceil(self.patch * (patches if most is None else min(patches, most)))

    def _patches(self, width: int, height: int) -> int:
        return math.ceil(width / self.side) * math.ceil(height / self.side)

    def _most(self, detail: str) -> float | None:
        return self.most_auto if detail == "auto" and self.most_auto is not None else self.most


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, and how pictures become tokens.

    Prompts of more than `long_over` tokens cost `long_input` and `long_output` times as much.
    `batch` is the share of it that the Batch API charges, None if unknown.
    """

    input: float
    output: float
    cached_input: float
    image: ImageRule = ImageRule()
    long_over: float = math.inf
    long_input: float = 1.0
    long_output: float = 1.0
    batch: float | None = None

    @property
    def batch_share(self) -> float:
        """The share of the price to count for a batch: all of it if unknown."""
        return 1.0 if self.batch is None else self.batch

    def cost(self, prompt: int, completion: int, cached: int = 0) -> float:
        """US dollars for token counts; `cached` prompt tokens are part of `prompt`."""
        long = prompt > self.long_over
        read = (prompt - cached) * self.input + cached * self.cached_input
        written = completion * self.output
        if long:
            read, written = read * self.long_input, written * self.long_output
        return (read + written) / _MILLION

    def image_tokens(self, width: int, height: int, detail: str = "high") -> int:
        """Tokens of a picture of this size in pixels."""
        return self.image.tokens(width, height, detail)


def read_image_rule(record: dict[str, Any]) -> ImageRule:
    """The `image` of a line of the model table.

    Raises:
        ValueError, TypeError: an invalid number.
    """
    image = record.get("image", {})
    numbers = {name: float(value) for name, value in image.items() if name != "side"}
    rule = ImageRule(side=int(image.get("side", 32)), **numbers)
    _check(rule.base, rule.tile, rule.patch, rule.flat, rule.most, rule.most_auto)
    if not 1 <= rule.side <= _LARGEST:
        raise ValueError("a patch has at least one pixel")
    return rule


def read_price(record: dict[str, Any]) -> Price | None:
    """The price in a line of the model table; None if it has none.

    Raises:
        ValueError, TypeError, LookupError: an invalid number.
    """
    if "input" not in record and "output" not in record:
        return None
    long = record.get("long", {})
    batch = record.get("batch")
    price = Price(
        input=float(record["input"]),
        output=float(record["output"]),
        cached_input=float(record.get("cached_input", record["input"])),
        image=read_image_rule(record),
        long_over=float(long.get("over", math.inf)),
        long_input=float(long.get("input", 1.0)),
        long_output=float(long.get("output", 1.0)),
        batch=None if batch is None else float(batch),
    )
    _check(price.input, price.output, price.cached_input, price.batch)
    _check(price.long_input, price.long_output)
    if not price.long_over >= 0:
        raise ValueError("a long prompt has a number of tokens")
    return price


def _check(*numbers: float | None) -> None:
    if not all(value is None or 0 <= value <= _LARGEST for value in numbers):
        raise ValueError(f"a price and a count of tokens must be 0 to {_LARGEST:,}")
