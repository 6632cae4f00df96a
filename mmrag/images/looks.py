"""Pictures that can be read, and are probably not what their owner thinks."""

from __future__ import annotations

from PIL import Image

# All values of each colour within so many of 256 levels: one colour, or nearly so.
FLAT_LEVELS = 16
# A shorter side in pixels.
TINY_SIDE = 16
LOOKS = {
    "flat": "nearly one colour all over",
    "tiny": f"less than {TINY_SIDE} pixels wide or high",
}


def looks(image: Image.Image) -> tuple[str, ...]:
    """The ones of `LOOKS` that an RGB picture has."""
    flat = all(high - low < FLAT_LEVELS for low, high in image.getextrema())  # type: ignore[misc]
    tiny = min(image.size) < TINY_SIDE
    return tuple(name for name, found in (("flat", flat), ("tiny", tiny)) if found)
