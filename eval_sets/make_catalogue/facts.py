"""Facts in the description of an item, and questions that it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eval_sets.make_catalogue.attributes import Combo
from eval_sets.make_catalogue.wording import with_article


@dataclass(frozen=True)
class Line:
    """Materials of one product, its sizes in one unit, and the middle of its price range."""

    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    unit: str
    price: float


# Units: "ml" and "l" are capacities, "cm" lengths and areas, "" is a size label.
LINES = {
    "phone case": Line(
        ("flexible silicone", "hard polycarbonate", "recycled plastic"),
        ("6.1", "6.5", "6.7"),
        "inch",
        15,
    ),
    "mug": Line(
        ("glazed stoneware", "fine porcelain", "enamelled steel"),
        ("250", "300", "350", "400"),
        "ml",
        13,
    ),
    "T-shirt": Line(
        ("organic cotton", "a cotton and linen blend", "bamboo jersey"),
        ("S", "M", "L", "XL"),
        "",
        22,
    ),
    "tote bag": Line(
        ("heavy cotton canvas", "jute", "recycled polyester"), ("8", "10", "12", "15"), "l", 18
    ),
    "cushion": Line(
        ("cotton velvet", "washed linen", "soft chenille"),
        ("40 x 40", "45 x 45", "50 x 50"),
        "cm",
        26,
    ),
    "notebook": Line(
        ("recycled paper", "ivory paper", "stone paper"), ("80", "96", "120", "160"), "pages", 9
    ),
    "umbrella": Line(
        ("pongee fabric", "recycled polyester", "nylon"), ("98", "104", "112"), "cm", 29
    ),
    "cap": Line(("brushed cotton", "corduroy", "ripstop nylon"), ("56", "58", "60"), "cm", 17),
    "lamp": Line(("linen", "parchment paper", "cotton"), ("38", "44", "52"), "cm", 49),
    "plate": Line(("stoneware", "bone china", "melamine"), ("21", "24", "27"), "cm", 12),
    "backpack": Line(
        ("waxed canvas", "recycled nylon", "ripstop polyester"), ("14", "18", "22", "26"), "l", 58
    ),
    "sneaker": Line(("canvas", "knitted mesh", "suede"), ("37", "39", "41", "43"), "EU", 64),
    "scarf": Line(
        ("merino wool", "soft acrylic", "cashmere blend yarn"), ("160", "180", "200"), "cm", 27
    ),
    "curtain": Line(
        ("heavy linen", "blackout polyester", "cotton voile"), ("180", "220", "250"), "cm", 54
    ),
}

_SIZE_PHRASE = {
    "phone case": "fits {} inch phones",
    "mug": "holds {} ml",
    "T-shirt": "size {}",
    "tote bag": "holds {} litres",
    "cushion": "{} cm",
    "notebook": "{} pages",
    "umbrella": "{} cm across when open",
    "cap": "{} cm around the head",
    "lamp": "{} cm tall",
    "plate": "{} cm across",
    "backpack": "holds {} litres",
    "sneaker": "size EU {}",
    "scarf": "{} cm long",
    "curtain": "{} cm long",
}
_SIZE_QUESTION = {
    "phone case": "What screen size does it fit?",
    "mug": "How much does it hold?",
    "T-shirt": "What size is it?",
    "tote bag": "How many litres does it hold?",
    "cushion": "What are its dimensions?",
    "notebook": "How many pages does it have?",
    "umbrella": "How wide is it when open?",
    "cap": "What head size does it fit?",
    "lamp": "How tall is it?",
    "plate": "How wide is it?",
    "backpack": "What is its capacity?",
    "sneaker": "What size is it?",
    "scarf": "How long is it?",
    "curtain": "How long is it?",
}
_UNITS = {
    "ml": ("{} ml", "{}ml", "{} millilitres", "{} milliliters"),
    "l": ("{} l", "{}l", "{} litres", "{} liters"),
    "cm": ("{} cm", "{}cm", "{} centimetres", "{} centimeters"),
    "inch": ("{} inch", "{} inches", '{}"', "{} in"),
    "pages": ("{} pages", "{}"),
    "EU": ("EU {}", "size EU {}", "{}"),
    "": ("{}", "size {}"),
}
_LABELS = {"S": "small", "M": "medium", "L": "large", "XL": "extra large"}
_DESCRIPTIONS = (
    "{Look} {product} in {colour}. Made of {material}, {size}. Price: ${price}.",
    "{Look} {product}, {colour}, made of {material}; {size}. It costs ${price}.",
    "{A_product} with {noun} in {colour}. Material: {material}. It {is}{size} and costs ${price}.",
    "{Colour} {product} with {noun}. {Size}, made of {material}. ${price}.",
)


def facts(combo: Combo, rng: np.random.Generator) -> dict[str, Any]:
    """Material, size and price of one item."""
    line = LINES[combo.product]
    cents = round(line.price * rng.uniform(0.7, 1.4) * 2) * 50
    return {
        "material": line.materials[int(rng.integers(len(line.materials)))],
        "size": line.sizes[int(rng.integers(len(line.sizes)))],
        "unit": line.unit,
        "price": cents / 100,
    }


def describe(combo: Combo, noun: str, known: dict[str, Any], rng: np.random.Generator) -> str:
    """One to three sentences that name the item and its facts; `noun` names the pattern."""
    size, named = _SIZE_PHRASE[combo.product].format(known["size"]), with_article(combo.product)
    is_verb = size.startswith(("holds", "fits"))
    return _DESCRIPTIONS[int(rng.integers(len(_DESCRIPTIONS)))].format(
        Look=combo.pattern[0].upper() + combo.pattern[1:],
        Colour=combo.colour.capitalize(),
        Size=size[0].upper() + size[1:],
        product=combo.product,
        A_product=named[0].upper() + named[1:],
        colour=combo.colour,
        noun=noun,
        material=known["material"],
        size=size,
        price=f"{known['price']:.2f}",
        **{"is": "" if is_verb else "is "},
    )


def question(combo: Combo, known: dict[str, Any], kind: int) -> tuple[str, list[str]]:
    """A question about price (0), material (1) or size (2), and the answers to accept."""
    if kind == 0:
        price = f"{known['price']:.2f}"
        answers = [f"${price}", price, f"{price} dollars"]
        if price.endswith(".00"):
            answers += [f"${price[:-3]}", f"{price[:-3]} dollars"]
        return "What does it cost?", answers
    if kind == 1:
        material = str(known["material"]).removeprefix("a ")
        return "What is it made of?", [material]
    size = str(known["size"])
    sizes = [size] + (
        [size.replace(" x ", "x"), size.replace(" x ", " by ")] if " x " in size else []
    )
    answers = [form.format(one) for one in sizes for form in _UNITS[known["unit"]]]
    if size in _LABELS:
        answers.append(_LABELS[size])
    return _SIZE_QUESTION[combo.product], answers
