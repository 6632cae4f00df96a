"""Templates that word a labelled query from its fields, such as "{text}, {category}"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import Formatter
from typing import Any

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery


def templated(queries: Sequence[EvalQuery], template: str | None) -> list[EvalQuery]:
    """The queries with their texts made from a template; unchanged without one.

    Args:
        queries: whose `text`, `category`, `question` and metadata are the fields; each paraphrase
            takes the place of `text` in turn.
        template: fields in braces; "{{" and "}}" are braces.

    Raises:
        MmragError: the template is malformed, or a query lacks a field; names both.
    """
    if template is None:
        return list(queries)
    parts = _parts(template)
    return [
        replace(
            query,
            text=_fill(parts, query, query.text),
            paraphrases=tuple(_fill(parts, query, text) for text in query.paraphrases),
        )
        for query in queries
    ]


def _parts(template: str) -> list[tuple[str, str | None]]:
    """Plain text and, behind it, the field's name, if any."""
    wrong = f"The query template {template!r} "
    try:
        found = [(text, name, spec, how) for text, name, spec, how in Formatter().parse(template)]
    except ValueError as error:
        raise MmragError(f"{wrong}cannot be read: {error}.") from None
    if any(spec or how for _, _, spec, how in found):
        raise MmragError(f"{wrong}must have plain fields, such as {{text}}.")
    if all(name is None for _, name, _, _ in found):
        raise MmragError(f"{wrong}asks all queries the same: it needs a field, such as {{text}}.")
    return [(text, name) for text, name, _, _ in found]


def _fill(parts: Sequence[tuple[str, str | None]], query: EvalQuery, text: str | None) -> str:
    fields: dict[str, Any] = {
        **query.metadata,
        "text": text,
        "category": query.category,
        "question": query.question,
    }
    filled = []
    for plain, name in parts:
        filled.append(plain)
        if name is None:
            continue
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            usable = sorted(k for k, one in fields.items() if isinstance(one, str | int) and one)
            raise MmragError(
                f"Query {query.query_id!r} has no {name!r}, which the query template asks for; it "
                f"has {', '.join(usable) or 'no field'}."
            )
        filled.append(str(value))
    return "".join(filled)
