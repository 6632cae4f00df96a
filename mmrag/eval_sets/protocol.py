"""A protocol: how a benchmark is asked and scored, as plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mmrag.errors import EvalSetError

GALLERIES = {
    "": "whatever the eval set has",
    "split": "the images of the queries' split",
    "all": "the images of every split (and category) in one gallery",
    "together": "the images of the split, all categories in one gallery",
    "queries": "the reference and target images of the queries",
}
REFERENCES = {"in": "stays in the ranking", "out": "is left out of the ranking"}
RIGHT = {"target": "the target image", "soft": "every image whose target_soft is 1"}
FUSIONS = {"encoder": "the encoder's own", "sum": "the sum of image and text vector"}
AVERAGES = {"queries": "over the queries", "categories": "over the categories"}
_FIELD = re.compile(r"\{(\w+)\}")


def clause(text: str) -> str:
    """Drop a final full stop and lower the first letter, as M-BEIR joins FashionIQ's captions."""
    text = text.strip()
    return (text[:1].lower() + text[1:]).removesuffix(".")


def sentence(text: str) -> str:
    """Capitalise the first letter and end with a full stop, as M-BEIR writes its queries."""
    text = text.replace("\r", "").strip().strip('"')
    text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".?!" else text + "."


STYLES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "clause": clause,
    "sentence": sentence,
}
_CHOICES: dict[str, Mapping[str, Any]] = {
    "gallery": GALLERIES,
    "reference": REFERENCES,
    "right": RIGHT,
    "fusion": FUSIONS,
    "average": AVERAGES,
    "each": STYLES,
    "whole": STYLES,
}


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is asked and scored.

    Attributes:
        name: what `--protocol` takes.
        benchmark: "cirr", "fashioniq", "circo"; empty for any eval set.
        gallery: one of `GALLERIES`.
        reference: one of `REFERENCES`: whether the query's own picture can be found.
        text: the template of a query's text. `{caption}` is the text of the eval set,
            `{captions}` its parts (FashionIQ has two) with `join` between them; every other name
            is looked up in the query's metadata. A query without a text is asked with its picture.
        join: between captions.
        each: one of `STYLES`, for each caption.
        whole: one of `STYLES`, for the finished text.
        right: one of `RIGHT`.
        fusion: one of `FUSIONS`: how picture and text become one vector.
        metrics: the published ones, the primary one first; empty for the eval set's own.
        average: one of `AVERAGES`.
        source: where it is described.
    """

    name: str
    benchmark: str = ""
    gallery: str = ""
    reference: str = "in"
    text: str = "{caption}"
    join: str = " and "
    each: str = "plain"
    whole: str = "plain"
    right: str = "target"
    fusion: str = "encoder"
    metrics: tuple[str, ...] = ()
    average: str = "queries"
    source: str = ""

    @property
    def title(self) -> str:
        """Benchmark and name, "cirr vista"."""
        return f"{self.benchmark} {self.name}".strip()

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Protocol:
        """Parse plain values, as in a TOML file or a stored run.

        Raises:
            EvalSetError: an unknown or missing key, or a value that is not one of its kind.
        """
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise EvalSetError(
                f"{where}: a protocol has no {unknown[0]!r}; it has {', '.join(sorted(known))}."
            )
        if not isinstance(values.get("name"), str) or not values["name"]:
            raise EvalSetError(f"{where}: a protocol needs a 'name'.")
        made: dict[str, Any] = dict(values)
        metrics = values.get("metrics", ())
        if not isinstance(metrics, list | tuple) or not all(isinstance(m, str) for m in metrics):
            raise EvalSetError(f"{where}: 'metrics' must be a list of names.")
        made["metrics"] = tuple(metrics)
        for key, value in made.items():
            if key == "metrics":
                continue
            choices = _CHOICES.get(key)
            if not isinstance(value, str) or (choices is not None and value not in choices):
                what = f"one of {', '.join(map(repr, choices))}" if choices else "a string"
                raise EvalSetError(f"{where}: {key!r} must be {what}.")
        return cls(**made)

    def as_json(self) -> dict[str, Any]:
        """Plain values that `parse` takes back."""
        return {**asdict(self), "metrics": list(self.metrics)}

    def render(self, caption: str | None, metadata: Mapping[str, Any], query_id: str) -> str | None:
        """The text of one query; None for a query without one.

        Args:
            caption: the eval set's own text.
            metadata: of the query.
            query_id: for the error message.

        Raises:
            EvalSetError: the template names something that the query lacks.
        """
        if not caption:
            return None
        parts = metadata.get("captions")
        captions = parts if isinstance(parts, list) and parts else [caption]
        each = STYLES[self.each]
        joined = self.join.join(each(str(one)) for one in captions if str(one).strip())

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in ("caption", "relative_caption"):
                return caption
            if name == "captions":
                return joined
            found = metadata.get(name)
            if not isinstance(found, str) or not found.strip():
                raise EvalSetError(
                    f"The protocol {self.name!r} asks with {{{name}}}, which query {query_id!r} "
                    "does not have; import the eval set again."
                )
            return found

        return STYLES[self.whole](_FIELD.sub(value, self.text)) or None

    def lines(self) -> list[str]:
        """Its rules, one sentence each."""
        return [
            f"Gallery: {GALLERIES[self.gallery]}.",
            f"The reference image {REFERENCES[self.reference]}.",
            f"Text: {self.text}",
            f"Right is {RIGHT[self.right]}.",
            f"Composition: {FUSIONS[self.fusion]}.",
            f"Metrics: {', '.join(self.metrics) or 'those of the eval set'}, averaged "
            f"{AVERAGES[self.average]}.",
            f"Source: {self.source or 'not given'}.",
        ]
