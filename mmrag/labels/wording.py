"""The prompt by which a vision model words a drafted query, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmrag.errors import ImageError
from mmrag.images.unreadable import by_words
from mmrag.types import GalleryImage
from mmrag.vision.prompt import DATA_RULE, Picture, Prompt, data
from mmrag.vision.reply import json_documents

MAX_TOKENS, SIDE = 500, 512
_NEIGHBOUR_SIDE = 256
_LONGEST, _PARAPHRASES = 500, 4
SCHEMA = {
    "type": "object",
    "properties": {
        "instruction": {"type": "string"},
        "paraphrases": {"type": "array", "items": {"type": "string"}},
        "fitting": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["instruction", "paraphrases", "fitting"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class NamedPair:
    """Two pictures, what a retriever is likely to mistake for the second, and their distance."""

    source: GalleryImage
    target: GalleryImage
    neighbours: tuple[GalleryImage, ...]
    band: int


@dataclass(frozen=True)
class Worded:
    """An instruction, "" if there is none; `fitting` are numbers of neighbours, from 1."""

    instruction: str
    paraphrases: tuple[str, ...]
    fitting: frozenset[int]


def wording_prompt(pair: NamedPair, task: str, form: str) -> Prompt:
    """Make a prompt that shows both pictures and the neighbours.

    Raises:
        ImageError: one of the two cannot be read; an unreadable neighbour is only named as such.
    """
    parts: list[str | Picture] = []
    for name, image in (("First picture", pair.source), ("Second picture", pair.target)):
        parts += [_line(name, image), Picture.read(image.path, SIDE)]
    for number, image in enumerate(pair.neighbours, start=1):
        line = _line(f"Neighbour {number}", image)
        try:
            parts += [line, Picture.read(image.path, _NEIGHBOUR_SIDE)]
        except ImageError:
            parts.append(by_words(line))
    return Prompt("\n\n".join([task, DATA_RULE, form]), tuple(parts), MAX_TOKENS, SCHEMA)


def read_wording(text: str) -> Worded | None:
    """Read an answer; None if it cannot be read."""
    found = json_documents(text[:20_000], lambda one: isinstance(one.get("instruction"), str))
    if not found:
        return None
    last = found[-1]
    instruction = _plain(last["instruction"])
    paraphrases = dict.fromkeys(_plain(one) for one in _list(last.get("paraphrases")))
    kept = [one for one in paraphrases if one and one != instruction][:_PARAPHRASES]
    fitting = frozenset(one for one in _list(last.get("fitting")) if type(one) is int)
    return Worded(instruction, tuple(kept), fitting)


def _line(name: str, image: GalleryImage) -> str:
    return f"{name}: {data(image.text)}" if image.text else f"{name}:"


def _plain(text: object) -> str:
    return " ".join(text.split())[:_LONGEST] if isinstance(text, str) else ""


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
