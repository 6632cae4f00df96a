"""What tokens cost, and the most a request can cost before it is sent.

The table is `prices.json` beside this file, or the file that `MMRAG_PRICES` names. A model that is
not in it has no price: its tokens are counted, its cost is unknown.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system.text_files import read_text

TABLE = Path(__file__).parent / "prices.json"
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MILLION = 1_000_000
_LARGEST = 1_000_000_000


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, and how images become tokens.

    `base` and `tile`: so many tokens an image and so many for each tile of 512 x 512 pixels, after
    the shorter side was scaled down to 768. `patch`: so many tokens for each patch of 32 x 32
    pixels, at most 1,536 patches. Both as https://platform.openai.com/docs/guides/images-vision
    describes them.
    """

    input: float
    output: float
    cached_input: float
    base: int = 85
    tile: int = 170
    patch: float | None = None

    def cost(self, prompt: int, completion: int, cached: int = 0) -> float:
        """US dollars for token counts; `cached` prompt tokens are part of `prompt`."""
        fresh = prompt - cached
        return (
            fresh * self.input + cached * self.cached_input + completion * self.output
        ) / _MILLION

    def image_tokens(self, width: int, height: int) -> int:
        """Tokens of an image of this size in pixels, at high detail."""
        if self.patch is not None:
            patches = math.ceil(width / 32) * math.ceil(height / 32)
            return math.ceil(self.patch * min(patches, 1536))
        fit = min(1.0, 2048 / max(width, height))
        fit *= min(1.0, 768 / (fit * min(width, height)))
        return self.base + self.tile * math.ceil(fit * width / 512) * math.ceil(fit * height / 512)


def find_price(model: str) -> Price | None:
    """The price of a model, or None; a dated snapshot costs what its undated name does.

    Raises:
        MmragError: the table that `MMRAG_PRICES` names cannot be used.
    """
    table = _read(config.prices_file() or TABLE)
    return table.get(model) or table.get(_DATE.sub("", model))


def _read(path: Path) -> dict[str, Price]:
    try:
        models = json.loads(read_text(path))["models"]
        return {name: _price(record) for name, record in models.items()}
    except RecursionError:
        raise MmragError(f"The price table {path} is nested too deeply.") from None
    except OSError as error:
        raise MmragError(f"The price table {path} cannot be read: {error.strerror}.") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise MmragError(
            f"The price table {path} is not as {TABLE.name} in {TABLE.parent}: {error!r}."
        ) from error


def _price(record: dict[str, Any]) -> Price:
    image = record.get("image", {})
    patch = image.get("patch")
    price = Price(
        input=float(record["input"]),
        output=float(record["output"]),
        cached_input=float(record.get("cached_input", record["input"])),
        base=int(image.get("base", 85)),
        tile=int(image.get("tile", 170)),
        patch=None if patch is None else float(patch),
    )
    numbers = (price.input, price.output, price.cached_input, price.base, price.tile, price.patch)
    if not all(value is None or 0 <= value <= _LARGEST for value in numbers):
        raise ValueError(f"a price and a count of tokens must be 0 to {_LARGEST:,}")
    return price
