"""The usage of a model, in words."""

from __future__ import annotations

from mmrag.system.words import counted
from mmrag.types import Usage


def spent(used: Usage) -> str:
    """Tokens, cost, and notes on them."""
    cost = "no price known" if used.cost_usd is None else f"{used.cost_usd:.4f} USD"
    words = f"{used.tokens}, {cost}"
    if used.unanswered:
        requests = counted(used.unanswered, "request")
        words += f" at most: {requests} had no answer, and may have been charged"
    if used.cached:
        words += f", {counted(used.cached, 'answer')} from the cache"
    return f"{words}; {used.surprise}" if used.surprise else words
