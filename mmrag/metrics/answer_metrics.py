"""Questions about what was found: exact match and token F1, with and without retrieval."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence


def normalise(answer: str) -> str:
    """Lower case without punctuation, articles and superfluous blanks, as SQuAD's scorer does it.

    P. Rajpurkar et al.: "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP
    2016; `evaluate-v1.1.py`.
    """
    lower = "".join(c for c in answer.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lower).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 when the answer equals an accepted one after `normalise`, else 0."""
    return float(any(normalise(answer) == normalise(one) for one in accepted))


def token_f1(answer: str, accepted: Sequence[str]) -> float:
    """F1 of the answer's and an accepted answer's words, the best over the accepted ones."""
    return max(
        (_f1(normalise(answer).split(), normalise(one).split()) for one in accepted), default=0
    )


def _f1(answer: Sequence[str], accepted: Sequence[str]) -> float:
    shared = sum((Counter(answer) & Counter(accepted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(accepted)
    return 2 * precision * recall / (precision + recall)
