"""How products are named and asked for. No held-out wording is ever among those to train on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping

# What a product is also called.
ALSO = {
    "Aubergine": "eggplant",
    "Zucchini": "courgette",
    "Satsumas": "mandarins",
    "Red Beet": "beetroot",
    "Yellow Onion": "onions",
    "Carrots": "carrot",
    "Anjou": "Anjou pears",
    "Conference": "Conference pears",
    "Kaiser": "Kaiser pears",
    "Golden Delicious": "Golden Delicious apples",
    "Granny Smith": "Granny Smith apples",
    "Pink Lady": "Pink Lady apples",
    "Red Delicious": "Red Delicious apples",
    "Royal Gala": "Royal Gala apples",
    "Brown Cap Mushroom": "mushrooms",
}
INSTEAD = (
    "the {} variety instead",
    "{} instead",
    "the same but {}",
    "change it to {}",
    "replace this with {}",
    "not this one, {}",
    "I want {} instead of this",
    "give me {} rather than that",
    "make it {}",
    "can I have {} in its place?",
    "show {} instead, please",
    "something like this, but it should be {}",
    "I was looking for {}, not this",
    "no, {} please",
    "exchange for {}",
    "could you find {} for me",
    "switch to {}",
    "the one called {}",
    "wrong one; it has to be {}",
    "is there {} as well?",
    "we need {} this time",
    "take {}",
    "my recipe asks for {}",
    "a photo of {}, not of this",
    "let me see {}",
)
NAMED = (
    "{}",
    "a photo of {}",
    "show me {}",
    "{} in the shop",
    "find {}",
    "pictures of {}",
    "where is the {}?",
    "I need {}",
    "some {} please",
    "{} for sale",
)
# Those of the shipped set's paraphrases.
HELD_OUT_INSTEAD = (
    "I'd rather have {}",
    "swap it for {}",
    "actually, get me {}",
    "could this be {}?",
    "I prefer {} to this",
    "how about {}",
)
HELD_OUT_NAMED = ("do you have {}?", "looking for {}", "I would like to buy {}")


def names(products: Iterable[str]) -> dict[str, list[str]]:
    """What each product is called: its name, then parts of it that no other's name has."""
    products = list(products)
    spans = {product: list(dict.fromkeys(_spans(product.lower().split()))) for product in products}
    owners = Counter(span for found in spans.values() for span in found)
    called = {}
    for product in products:
        own = [s for s in spans[product] if owners[s] == 1 and len(s) > 4]
        called[product] = list(dict.fromkeys([product, *_also(product), *own]))
    return called


def short(called: list[str]) -> str:
    """The shortest of two words or more, else the shortest: "oat milk"."""
    return min(called, key=lambda name: (" " not in name, len(name)))


def wordings(
    templates: Iterable[str], called: Mapping[str, list[str]], product: str, rng: random.Random
) -> tuple[str, ...]:
    """Each template with one of the product's names."""
    return tuple(template.format(rng.choice(called[product])) for template in templates)


def made_up(called: Mapping[str, list[str]], product: str, rng: random.Random, n: int) -> list[str]:
    """A product's name among words that mean nothing, so that a model listens to names only."""

    def word() -> str:
        syllables = rng.randint(1, 3)
        made = "".join(
            rng.choice("bcdfghjklmnprstvwy") + rng.choice("aeiou") for _ in range(syllables)
        )
        return made + rng.choice(("", "", "n", "r", "s", "t", "d", "'d"))

    return [
        " ".join(
            [
                *(word() for _ in range(rng.randint(0, 5))),
                rng.choice(called[product]),
                *(word() for _ in range(rng.choice((0, 0, 1, 2, 3)))),
            ]
        )
        + rng.choice(("", "", "?", "."))
        for _ in range(n)
    ]


def _spans(words: list[str]) -> Iterable[str]:
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _also(product: str) -> list[str]:
    return [ALSO[product]] if product in ALSO else []
