"""How the test server looks: it decodes pictures, finds the cells of a grid, and names colours."""

from __future__ import annotations

import base64
import colorsys
import io
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Colour = npt.NDArray[np.float64]

GAP = 6
BLUE, GREY = (30, 80, 220), (235, 235, 235)
# Upper ends of hues in degrees.
HUES = [(15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (195, "cyan"), (255, "blue")]
HUES += [(300, "purple"), (345, "pink"), (361, "red")]
# Where a description says what a question is about.
VALUES = [("cost", r"\$\d+\.\d\d"), ("made of", r"(?:[Mm]ade of|Material:) ([a-z ]+)")]
VALUES += [("size is", r"[Ss]ize (?:EU )?\w+"), ("", r"\d[\d x]* (?:cm|ml|litres|inch|pages)")]


class CannotSee(ValueError):
    """The request does not hold what it should."""


@dataclass
class Seen:
    """What a request holds: candidates by the number that stands on or before them."""

    texts: list[str] = field(default_factory=list)
    instruction: str | None = None
    question: str | None = None
    descriptions: list[str] = field(default_factory=list)
    query: Pixels | None = None
    target: Pixels | None = None
    candidates: dict[int, Colour] = field(default_factory=dict)
    pictures: list[Pixels] = field(default_factory=list)

    def tokens(self, model: str) -> int:
        """Four characters a token, and OpenAI's patches (GPT-6) or tiles for pictures."""
        count = _patches if model.startswith("gpt-6") else _tiles
        sizes = [(picture.shape[1], picture.shape[0]) for picture in self.pictures]
        return len("".join(self.texts)) // 4 + sum(count(*size) for size in sizes)


def _tiles(width: int, height: int) -> int:
    fit = min(1.0, 2048 / max(height, width))
    fit *= min(1.0, 768 / (fit * min(height, width)))
    return 85 + 170 * math.ceil(fit * width / 512) * math.ceil(fit * height / 512)


def _patches(width: int, height: int) -> int:
    return math.ceil(1.2 * min(2500, math.ceil(width / 32) * math.ceil(height / 32)))


def look(messages: list[dict[str, Any]]) -> Seen:
    """Take a request apart."""
    seen = Seen()
    before = ""
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                before = part["text"]
                seen.texts.append(before)
                if message["role"] == "user":
                    _read_text(before, seen)
                continue
            pixels = _decode(part["image_url"]["url"])
            seen.pictures.append(pixels)
            if numbered := re.match(r"(?:Candidate|Neighbour)(?: (\d+))?:", before):
                number = int(numbered.group(1) or 0)
                if number in seen.candidates:
                    raise CannotSee(f"two candidates are number {number}")
                seen.candidates[number] = colour(pixels)
            elif before.startswith(("Query picture", "First picture")):
                seen.query = pixels
            elif before.startswith("Second picture"):
                seen.target = pixels
            elif seen.question is None and not before.startswith(("Match", "The person")):
                n = int(re.findall(r"(\d+) candidates", seen.texts[0])[0])
                seen.query, seen.candidates = read_grid(pixels, n)
    return seen


def rank(seen: Seen) -> list[int]:
    """Candidates by likeness of colour to the query, or without one the brightest first."""
    if not seen.candidates:
        raise CannotSee("no candidates")
    if seen.query is None:
        return sorted(seen.candidates, key=lambda i: (-float(seen.candidates[i].sum()), i))
    wanted = colour(seen.query)
    return sorted(
        seen.candidates, key=lambda i: (float(np.linalg.norm(seen.candidates[i] - wanted)), i)
    )


def grade(seen: Seen) -> int:
    """Of the one candidate: 2 near the query's colour, or of the colour that the instruction
    names; 1 not far from it; else 0."""
    (shown,) = seen.candidates.values()
    if name(shown) in (seen.instruction or "").lower().split():
        return 2
    if seen.query is None:
        return 0
    away = float(np.linalg.norm(shown - colour(seen.query)))
    return 2 if away < 40 else 1 if away < 120 else 0


def worded(seen: Seen) -> dict[str, Any]:
    """An instruction that names the second picture's colour; neighbours of that colour fit."""
    if seen.query is None or seen.target is None:
        raise CannotSee("two pictures are needed")
    wanted = name(colour(seen.target))
    if wanted == name(colour(seen.query)):
        return {"instruction": "", "paraphrases": [], "fitting": []}
    fitting = [number for number, one in seen.candidates.items() if name(one) == wanted]
    return {
        "instruction": f"the same in {wanted}",
        "paraphrases": [f"but {wanted}", f"a {wanted} one"],
        "fitting": fitting,
    }


def answer(seen: Seen) -> str:
    """Of a question about colour the main colour, else what the descriptions say."""
    assert seen.question is not None
    if "colour" in seen.question.lower() and seen.pictures:
        return name(colour(seen.pictures[0]))
    described = " ".join(seen.descriptions)
    if "nothing but the value" in seen.texts[0]:
        asked = seen.question.lower()
        wanted = next(pattern for words, pattern in VALUES if words in asked)
        found = re.search(wanted, described)
        return found.group(found.lastindex or 0).strip() if found else "unknown"
    return described or "I cannot tell."


def colour(pixels: Pixels) -> Colour:
    """The mean colour in the middle, without the grey that fills up a cell."""
    height, width = pixels.shape[:2]
    middle = pixels[height // 4 : -height // 4, width // 4 : -width // 4].reshape(-1, 3)
    picture = middle[np.abs(middle.astype(int) - GREY).max(1) > 12]
    return np.asarray(picture.mean(0) if len(picture) else np.array(GREY, float))


def name(of: Colour) -> str:
    """What people call it."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(channel) / 255 for channel in of))
    if value < 0.12:
        return "black"
    if saturation < 0.2:
        return "white" if value > 0.85 else "grey"
    named = next(word for end, word in HUES if 360 * hue < end)
    return "brown" if named == "orange" and value < 0.65 else named


def read_grid(pixels: Pixels, n: int) -> tuple[Pixels | None, dict[int, Colour]]:
    """The query's picture and the candidates' colours by the number that is drawn on them."""
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    size = (pixels.shape[0] + GAP) // rows - GAP
    columns = (pixels.shape[1] + GAP) // (size + GAP)
    if pixels.shape[:2] != (rows * (size + GAP) - GAP, columns * (size + GAP) - GAP):
        raise CannotSee(f"{pixels.shape} is no grid")
    query = None
    first = 0
    if np.abs(pixels[3, :size].astype(int) - BLUE).max(1).mean() < 40:
        query = pixels[20 : size - 45, 20 : size - 20]
        first = 1
    candidates: dict[int, Colour] = {}
    for row in range(rows):
        for column in range(first, columns):
            y, x = row * (size + GAP), column * (size + GAP)
            cell = pixels[y : y + size, x : x + size]
            if cell.min() > 245:
                continue
            number = read_number(cell)
            if number in candidates:
                raise CannotSee(f"two cells are number {number}")
            candidates[number] = colour(cell)
    return query, candidates


def read_number(cell: Pixels) -> int:
    """The red number on the white plate in a cell's upper left corner."""
    agreement = {number: _agreement(cell, number) for number in range(25)}
    two_digits = max(range(10, 25), key=lambda n: agreement[n])
    best = max(range(10), key=lambda n: agreement[n])
    # A first digit alone agrees as well; how well depends on how OpenCV's version draws.
    if agreement[two_digits] > max(0.6, 0.8 * agreement[best]):
        return two_digits
    if agreement[best] < 0.5:
        raise CannotSee("a cell has no number")
    return best


def _agreement(cell: Pixels, number: int) -> float:
    """Intersection over union of the red pixels on the plate with those of a drawn number."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, cell.shape[0] / 250
    (width, height), _ = cv2.getTextSize(str(number), font, scale, 2)
    plate = np.full((height + 14, width + 14, 3), 255, np.uint8)
    cv2.putText(plate, str(number), (7, height + 7), font, scale, (220, 20, 20), 2, cv2.LINE_AA)
    here, drawn = _red(cell[: plate.shape[0], : plate.shape[1]]), _red(plate)
    return float((here & drawn).sum() / max(1, (here | drawn).sum()))


def _red(pixels: Pixels) -> npt.NDArray[np.bool_]:
    r, g, b = (pixels[..., i].astype(int) for i in range(3))
    return (r > 150) & (g < 130) & (b < 130)


def _decode(url: str) -> Pixels:
    head, _, encoded = url.partition(",")
    if head != "data:image/jpeg;base64":
        raise CannotSee(f"a picture is sent as {head[:40]!r}")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))))


def _read_text(text: str, seen: Seen) -> None:
    for line in text.split("\n"):
        quoted = re.findall(r"<data>(.*?)</data>", line)
        values = [json.loads(value) for value in quoted]
        if line.startswith("Instruction: "):
            seen.instruction = values[0]
        elif line.startswith("Question: "):
            seen.question = values[0]
        elif re.match(r"Match |Candidate |Description |The person's text", line):
            seen.descriptions += values
