"""The pictures in the gallery, the queries, and which pictures are right for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval_sets.make_catalogue.attributes import (
    ALL_COMBOS,
    COLOURS,
    PATTERNS,
    PRODUCTS,
    Combo,
    is_seen,
)
from eval_sets.make_catalogue.facts import describe, facts, question
from eval_sets.make_catalogue.themes import SCENES, SWATCHES
from eval_sets.make_catalogue.variety import KEPT, varied
from eval_sets.make_catalogue.wording import NOUN_WORDS, texts

# Shares of a query set; the first four categories are composed queries.
SHARES = {
    "theme": 0.22,
    "colour": 0.19,
    "pattern": 0.19,
    "product": 0.18,
    "text": 0.13,
    "image": 0.09,
}
COMPOSED = ("theme", "colour", "pattern", "product")
TEXT_KINDS = ("full", "product+pattern", "product+colour", "prefer")
NEGATIVES = 5


@dataclass(frozen=True)
class Item:
    """One picture of the gallery."""

    number: int
    combo: Combo
    known: dict[str, Any]
    text: str

    @property
    def image_id(self) -> str:
        return f"item-{self.number:05d}"


@dataclass
class Asked:
    """One query, what its picture shows, and its judgments by gallery number."""

    number: int
    category: str
    target: Combo
    text: str | None
    shows: Combo | None = None
    theme: str | None = None
    kind: str | None = None
    paraphrases: list[str] = field(default_factory=list)
    question: str | None = None
    answers: list[str] = field(default_factory=list)
    grades: dict[int, int] = field(default_factory=dict)

    @property
    def query_id(self) -> str:
        return f"{self.category}-{self.number:05d}"


def make_gallery(seed: int, images: int, split: str) -> list[Item]:
    """The gallery: about 1.3 pictures per combination to ship, as many as needed to train."""
    rng = np.random.default_rng([seed, 4])
    pool = [combo for combo in ALL_COMBOS if split == "ship" or is_seen(combo)]
    kinds = min(len(pool), max(1, round(images / 1.3)))
    chosen = [pool[int(i)] for i in rng.permutation(len(pool))[:kinds]]
    views = list(chosen)
    while len(views) < images:
        again = rng.permutation(kinds)
        # In a small gallery only some are drawn again, so that most stay unique.
        limit = images - len(views) if images > 2 * kinds else max(1, round(0.22 * kinds))
        views += [chosen[int(i)] for i in again[: min(limit, images - len(views))]]
    order = rng.permutation(len(views))
    items = []
    for number, index in enumerate(order):
        combo = views[int(index)]
        own = np.random.default_rng([seed, 5, number])
        known = facts(combo, own)
        nouns = NOUN_WORDS[combo.pattern]
        text = describe(combo, nouns[int(own.integers(len(nouns)))], known, own)
        items.append(Item(number, combo, known, text))
    return items


class Gallery:
    """Looks up gallery pictures by any of their attributes."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._by: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
        for item in items:
            product, pattern, colour = item.combo
            for key in (
                (product, pattern, colour),
                (product, pattern, None),
                (product, None, colour),
                (None, pattern, colour),
            ):
                self._by[key].append(item.number)

    def find(
        self, product: str | None = None, pattern: str | None = None, colour: str | None = None
    ) -> list[int]:
        """Numbers of the pictures with these attributes; at least two must be given."""
        return self._by.get((product, pattern, colour), [])

    def near(self, combo: Combo) -> list[int]:
        """Pictures that differ from a combination in exactly one attribute."""
        product, pattern, colour = combo
        close = self.find(product, pattern) + self.find(product, colour=colour)
        close = close + self.find(None, pattern, colour)
        return [number for number in close if self.items[number].combo != combo]


def _targets(gallery: Gallery, rng: np.random.Generator, split: str) -> Iterator[Combo]:
    """Combinations to ask for, all about equally often; to ship, a third of them held out."""
    combos = sorted({item.combo for item in gallery.items})
    seen = [combo for combo in combos if is_seen(combo)]
    unseen = [combo for combo in combos if not is_seen(combo)]
    queues: dict[bool, list[Combo]] = {True: [], False: []}
    turn = 0
    while True:
        held_out = bool(unseen) and (not seen or (split == "ship" and turn % 3 == 0))
        pool, queue = (unseen if held_out else seen), queues[held_out]
        if not queue:
            queue.extend(pool[int(i)] for i in rng.permutation(len(pool)))
        yield queue.pop()
        turn += 1


