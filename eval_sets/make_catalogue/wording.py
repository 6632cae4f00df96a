"""Wording of queries: names and synonyms, templates to train on, and held-out paraphrases.

Placeholders: `{product}`, `{a_product}` with its article, `{look}` a pattern as an adjective,
`{noun}` the same as a noun, `{colour}`. The two template tables share no template.
"""

from __future__ import annotations

import re

import numpy as np

PRODUCT_WORDS = {
    "phone case": ("phone case", "phone cover", "mobile phone case"),
    "mug": ("mug", "coffee mug", "coffee cup"),
    "T-shirt": ("T-shirt", "tee", "tee shirt"),
    "tote bag": ("tote bag", "tote", "shopping bag"),
    "cushion": ("cushion", "throw pillow", "pillow"),
    "notebook": ("notebook", "notepad", "spiral notebook"),
    "umbrella": ("umbrella", "rain umbrella", "brolly"),
    "cap": ("cap", "baseball cap", "peaked cap"),
    "lamp": ("lamp", "table lamp", "bedside lamp"),
    "plate": ("plate", "dinner plate", "dish"),
    "backpack": ("backpack", "rucksack", "school backpack"),
    "sneaker": ("sneaker", "trainer", "sports shoe"),
    "scarf": ("scarf", "winter scarf", "knitted scarf"),
    "curtain": ("curtain", "window curtain", "drape"),
}
LOOK_WORDS = {
    "plain": ("plain", "solid", "unpatterned"),
    "striped": ("striped", "stripy", "stripe-patterned"),
    "polka dot": ("polka dot", "dotted", "spotty"),
    "leopard": ("leopard", "leopard print", "leopard-spotted"),
    "zebra": ("zebra", "zebra print", "zebra-patterned"),
    "tartan": ("tartan", "plaid", "Scottish check"),
    "floral": ("floral", "flowery", "flower-patterned"),
    "star": ("star", "starry", "star-patterned"),
    "checkerboard": ("checkerboard", "chequered", "chessboard"),
    "zigzag": ("zigzag", "chevron", "zigzag-patterned"),
    "camouflage": ("camouflage", "camo", "camouflage-patterned"),
    "wavy": ("wavy", "wave-patterned", "wavy-lined"),
    "heart": ("heart", "heart-patterned", "heart print"),
    "houndstooth": ("houndstooth", "dogtooth", "houndstooth-patterned"),
    "marble": ("marble", "marbled", "marble-effect"),
    "honeycomb": ("honeycomb", "hexagon", "honeycomb-patterned"),
}
NOUN_WORDS = {
    "plain": ("no pattern", "a plain finish", "a solid finish"),
    "striped": ("stripes", "a striped pattern", "a stripe pattern"),
    "polka dot": ("polka dots", "dots", "round dots"),
    "leopard": ("leopard print", "leopard spots", "a leopard pattern"),
    "zebra": ("zebra print", "zebra stripes", "a zebra pattern"),
    "tartan": ("tartan", "plaid", "a tartan pattern"),
    "floral": ("flowers", "a floral pattern", "a flower print"),
    "star": ("stars", "a star pattern", "little stars"),
    "checkerboard": ("checkerboard squares", "a checkerboard pattern", "a chequered pattern"),
    "zigzag": ("zigzags", "a zigzag pattern", "chevrons"),
    "camouflage": ("camouflage", "camo", "a camouflage pattern"),
    "wavy": ("waves", "wavy lines", "a wave pattern"),
    "heart": ("hearts", "a heart pattern", "little hearts"),
    "houndstooth": ("houndstooth", "dogtooth", "a houndstooth check"),
    "marble": ("marble", "a marble pattern", "marble veins"),
    "honeycomb": ("honeycomb", "hexagons", "a honeycomb pattern"),
}
COLOUR_WORDS = {
    "turquoise": ("turquoise", "teal"),
    "purple": ("purple", "violet"),
}

