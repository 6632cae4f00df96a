"""The three attributes of a picture, their palettes, and which combinations are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product as cartesian
from typing import NamedTuple

RGB = tuple[int, int, int]

PRODUCTS = (
    "phone case",
    "mug",
    "T-shirt",
    "tote bag",
    "cushion",
    "notebook",
    "umbrella",
    "cap",
    "lamp",
    "plate",
    "backpack",
    "sneaker",
    "scarf",
    "curtain",
)
PATTERNS = (
    "plain",
    "striped",
    "polka dot",
    "leopard",
    "zebra",
    "tartan",
    "floral",
    "star",
    "checkerboard",
    "zigzag",
    "camouflage",
    "wavy",
    "heart",
    "houndstooth",
    "marble",
    "honeycomb",
)


@dataclass(frozen=True)
class Palette:
    """Tones of one colour: `main` names it, `pale` and `deep` are its ground and its accent."""

    main: RGB
    pale: RGB
    deep: RGB


PALETTES = {
    "red": Palette((204, 32, 40), (253, 240, 236), (92, 6, 18)),
    "orange": Palette((244, 124, 18), (255, 243, 228), (150, 60, 4)),
    "yellow": Palette((247, 203, 20), (255, 253, 236), (88, 74, 22)),
    "green": Palette((42, 142, 58), (238, 247, 232), (8, 60, 26)),
    "turquoise": Palette((22, 178, 182), (231, 249, 248), (4, 78, 88)),
    "blue": Palette((34, 82, 196), (234, 240, 252), (10, 24, 92)),
    "purple": Palette((122, 52, 166), (244, 236, 250), (52, 14, 84)),
    "pink": Palette((244, 126, 178), (255, 241, 247), (156, 26, 92)),
    "brown": Palette((124, 74, 40), (247, 238, 226), (52, 26, 12)),
    "black": Palette((34, 34, 38), (246, 245, 243), (12, 12, 14)),
}
COLOURS = tuple(PALETTES)


class Combo(NamedTuple):
    """One product in one pattern and one colour."""

    product: str
    pattern: str
    colour: str


ALL_COMBOS = tuple(Combo(*names) for names in cartesian(PRODUCTS, PATTERNS, COLOURS))


def is_seen(combo: Combo) -> bool:
    """Whether training may use the combination.

    About one in five is held out. The choice depends on the names alone, so that it is the same
    for every seed and stays the same when attributes are added.
    """
    digest = hashlib.sha256("|".join(combo).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 5 != 0