def _source(
    target: Combo, category: str, gallery: Gallery, rng: np.random.Generator, split: str
) -> Combo:
    """The combination in the query picture when one attribute is to change.

    One that the gallery also holds is preferred: its picture is then the hardest wrong answer.
    """
    names = {"colour": COLOURS, "pattern": PATTERNS, "product": PRODUCTS}[category]
    options = [
        target._replace(**{category: name}) for name in names if name != getattr(target, category)
    ]
    options = [combo for combo in options if split == "ship" or is_seen(combo)]
    held = [combo for combo in options if gallery.find(*combo)]
    options = held or options
    return options[int(rng.integers(len(options)))]


def _negatives(asked: Asked, gallery: Gallery, rng: np.random.Generator) -> list[int]:
    """Wrong pictures that share two attributes; the unchanged query item first."""
    right = asked.grades
    unchanged = gallery.find(*asked.shows)[:1] if asked.shows and asked.category != "theme" else []
    close = gallery.near(asked.target)
    wrong = unchanged + [close[int(i)] for i in rng.permutation(len(close))]
    return [number for number in dict.fromkeys(wrong) if number not in right][:NEGATIVES]


def _ask(
    number: int,
    category: str,
    target: Combo,
    gallery: Gallery,
    rng: np.random.Generator,
    split: str,
) -> Asked:
    asked = Asked(number, category, target, None)
    product, pattern, colour = target
    names: dict[str, str | None] = {"product": product, "pattern": pattern, "colour": colour}
    exact = gallery.find(product, pattern, colour)
    asked.grades = dict.fromkeys(exact, 2)
    if category == "theme":
        makers = SWATCHES if rng.random() < 0.4 or pattern == "plain" else SCENES
        asked.theme = list(makers)[int(rng.integers(len(makers)))]
        asked.shows = target
    elif category == "image":
        asked.shows = target
        return asked
    elif category == "text":
        asked.kind = TEXT_KINDS[number % len(TEXT_KINDS)]
        if asked.kind == "product+pattern":
            asked.grades = dict.fromkeys(gallery.find(product, pattern), 2)
        elif asked.kind == "product+colour":
            asked.grades = dict.fromkeys(gallery.find(product, colour=colour), 2)
        elif asked.kind == "prefer":
            asked.grades = {**dict.fromkeys(gallery.find(product, pattern), 1), **asked.grades}
    else:
        asked.shows = _source(target, category, gallery, rng, split)
        if category == "product":
            names = {"product": product}
        else:
            names = {"product": product, category: names[category]}
    wordings = texts(asked.kind or category, names, rng, 1 if split == "ship" else 4)
    asked.text = wordings[0]
    if split == "train":
        asked.paraphrases = wordings[1:]
    elif category in COMPOSED and number % 5 < 2:
        asked.paraphrases = texts(category, names, rng, 3, held_out=True)
    return asked


def _add_variety(asked: Asked, count: int, rng: np.random.Generator) -> None:
    """Further wordings, for training."""
    if asked.text is None:
        return
    names: dict[str, str | None] = asked.target._asdict()
    named = {
        "theme": ("product",),
        "product": ("product",),
        "colour": ("colour",),
        "pattern": ("pattern",),
        "product+pattern": ("product", "pattern"),
        "product+colour": ("product", "colour"),
    }.get(asked.kind or asked.category, tuple(names))
    kept = {"theme": "", "product": "", "text": "none"}.get(asked.category, asked.category)
    for _ in range(count):
        # A change of colour or pattern may also name the product, which stays.
        also = ("product",) if asked.category in KEPT and rng.random() < 0.5 else ()
        asked.paraphrases.append(varied({n: names[n] for n in named + also}, kept, rng))


def make_queries(
    items: Sequence[Item], seed: int, count: int, split: str, variety: int = 0
) -> list[Asked]:
    """Make queries with their judgments, no request twice; `variety` more wordings to train on."""
    gallery = Gallery(items)
    asked_all: list[Asked] = []
    for place, (category, share) in enumerate(SHARES.items()):
        rng = np.random.default_rng([seed, 6, place])
        targets = _targets(gallery, rng, split)
        made: set[tuple[object, ...]] = set()
        wanted = max(1, round(count * share))
        for _ in range(20 * wanted):
            if len(made) == wanted:
                break
            target = next(targets)
            asked = _ask(len(made), category, target, gallery, rng, split)
            same = (asked.shows, asked.theme, asked.kind, asked.text)
            if same in made and split == "ship":
                continue
            made.add(same if split == "ship" else (len(made),))
            if category in COMPOSED and len(asked.grades) == 1 and asked.number % 4 == 1:
                known = items[next(iter(asked.grades))].known
                asked.question, asked.answers = question(target, known, asked.number // 4 % 3)
            for wrong in _negatives(asked, gallery, rng):
                asked.grades[wrong] = 0
            if split == "train":
                _add_variety(asked, variety, np.random.default_rng([seed, 7, place, asked.number]))
            asked_all.append(asked)
    return asked_all
