"""Numbers with their nouns, singular and plural."""

from __future__ import annotations


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number and what is counted: "1 query", "1,200 queries".

    Args:
        n: how many.
        one: the words for one, such as "picture" or "query was skipped".
        many: the words for any other number. Default: `one` with a plural ending.
    """
    if n == 1:
        return f"1 {one}"
    return f"{n:,} {many or (one[:-1] + 'ies' if one.endswith('ry') else one + 's')}"
