"""One person's way through a pool: what is left, in which order, and what is already decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.labels.judgments import GRADES, JudgmentLog, current, grades_of, judges
from mmrag.labels.pooling import Bounds, Rankings, bounds, next_queries, pool, shuffled
from mmrag.runs.run import Run


@dataclass(frozen=True)
class System:
    """A configuration whose hits are judged; the judge never sees which one found a picture."""

    name: str
    rankings: Rankings


class JudgingSession:
    """The pool of an eval set for one judge.

    Args:
        eval_set: whose queries are judged.
        systems: whose first hits make the pool.
        depth: number of hits of each.
        judge: a person's name.
        again: include pictures that other people have judged, to measure agreement.
    """

    def __init__(
        self,
        eval_set: EvalSet,
        systems: Sequence[System],
        depth: int,
        judge: str,
        again: bool = False,
    ) -> None:
        self.systems = list(systems)
        self.depth, self.judge, self.again = depth, judge, again
        queries = {query.query_id for query in eval_set.queries}
        images = {image.image_id for image in eval_set.images}
        self._rankings: list[Mapping[str, Sequence[str]]] = [
            {
                query_id: [one for one in ranking if one in images]
                for query_id, ranking in system.rankings.items()
                if query_id in queries
            }
            for system in systems
        ]
        self._log = JudgmentLog(eval_set.folder)
        self._pool = pool(self._rankings, depth)

    @classmethod
    def of_runs(
        cls,
        eval_set: EvalSet,
        runs: Sequence[Run],
        depth: int,
        judge: str,
        again: bool = False,
    ) -> JudgingSession:
        """The pool of stored runs; a reranked run is two systems, with and without."""
        systems = [
            System(f"{run.name} ({stage})", run.ranking(stage))
            for run in runs
            for stage in run.rankings
        ]
        return cls(eval_set, systems, depth, judge, again)

    def __len__(self) -> int:
        return sum(map(len, self._pool.values()))

    def pending(self) -> list[tuple[str, str]]:
        """(query id, image id) of what is left, the most decisive query first.

        A query's pictures stay together, in the judge's own order.
        """
        done = self._judged()
        order = next_queries(self._rankings, done, self.depth)
        return [
            (query_id, image_id)
            for query_id in order
            for image_id in shuffled(self._pool[query_id], query_id, self.judge)
            if image_id not in done.get(query_id, ())
        ]

    def pooled(self, query_id: str) -> list[str]:
        """All pooled pictures of a query, in the judge's order."""
        return shuffled(self._pool.get(query_id, ()), query_id, self.judge)

    def own_grades(self) -> dict[tuple[str, str], int]:
        """(query id, image id) to the grade that this judge gave."""
        return grades_of(self._log.rows(), self.judge)

    def comparisons(self) -> list[tuple[str, str, Bounds]]:
        """Bounds on the difference in DCG at the pool's depth, for each pair of systems."""
        qrels = current(self._log.rows())
        return [
            (a.name, b.name, bounds(left, right, qrels, self.depth, max(GRADES.values())))
            for (a, left), (b, right) in combinations(
                zip(self.systems, self._rankings, strict=True), 2
            )
        ]

    def verdicts(self) -> list[str]:
        """A sentence for each pair of systems."""
        lines = []
        for first, second, found in self.comparisons():
            ahead = second if found.low > 0 else first
            lines.append(
                f"Decided: {ahead} is ahead in DCG@{self.depth}, whatever the rest may be."
                if found.is_decided
                else f"Open: {second} minus {first} in DCG@{self.depth} is {found.judged:+.3f} so "
                f"far; the rest can bring it to {found.low:+.3f} or {found.high:+.3f}."
            )
        return lines

    def _judged(self) -> dict[str, set[str]]:
        rows = self._log.rows()
        people = {name for name, kind in judges(rows).items() if kind in ("person", "settled")}
        wanted = {self.judge} if self.again else people | {self.judge}
        judged: dict[str, set[str]] = {}
        for name in wanted:
            for query_id, image_id in grades_of(rows, name):
                judged.setdefault(query_id, set()).add(image_id)
        if not self.again:
            for row in rows:
                if row.kind == "imported":
                    judged.setdefault(row.query_id, set()).add(row.image_id)
        return judged
