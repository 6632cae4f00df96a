"""Read a ranking from whatever a model wrote; the outcome is always a permutation."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from mmrag.vision.reply import json_documents

SCHEMA = {
    "type": "object",
    "properties": {
        "ranking": {"type": "array", "items": {"type": "integer"}},
        "reason": {"type": "string"},
    },
    "required": ["ranking", "reason"],
    "additionalProperties": False,
}

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_JSON_RANKING = re.compile(r'"ranking"\s*:\s*\[([^\]]*)(\]?)')
_JSON_REASON = re.compile(r'"reason"\s*:\s*"((?:[^"\\]|\\.)*)')
_RANKED_LIST = re.compile(r"ranked\s+list", re.I)
_REASONS = re.compile(r"\breasons?\b", re.I)
_LIST = re.compile(r"\[[\d\s,-]*\d[\d\s,-]*\]")
_SINGLE = re.compile(r"\[\s*-?\d+\s*\]")
_LONGEST = 20_000


@dataclass(frozen=True)
class Ranking:
    """An order of n candidates, and how much of it came from the model.

    `order` is a permutation of 0 ... n-1, best first: the candidates named, then the others in the
    order shown. `problems` says what was repaired; `left_out` is how many were not named.
    """

    order: list[int]
    reason: str | None
    status: Literal["complete", "repaired", "failed"]
    problems: tuple[str, ...] = ()
    left_out: int = 0


def read_ranking(text: str, n: int) -> Ranking:
    """Read an answer in `SCHEMA`, or of the form "Ranked list: [...] Reasons: ...".

    Args:
        text: anything.
        n: how many candidates were shown, as 0 ... n-1.
    """
    text = text[:_LONGEST]
    named, reason, cut = _read_json(text) or _read_text(text) or (None, None, False)
    if named is None:
        return Ranking(list(range(n)), None, "failed", ("the answer holds no ranking",), n)
    problems = ["the answer breaks off"] if cut else []
    valid = [i for i in named if isinstance(i, int) and 0 <= i < n]
    order = list(dict.fromkeys(valid))
    if len(valid) < len(named):
        problems.append(f"{len(named) - len(valid)} of the indices named were not shown")
    if len(order) < len(valid):
        problems.append(f"{len(valid) - len(order)} indices were repeated")
    if len(order) < n:
        problems.append(f"{n - len(order)} of {n} candidates were left out")
    if not order and n > 0:
        return Ranking(list(range(n)), None, "failed", tuple(problems), n)
    missing = [i for i in range(n) if i not in set(order)]
    status: Literal["repaired", "complete"] = "repaired" if problems else "complete"
    return Ranking(order + missing, reason, status, tuple(problems), len(missing))


_Read = tuple[list[int | None], str | None, bool]


def _read_json(text: str) -> _Read | None:
    answers = json_documents(text, lambda one: isinstance(one.get("ranking"), list))
    if answers:
        # A model that corrects itself writes a second list.
        last = answers[-1]
        return [_index(item) for item in last["ranking"]], _reason(last.get("reason")), False
    found = _JSON_RANKING.search(text)
    if found is None:
        return None
    listed, closed = found.groups()
    if not closed:
        # The last number may have lost digits.
        listed = listed.rpartition(",")[0]
    reason = _JSON_REASON.search(text)
    return _numbers(listed), _reason(_unescape(reason.group(1))) if reason else None, True


def _read_text(text: str) -> _Read | None:
    head = _RANKED_LIST.search(text)
    tail = _REASONS.search(text, head.end() if head else 0)
    said = _reason(text[tail.end() :].lstrip(" \t\n*_:")) if tail else None
    listed = text[head.end() if head else 0 : tail.start() if head and tail else None]
    brackets = _LIST.search(listed)
    if head is not None and (brackets is None or len(_SINGLE.findall(listed)) > 1):
        # "3, 1, 2" or "[3] > [1] > [2]"
        numbers = _numbers(listed)
        return (numbers, said, False) if numbers else None
    return (_numbers(brackets.group()), said, False) if brackets else None


def _numbers(text: str) -> list[int | None]:
    return [_index(number) for number in _NUMBER.findall(text)]


def _index(item: Any) -> int | None:
    """An index; None if it is not one, which counts as a candidate not shown."""
    if isinstance(item, bool):
        return None
    if isinstance(item, int):
        return item
    if isinstance(item, str):
        digits = item.strip().strip("[]")
        return int(digits) if re.fullmatch(r"[0-9]{1,9}", digits) else None
    return None


def _reason(text: Any) -> str | None:
    return (text.strip() or None) if isinstance(text, str) else None


def _unescape(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
