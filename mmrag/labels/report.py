"""The judges of a set, and how far their judgments can be trusted."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

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


@dataclass(frozen=True)
class JudgePair:
    """Two judges: Cohen's kappa as it is, and weighted by the distance of the grades."""

    first: str
    second: str
    agreement: Agreement
    weighted: Agreement


@dataclass(frozen=True)
class JudgeReport:
    """Judge to number of judgments and kind, each pair with something in common, conflicts."""

    counts: dict[str, int]
    kinds: dict[str, Kind]
    pairs: list[JudgePair]
    conflicts: list[Conflict]

    @property
    def sentence(self) -> str:
        """Such as "312 judgments by people, 2,104 by gpt-6-luna, kappa 0.71 [0.63, 0.78]"."""
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
    pairs = [
        JudgePair(a, b, agreement(left, right), agreement(left, right, "linear"))
        for a, b, left, right in compared
        if left.keys() & right.keys()
    ]
    counts = {name: len(found) for name, found in grades.items() if found}
    return JudgeReport(counts, {**kinds, "people": "person"}, pairs, conflicts(rows))


def _judgments(number: int) -> str:
    return f"{number:,} judgment{'' if number == 1 else 's'}"
