"""Pictures that can be read but are probably not what their owner expects."""

from __future__ import annotations

from PIL import Image

# All values of each channel within this many of 256 levels: one colour, or nearly so.
FLAT_LEVELS = 16
# A shorter side in pixels.
TINY_SIDE = 16
LOOKS = {
    "flat": "nearly one colour all over",
    "tiny": f"less than {TINY_SIDE} pixels wide or high",
}


def looks(image: Image.Image) -> tuple[str, ...]:
    """The members of `LOOKS` that apply to an RGB picture."""
    flat = all(high - low < FLAT_LEVELS for low, high in image.getextrema())  # type: ignore[misc]
    tiny = min(image.size) < TINY_SIDE
    return tuple(name for name, found in (("flat", flat), ("tiny", tiny)) if found)
