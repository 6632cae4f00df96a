"""Several rerankers in turn, each on fewer hits: `encoder:NAME@100,ce:NAME@20,vision@9`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from mmrag.errors import MmragError
from mmrag.rerank.reranker import OnDone, Reranker
from mmrag.types import RerankReport, SearchResult, Usage

_STAGE = re.compile(r"(.+)@(\d+)")


def parse_stages(name: str) -> list[tuple[str, int]]:
    """The name and depth of each stage of a cascade; nothing for any other name.

    "@N" after every name makes a cascade; after none there is none. Even a name that itself ends in
    "@" and digits, as a revision may, is followed by its depth.

    Raises:
        MmragError: some have a depth and some have none, or the depths grow.
    """
    parts = [part.strip() for part in name.split(",") if part.strip()]
    found = [_STAGE.fullmatch(part) for part in parts]
    if not any(found):
        return []
    stages = [(one[1], int(one[2])) for one in found if one is not None]
    if len(stages) < len(parts):
        without = next(part for part, one in zip(parts, found, strict=True) if one is None)
        raise MmragError(
            f"{without!r} has no depth, but others have: write NAME@N for every stage of a "
            "cascade, such as encoder:demo@100,vision@9, or for none to compare rerankers."
        )
    depths = [depth for _, depth in stages]
    if depths != sorted(depths, reverse=True) or depths[-1] < 1:
        raise MmragError(
            f"The stages of {name!r} must look at fewer and fewer hits, and at 1 or more."
        )
    return stages


class Cascade(Reranker):
    """Runs rerankers one after another, each on the first `depth` hits of the one before.

    A hit's score comes from the last stage that looked at it. `rerank.details["stages"]` holds for
    each stage `reranker`, `depth`, `ms`, `status`, `usage`, `memory_mb` if known, and `order`, the
    ids of the hits that it looked at, best first.

    Args:
        stages: each with its `depth`, the largest first.
        name: as `load_reranker` knows it.
    """

    def __init__(self, stages: Sequence[Reranker], name: str) -> None:
        self.stages, self.name = list(stages), name
        self.depth = self.stages[0].depth
        self.fingerprint = " ".join(filter(None, (one.fingerprint for one in self.stages)))
        self.costs_money = any(one.costs_money for one in self.stages)
        self.together = max(one.together for one in self.stages)
        self.budget = next((one.budget for one in self.stages if one.budget is not None), None)

    @property
    def configuration(self) -> dict[str, Any]:
        """The arguments of `load_reranker` that shape the outcome."""
        shared = {key: value for one in self.stages for key, value in one.configuration.items()}
        return {**shared, "name": self.name, "depth": None}

    def notices(self) -> list[str]:
        """The notices of all stages."""
        return [said for one in self.stages for said in one.notices()]

    def again(self, number: int) -> Cascade:
        """The same with every stage asked anew."""
        return Cascade([one.again(number) for one in self.stages], self.name)

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`; the status is "failed" if a stage's is."""
        told: list[list[dict[str, Any]]] = [[] for _ in results]
        current = list(results)

        def conclude(place: int, outcome: SearchResult) -> SearchResult:
            stages = told[place] + [_told(self.stages[-1], outcome)]
            return _concluded(outcome, stages, self.name)

        def done(place: int, outcome: SearchResult) -> None:
            if on_done is not None:
                on_done(place, conclude(place, outcome))

        for stage in self.stages:
            stage.on_wait = self.on_wait
            last = stage is self.stages[-1]
            current = stage.rerank_many(current, done if last else None)
            if not last:
                for place, outcome in enumerate(current):
                    told[place].append(_told(stage, outcome))
        return [conclude(place, outcome) for place, outcome in enumerate(current)]


def _told(stage: Reranker, outcome: SearchResult) -> dict[str, Any]:
    report = outcome.rerank
    assert report is not None
    memory = {key: one for key, one in report.details.items() if key == "memory_mb"}
    return {
        "reranker": stage.name,
        "depth": stage.depth,
        "ms": outcome.timings_ms["rerank"],
        "status": report.status,
        "problems": list(report.problems),
        "usage": asdict(report.usage),
        **memory,
        "order": [hit.image_id for hit in outcome.hits[: stage.depth]],
    }


def _concluded(outcome: SearchResult, stages: Sequence[dict[str, Any]], name: str) -> SearchResult:
    statuses = {one["status"] for one in stages}
    status: Literal["complete", "repaired", "failed"] = "complete"
    if statuses != {"complete"}:
        status = "failed" if "failed" in statuses else "repaired"
    report = RerankReport(
        name,
        status,
        tuple(f"{one['reranker']}: {said}" for one in stages for said in one["problems"]),
        sum((Usage(**one["usage"]) for one in stages), Usage()),
        {"stages": list(stages)},
    )
    timings = {**outcome.timings_ms, "rerank": sum(one["ms"] for one in stages)}
    return replace(outcome, timings_ms=timings, rerank=report)
