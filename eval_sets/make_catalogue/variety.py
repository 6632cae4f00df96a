"""Many more ways to ask, for training only: the wanted names among everyday filler.

A model that has read only a dozen templates trips over any other sentence. These sentences teach it
to attend to the named product, pattern and colour, whatever surrounds them. None is a template of
the shipped set's paraphrases.
"""

from __future__ import annotations

import numpy as np

from eval_sets.make_catalogue.wording import PARAPHRASES, fill

MENTIONS = {
    "product": (
        "{a_product}",
        "the {product}",
        "this {product}",
        "{product}",
        "that {product}",
        "on {a_product}",
        "for {a_product}",
        "one {product}",
        "{a_product} like that",
        "any {product}",
        "a nice {product}",
        "as {a_product}",
    ),
    "pattern": (
        "with {noun}",
        "{noun}",
        "{noun} on it",
        "{look}",
        "a {look} one",
        "has {noun}",
        "covered in {noun}",
        "{noun} all over",
        "the {look} kind",
        "showing {noun}",
    ),
    "colour": (
        "in {colour}",
        "{colour}",
        "the {colour} one",
        "a {colour} one",
        "coloured {colour}",
        "{colour} as colour",
        "something {colour}",
        "all {colour}",
        "colour: {colour}",
        "{colour} please",
    ),
}
BEFORE = (
    "please", "hi", "hello", "hey there", "can I have", "could we see", "would you find",
    "have you got", "do they make", "is it possible to get", "I am after", "I need", "we want",
    "I would love", "give me", "bring up", "search for", "look for", "get me", "let me see",
    "my friend wants", "she asked for", "he likes", "trying to find", "I was hoping for",
    "where can I buy", "what about", "how about", "maybe", "just", "only", "now", "instead",
    "not that one but", "rather", "I prefer", "I like it, but", "I like the picture, so",
    "I own this, and now", "for my room", "as a gift", "we have this at home and need",
    "does the shop sell", "is there", "are there", "which ones come", "there must be",
    "it should be", "should come", "could it be", "I saw this and want", "same as here",
    "like in the photo",
    "same style", "same look", "same idea", "identical", "exactly as shown", "of this kind",
    "take this and show", "turn it into", "swap it for", "replace it by", "make that",
    "keep the rest and give me", "nothing changed except", "everything else as it is", "also",
    "the one that I mean is", "it has to be", "this time", "next", "one more", "another", "similar",
)  # fmt: skip
AFTER = (
    "please", "thanks", "thank you", "if you have it", "if there is one", "for me", "for us",
    "for my mother", "for the office", "as in the picture", "as in this image", "like the photo",
    "like this", "like here", "of the same kind", "in the same style", "with the same look",
    "and the rest unchanged", "and nothing else", "but otherwise equal", "everything else the same",
    "that would suit it", "to go along with it", "that fits", "that belongs to it", "for a set",
    "from your shop", "on sale", "today", "quickly", "do you know one", "can you help",
    "is that possible", "would be great", "would be lovely", "I think", "you know", "right",
    "not the one shown", "not what is shown", "rather than this", "instead of this",
    "in place of this one", "than the one here", "that I could use", "to buy", "to order",
    "which one is it", "where is it", "what do you have", "show it to me", "let me know",
    "the design stays", "the design is what I like", "the style matters", "in that style", "too",
    "as well", "again", "somewhere", "at all", "for sure", "or so", "and soon", "as seen",
)  # fmt: skip
KEPT = {
    "colour": ("same pattern", "the pattern stays", "another colour", "other colour, same print"),
    "pattern": ("same colour", "the colour stays", "another pattern", "other print, same colour"),
    "": ("same colour and pattern", "this print", "these colours", "pattern and colour as here"),
}
JOINTS = (" ", " ", " ", ", ", ", ", " and ", " but ", " - ", "; ", " so ", " with that ")
_LETTERS = "aeiouaeiouaeioubcdfghklmnprstvw"


def varied(names: dict[str, str | None], kept: str, rng: np.random.Generator) -> str:
    """Make up a sentence that names every attribute in `names`.

    Args:
        names: attribute to the wanted name.
        kept: key of `KEPT` for what may be said to stay as in the query's picture; any other
            string for none.
        rng: of all draws.

    Raises:
        ValueError: the result is a paraphrase of the shipped set, which no training may see.
    """
    wanted = [key for key in MENTIONS if names.get(key)]
    clauses = [_choose(MENTIONS[wanted[int(i)]], rng) for i in rng.permutation(len(wanted))]
    if kept in KEPT and rng.random() < 0.3:
        clauses.insert(int(rng.integers(len(clauses) + 1)), _choose(KEPT[kept], rng))
    before = [_filler(BEFORE, rng) for _ in range(_few(rng))]
    after = [_filler(AFTER, rng) for _ in range(_few(rng))]
    template = ""
    for clause in (*before, *clauses, *after):
        template += (_choose(JOINTS, rng) if template else "") + clause
    if any(template in held for held in PARAPHRASES.values()):
        raise ValueError(f"{template!r} is held out")
    return fill(template, names, rng)


def _choose(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _few(rng: np.random.Generator) -> int:
    return int(rng.choice(4, p=(0.3, 0.35, 0.25, 0.1)))


def _filler(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    """A phrase, now and then with an invented word."""
    phrase = _choose(phrases, rng)
    if rng.random() < 0.2:
        letters = rng.integers(len(_LETTERS), size=int(rng.integers(2, 8)))
        phrase += " " + "".join(_LETTERS[int(i)] for i in letters)
    return phrase
