"""Names and requests for products. No held-out wording is ever used in training."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

# Other names of products.
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
# Parts of composed sentences.
OPENINGS = (
    "",
    "",
    "please",
    "sorry,",
    "",
    "hello,",
    "well,",
    "this is wrong,",
    "no,",
    "hm,",
    "not that;",
    "excuse me,",
    "for this one",
    "thanks, but",
    "today",
    "nearly:",
    "wait,",
    "it is nice, but",
    "instead of this",
    "good, now",
)
REQUESTS = (
    "bring {}",
    "let us try {}",
    "we want {}",
    "my mother asked for {}",
    "put {} there",
    "I meant {}",
    "it must be {}",
    "choose {}",
    "search for {}",
    "I am after {}",
    "are there any {}",
    "hand me {}",
    "what I need is {}",
    "trade this for {}",
    "only {} will do",
    "I have to find {}",
    "go for {}",
    "which of these is {}",
    "you should pick {}",
    "turn it into {}",
    "I like {} better",
    "the kind named {}",
    "with {} in the picture",
    "give us {}",
    "we ran out of {}",
    "my list says {}",
    "that should have been {}",
    "use {}",
    "I will have {}",
    "she eats {}",
)
ENDINGS = (
    "",
    "",
    "please",
    "today",
    "",
    "if there is any",
    "this time",
    "in place of that one",
    "and not what is shown",
    "thank you",
    "for the cake",
    "from the same shelf",
    "for my family",
    "as soon as possible",
    "of the same kind",
)
_WORD = re.compile(r"[a-z']{2,}")
# Templates of the shipped set's paraphrases.
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
    """Names of each product: the full one, then parts of it that no other product's name has."""
    products = list(products)
    spans = {product: list(dict.fromkeys(_spans(product.lower().split()))) for product in products}
    owners = Counter(span for found in spans.values() for span in found)
    called = {}
    for product in products:
        own = [s for s in spans[product] if owners[s] == 1 and len(s) > 4]
        called[product] = list(dict.fromkeys([product, *_also(product), *own]))
    return called


def short(called: list[str]) -> str:
    """The shortest name of two words or more, else the shortest: "oat milk"."""
    return min(called, key=lambda name: (" " not in name, len(name)))


def wordings(
    templates: Iterable[str], called: Mapping[str, list[str]], product: str, rng: random.Random
) -> tuple[str, ...]:
    """Each template with one of the product's names."""
    return tuple(template.format(rng.choice(called[product])) for template in templates)


def fillers(descriptions: Iterable[str], called: Mapping[str, list[str]]) -> list[str]:
    """Words of the descriptions that name no product and are in no held-out wording."""
    kept_away = " ".join([*HELD_OUT_INSTEAD, *HELD_OUT_NAMED, *chain(*called.values())])
    taken = set(_WORD.findall(kept_away.lower()))
    found = {word for text in descriptions for word in _WORD.findall(text.lower())}
    return sorted(w for w in found if not {w, f"{w}s", w.removesuffix("s")} & taken)


def asked(name: str, rng: random.Random, part: str) -> str:
    """A sentence that asks for a product: an opening, a request and an end."""
    opening, request, end = (
        rng.choice(of_part(one, part)) for one in (OPENINGS, REQUESTS, ENDINGS)
    )
    return " ".join(filter(None, [opening, request.format(name), end]))


def of_part(phrases: tuple[str, ...], part: str) -> tuple[str, ...]:
    """All phrases; or four in five to fit on, or the others to choose by."""
    if part == "all":
        return phrases
    return tuple(p for i, p in enumerate(phrases) if (i % 5 == 4) == (part == "choose"))


def made_up(
    called: list[str], rng: random.Random, n: int, words: list[str] | None = None
) -> list[str]:
    """A product's name among meaningless words, to make a model attend to names only.

    With `words`, half of the words around the name are from these.
    """

    def word() -> str:
        if words and rng.random() < 0.5:
            return rng.choice(words)
        syllables = rng.randint(1, 3)
        made = "".join(
            rng.choice("bcdfghjklmnprstvwy") + rng.choice("aeiou") for _ in range(syllables)
        )
        return made + rng.choice(("", "", "n", "r", "s", "t", "d", "'d"))

    made = []
    for _ in range(n):
        # The order of draws is as for the sets on which the shipped encoders were trained.
        name = rng.choice(called) if words else ""
        before = [word() for _ in range(rng.randint(0, 5))]
        name = name or rng.choice(called)
        after = [word() for _ in range(rng.choice((0, 0, 1, 2, 3)))]
        made.append(" ".join([*before, name, *after]) + rng.choice(("", "", "?", ".")))
    return made


def _spans(words: list[str]) -> Iterable[str]:
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _also(product: str) -> list[str]:
    return [ALSO[product]] if product in ALSO else []
