"""The judges of a set, and how far their judgments can be trusted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mmrag.eval_sets.records import read_records
from mmrag.labels.agreement import Agreement, agreement
from mmrag.labels.judgments import (
    IMPORTED,
    Conflict,
    JudgmentLog,
    Kind,
    conflicts,
    grades_of,
    judges,
)

Pair = tuple[str, str]


# How many pictures that two judges grade differently are shown, the farthest apart first.
_EXAMPLES = 12


@dataclass(frozen=True)
class Disagreement:
    """A picture that two judges graded differently; `reason` is a model's, else empty."""

    query_id: str
    image_id: str
    first: int
    second: int
    reason: str


@dataclass(frozen=True)
class JudgePair:
    """Two judges: Cohen's kappa, plain and weighted (linear) by the distance of the grades.

    `categories` has the plain kappa for each category of queries, if there are several.
    """

    first: str
    second: str
    agreement: Agreement
    weighted: Agreement
    categories: dict[str, Agreement]
    examples: list[Disagreement]


@dataclass(frozen=True)
class JudgeReport:
    """Judges with number and kind of judgments, pairs with something in common, conflicts.

    `consistency` is a model's agreement with itself, where it judged pictures a second time.
    """

    counts: dict[str, int]
    kinds: dict[str, Kind]
    pairs: list[JudgePair]
    conflicts: list[Conflict]
    consistency: dict[str, Agreement]

    @property
    def sentence(self) -> str:
        """In words: "312 judgments by people, 2,104 by gpt-6-luna, kappa 0.71 [0.63, 0.78]"."""
        by_kind: Counter[str] = Counter()
        models = []
        for name, count in self.counts.items():
            if self.kinds[name] == "model":
                models.append(f"{count:,} by {name}")
            else:
                by_kind["imported" if name == IMPORTED else "people"] += count
        parts = []
        if by_kind["people"]:
            parts.append(f"{_judgments(by_kind['people'])} by people")
        if by_kind["imported"]:
            parts.append(f"{by_kind['imported']:,} imported")
        parts += models
        for pair in self.pairs:
            if self.kinds[pair.second] == "model" and pair.first == "people":
                low, high = pair.agreement.ci95
                parts.append(f"kappa {pair.agreement.kappa:.2f} [{low:.2f}, {high:.2f}]")
        return ", ".join(parts) if parts else "No judgments"


def judge_report(folder: str | os.PathLike[str]) -> JudgeReport:
    """Counts, agreement and conflicts of a set.

    All people together count as one judge, "people", beside each model.
    """
    rows = JudgmentLog(folder).rows()
    kinds = judges(rows)
    grades = {name: grades_of(rows, name) for name in kinds}
    people: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.kind in ("person", "settled") and row.judge != IMPORTED and row.grade is not None:
            people[row.query_id, row.image_id] = row.grade
    persons = [name for name, kind in kinds.items() if kind == "person"]
    models = [name for name, kind in kinds.items() if kind == "model"]
    compared = [
        *((a, b, grades[a], grades[b]) for a, b in combinations(persons, 2)),
        *(("people", model, people, grades[model]) for model in models),
    ]
    categories = _categories(folder)
    reasons = {
        (row.judge, row.query_id, row.image_id): row.reason for row in rows if row.kind == "model"
    }
    pairs = [
        _pair(a, b, left, right, categories, reasons)
        for a, b, left, right in compared
        if left.keys() & right.keys()
    ]
    counts = {name: len(found) for name, found in grades.items() if found}
    twice = {name: grades_of(rows, name, second_pass=True) for name in models}
    consistency = {name: agreement(grades[name], again) for name, again in twice.items() if again}
    return JudgeReport(counts, {**kinds, "people": "person"}, pairs, conflicts(rows), consistency)


def _pair(
    a: str,
    b: str,
    left: Mapping[Pair, int],
    right: Mapping[Pair, int],
    categories: Mapping[str, str],
    reasons: Mapping[tuple[str, str, str], str],
) -> JudgePair:
    both = [pair for pair in left if pair in right]
    of: dict[str, dict[Pair, int]] = {}
    for pair in both:
        of.setdefault(categories.get(pair[0], ""), {})[pair] = left[pair]
    differ = sorted(
        (pair for pair in both if left[pair] != right[pair]),
        key=lambda pair: -abs(left[pair] - right[pair]),
    )
    return JudgePair(
        a,
        b,
        agreement(left, right),
        agreement(left, right, "linear"),
        {name: agreement(own, right) for name, own in sorted(of.items())} if len(of) > 1 else {},
        [
            Disagreement(*pair, left[pair], right[pair], reasons.get((b, *pair), ""))
            for pair in differ[:_EXAMPLES]
        ],
    )


def _categories(folder: str | os.PathLike[str]) -> dict[str, str]:
    path = Path(folder) / "queries.jsonl"
    if not path.exists():
        return {}
    return {record.id(): record.text("category") or "" for record in read_records(path)}


def _judgments(number: int) -> str:
    return f"{number:,} judgment{'' if number == 1 else 's'}"
