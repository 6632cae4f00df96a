"""Metrics of whether an answer is an accepted one; `ANSWER_METRICS` is the table."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

# Numbers that differ by no more are the same: "48.5" and "48.50", "about 1,000".
TOLERANCE = 0.01


def normalise(answer: str) -> str:
    """Lower case without punctuation, articles and extra blanks, as in SQuAD's scorer.

    P. Rajpurkar et al.: "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP
    2016; `evaluate-v1.1.py`.
    """
    lower = "".join(c for c in answer.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lower).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 when the answer equals an accepted one after `normalise`, else 0."""
    return float(any(normalise(answer) == normalise(one) for one in accepted))


def token_f1(answer: str, accepted: Sequence[str]) -> float:
    """Best F1 between the answer's words and those of an accepted answer."""
    return max(
        (_f1(normalise(answer).split(), normalise(one).split()) for one in accepted), default=0
    )


def contains(answer: str, accepted: Sequence[str]) -> float:
    """1 when the answer contains an accepted one, word for word after `normalise`, else 0."""
    words = f" {normalise(answer)} "
    return float(any(f" {normalise(one)} " in words for one in accepted if normalise(one)))


def same_numbers(answer: str, accepted: Sequence[str]) -> float:
    """1 when the answer has the numbers of an accepted one, in their order, within 1 %; else 0.

    NaN where no accepted answer has a number.
    """
    wanted = [numbers for one in accepted if (numbers := _numbers(one))]
    given = _numbers(answer)
    if not wanted:
        return math.nan
    return float(
        any(
            len(given) == len(numbers)
            and all(
                math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(given, numbers, strict=True)
            )
            for numbers in wanted
        )
    )


ANSWER_METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "contains": contains,
    "same_numbers": same_numbers,
}


def _numbers(text: str) -> list[float]:
    """The numbers in a text; thousands separators are dropped."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return [float(found.replace(",", ".")) for found in re.findall(r"\d+(?:[.,]\d+)?", plain)]


def _f1(answer: Sequence[str], accepted: Sequence[str]) -> float:
    shared = sum((Counter(answer) & Counter(accepted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(accepted)
    return 2 * precision * recall / (precision + recall)