TRAINING = {
    "theme": (
        "{product} with this image theme",
        "{product} with this theme",
        "{a_product} with the pattern and colour of this picture",
        "{a_product} that matches this picture",
        "{a_product} in exactly this style",
        "this design on {a_product}",
        "find {a_product} with this print",
        "{a_product} with the same pattern and colour as this",
        "{a_product} that looks like this",
        "{product} in the pattern and colour of this image",
        "show me {a_product} that goes with this picture",
        "use this picture as the theme of {a_product}",
    ),
    "colour": (
        "the same in {colour}",
        "the same but in {colour}",
        "this one in {colour}",
        "the same {product} in {colour}",
        "make it {colour}",
        "this {product} but {colour}",
        "change the colour to {colour}",
        "in {colour} instead",
        "show me this in {colour}",
        "the same thing in {colour}",
        "find a {colour} version of this {product}",
        "is there a {colour} one like this",
    ),
    "pattern": (
        "the same with {noun} instead",
        "the same but with {noun}",
        "this one with {noun}",
        "the same {product} with {noun}",
        "change the pattern to {noun}",
        "with {noun} instead",
        "a {look} version of this {product}",
        "the same colour but with {noun}",
        "show me this {product} with {noun}",
        "keep the colour, with {noun}",
        "this {product} in the same colour with {noun}",
        "I want it with {noun}",
    ),
    "product": (
        "{a_product} with this pattern and colour",
        "{a_product} to match this",
        "the same design on {a_product}",
        "{a_product} with the same pattern and colour",
        "this pattern and colour on {a_product}",
        "a matching {product}",
        "{a_product} instead",
        "the same print on {a_product}",
        "show me {a_product} that matches",
        "find {a_product} in the same design",
        "{a_product} that goes with this",
        "I want this as {a_product}",
    ),
    "full": (
        "a {colour} {look} {product}",
        "{a_product} with {noun} in {colour}",
        "{look} {product} in {colour}",
        "{colour} {product} with {noun}",
        "{product}, {look}, {colour}",
        "find a {colour} {product} with {noun}",
        "show me a {look} {product} in {colour}",
        "I want {a_product} in {colour} with {noun}",
    ),
    "product+pattern": (
        "a {look} {product}",
        "{a_product} with {noun}",
        "{look} {product}",
        "{product} with {noun}",
        "find {a_product} with {noun}",
        "show me a {look} {product}",
        "{a_product} with {noun} in any colour",
        "I want a {look} {product}",
    ),
    "product+colour": (
        "a {colour} {product}",
        "{a_product} in {colour}",
        "{colour} {product}",
        "{product} in {colour}",
        "find {a_product} in {colour}",
        "show me a {colour} {product}",
        "a {colour} {product} with any pattern",
        "I want a {colour} {product}",
    ),
    "prefer": (
        "a {look} {product}, preferably in {colour}",
        "{a_product} with {noun}, in {colour} if possible",
        "a {look} {product}, {colour} if there is one",
        "{a_product} with {noun}, best of all in {colour}",
        "show me a {look} {product}, in {colour} if you can",
        "find {a_product} with {noun}, ideally {colour}",
        "a {look} {product}, I like {colour} best",
        "I want {a_product} with {noun}, {colour} would be best",
    ),
}

PARAPHRASES = {
    "theme": (
        "I have this picture and need {a_product} to go with it",
        "could you find the {product} whose pattern and colour match this image",
        "which {product} has the look of this picture",
        "looking for {a_product}, same theme as in the image",
        "please put this print and colour on {a_product} for me",
        "my room looks like this picture, so I need {a_product} that matches",
    ),
    "colour": (
        "I like this one, do you have it in {colour}",
        "could I get that {product} in {colour} please",
        "same {product} and same pattern, only the colour should be {colour}",
        "not this colour, I want the {colour} one",
        "looking for exactly this {product} but with {colour} as its colour",
        "do you also sell this in {colour}",
    ),
    "pattern": (
        "I like the colour, but could I get it with {noun}",
        "not this pattern, I want {noun} on the {product}",
        "do you also have this {product} with {noun} in that colour",
        "same {product} and same colour, only the pattern should be {noun}",
        "looking for this {product}, but please with {noun}",
        "could you show the one that has {noun} and is otherwise the same",
    ),
    "product": (
        "I like this design, do you have it on {a_product}",
        "do you also sell {a_product} like this",
        "could I get {a_product} in that same pattern and colour please",
        "looking for {a_product}, same print and same colour as here",
        "which {product} has the same look as this one",
        "I have this already and need {a_product} that goes with it",
    ),
}


def with_article(name: str) -> str:
    """'an umbrella', 'a mug'."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _one(options: tuple[str, ...], rng: np.random.Generator, plain: float) -> str:
    """The first option with probability `plain`, else any."""
    return options[0] if rng.random() < plain else options[int(rng.integers(len(options)))]


def fill(
    template: str, names: dict[str, str | None], rng: np.random.Generator, plain: float = 0.4
) -> str:
    """Fill a template with attribute names or their synonyms."""
    product, pattern, colour = (names.get(key) for key in ("product", "pattern", "colour"))
    word = _one(PRODUCT_WORDS[product], rng, plain) if product else ""
    text = template.format(
        product=word,
        a_product=with_article(word) if word else "",
        look=_one(LOOK_WORDS[pattern], rng, plain) if pattern else "",
        noun=_one(NOUN_WORDS[pattern], rng, plain) if pattern else "",
        colour=_one(COLOUR_WORDS.get(colour, (colour,)), rng, plain) if colour else "",
    )
    # Templates have "a {colour}"; "orange" and "unpatterned" need "an".
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def texts(
    template_kind: str,
    names: dict[str, str | None],
    rng: np.random.Generator,
    count: int,
    held_out: bool = False,
) -> list[str]:
    """`count` different wordings of one request."""
    templates = (PARAPHRASES if held_out else TRAINING)[template_kind]
    order = rng.permutation(len(templates))[:count]
    return [fill(templates[int(i)], names, rng) for i in order]
