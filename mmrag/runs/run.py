"""A run: the rankings of one configuration for one eval set, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.errors import MmragError
from mmrag.eval_sets.protocol import Protocol
from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import Summary
from mmrag.types import Usage

if TYPE_CHECKING:
    import pandas as pd

RETRIEVAL, RERANKED = "retrieval", "reranked"
# Not a ranking: the rewritten words of each query, and what they took.
REWRITTEN = "rewritten"
# If more than one reranking in this many failed, a run says nothing about its reranker.
_MOST_FAILED = 10
STOPPED_BY_BUDGET = "stopped: budget"


@dataclass(frozen=True)
class EvalSetRef:
    """The eval set that a run was made on.

    `labels_sha256` covers ids, texts, judgments and settings: runs that share it can be compared.
    `pictures_sha256` covers the bytes of the pictures of the gallery and of the queries asked,
    `gallery_sha256` of the gallery alone; None for an imported run.
    """

    name: str
    folder: str
    version: str
    labels_sha256: str
    pictures_sha256: str | None = None
    images: int = 0
    queries: int = 0
    primary_metric: str = "hit_rate@10"
    gallery_sha256: str | None = None


@dataclass(frozen=True)
class Ranked:
    """One query's ranking at one stage, best first.

    `details` may hold the `reason` a query was skipped for, the reranker's `explanation`,
    `status`, `problems`, `stages` and `memory_mb`, the order of a query's `subset`, and the
    SHA-256 of its `picture`.
    """

    query_id: str
    image_ids: list[str]
    scores: list[float]
    timings_ms: dict[str, float] = field(default_factory=dict)
    usage: Usage | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """A run.

    From `RunStore.load` it is complete; from `RunStore.runs` `rankings` and `scores` are empty.

    Attributes:
        run_id: short, unique, sorts by time.
        state: "complete", "running", "interrupted", "stopped" (on request) or "stopped: budget".
        created, finished: ISO 8601 in UTC.
        config: encoder, index, reranker, k, rerank_k, batch size, seed and so on, as plain values.
        environment: library versions, device, git commit.
        summaries: stage ("retrieval", "reranked") to metrics with intervals.
        timings_ms: part ("encode", "search", "rerank", "total") to p50, p95 and mean per query; for
            encoding and searching a query's share of its batch, so they measure throughput.
        latency_ms: the same parts for a sample of queries asked one by one, and `queries`, how
            many; see `mmrag.evaluation.latency`. Empty in runs of earlier versions.
        usage: requests, tokens and cost of reranking and answering together.
        lost: the part of `usage` paid for rerankings that will be asked for again.
        spent_usd: the most that all commands working on the run spent, in US dollars: the cost in
            `usage`, and requests whose outcome was lost.
        skipped: queries left out: `{"query_id", "reason"}`.
        missing_images: gallery images not in the index: `{"image_id", "reason"}`.
        ceiling: the best that reranking could reach: "hit_rate@N" and "R@N" of the first
            stage for N = `rerank_k`; empty without a reranker.
        reranks: how many queries' reranking was "complete", "repaired", "failed".
        rewrites: how many queries were "rewritten", and for how many this "failed", so that they
            were asked unchanged; empty without a rewriter.
        rerank_stages: gain and cost of each stage of a cascade, or of a cross-encoder; see
            `mmrag.runs.rerank_stages`.
        ablations: name to result, see `mmrag.evaluation.ablations`.
        labels: empty where no model gave labels; else "models" (name to number of labels), "others"
            (how many labels people gave), "sample" (queries judged by both) and "corrected" (stage
            to metric to the result of `mmrag.labels.corrected`).
        notes: sentences that a reader of the numbers needs.
        rankings: stage to query id to `Ranked`.
        scores: stage to per-query metrics.
    """

    run_id: str
    name: str
    eval_set: EvalSetRef
    state: str
    created: str
    finished: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    timings_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    lost: Usage = field(default_factory=Usage)
    spent_usd: float = 0.0
    finished_queries: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    missing_images: list[dict[str, str]] = field(default_factory=list)
    ceiling: dict[str, float] = field(default_factory=dict)
    reranks: dict[str, int] = field(default_factory=dict)
    rewrites: dict[str, int] = field(default_factory=dict)
    rerank_stages: list[dict[str, Any]] = field(default_factory=list)
    ablations: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rankings: dict[str, dict[str, Ranked]] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        from mmrag import notebook

        return notebook.run_html(self)

    def to_pandas(self) -> pd.DataFrame:
        """Metrics of each query, one stage and query a row; needs the scores."""
        from mmrag import notebook

        return notebook.scores_frame(self)

    @property
    def stage(self) -> str:
        """The last stage: "reranked" where there was a reranker, else "retrieval"."""
        return RERANKED if self.config.get("reranker") else RETRIEVAL

    @property
    def query_template(self) -> str | None:
        """The template of the text asked; None if each query's own was used."""
        template = self.config.get("query_template")
        return None if template is None else str(template)

    @property
    def rewriting(self) -> str:
        """Who reworded the queries, and how often that worked; "" without rewriting."""
        by = self.config.get("rewriter")
        if not by:
            return ""
        what = {"text": "the new words alone", "both": "picture and new words"}[by["encode"]]
        done, failed = (self.rewrites.get(key, 0) for key in ("rewritten", "failed"))
        return (
            f"Queries rewritten by {by['name']} ({by['prompt']}), {what} encoded: "
            f"{done} of {done + failed}"
        )

    @property
    def protocol(self) -> Protocol | None:
        """How the eval set was asked and scored; None where only the set itself says so."""
        stored = self.config.get("protocol")
        return Protocol.parse(stored, f"run {self.run_id}") if stored else None

    @property
    def summary(self) -> Summary:
        """Metrics of the last stage; empty for a run without metrics yet."""
        return self.summaries.get(self.stage, Summary({}))

    @property
    def metrics(self) -> dict[str, float]:
        """Metric to mean, of the last stage."""
        return {name: estimate.mean for name, estimate in self.summary.overall.items()}

    @property
    def warning(self) -> str:
        """A sentence to read before any number; empty if none is needed."""
        failed, asked = self.reranks.get("failed", 0), sum(self.reranks.values())
        if failed * _MOST_FAILED <= asked:
            return ""
        return (
            f"Reranking failed for {failed} of {asked} queries, which keep retrieval's order: "
            "what is said of reranking does not hold."
        )

    @property
    def label_note(self) -> str:
        """Who gave the labels, where models or metadata gave some of them; else empty."""
        models: dict[str, int] = self.labels.get("models", {})
        if not models:
            return ""
        total = sum(models.values()) + int(self.labels["others"])
        each = ", ".join(f"{count:,} by {name}" for name, count in models.items())
        whose = "not a person's" if "metadata" in models else "a model's"
        return f"{sum(models.values()) / total:.0%} of the {total:,} labels are {whose} ({each})."

    @property
    def total_queries(self) -> int:
        """How many queries the run set out to answer."""
        return int(self.config.get("queries", self.eval_set.queries))

    def ranking(self, stage: str | None = None) -> dict[str, list[str]]:
        """Query id to image ids, best first.

        Raises:
            MmragError: the run has no such stage.
        """
        stage = stage or self.stage
        self.check_stage(stage)
        return {query_id: one.image_ids for query_id, one in self.rankings[stage].items()}

    def stage_timings(self, stage: str) -> dict[str, dict[str, float]]:
        """Timings up to and including a stage. Needs the rankings."""
        last = self.rankings.get(RERANKED) if stage == RERANKED else None
        finished = set(self.scores[stage].query_ids) if stage in self.scores else None
        first = self.rankings.get(RETRIEVAL, {})
        if finished is not None:
            first = {i: one for i, one in first.items() if i in finished}
        return percentiles(first, last)

    def stage_cost(self, stage: str) -> float | None:
        """Cost of a stage in US dollars, with rewriting; None when a model has no price."""
        usages = [one.usage for one in self.rankings.get(RETRIEVAL, {}).values() if one.usage]
        rewriting = sum(usages, Usage()).cost_usd
        reranking = self.rerank_cost() if stage == RERANKED else 0.0
        return None if rewriting is None or reranking is None else rewriting + reranking

    def rerank_cost(self) -> float | None:
        """Cost of reranking in US dollars; None when the model has no price."""
        usages = [one.usage for one in self.rankings.get(RERANKED, {}).values() if one.usage]
        return sum(usages, self.lost).cost_usd

    def check_stage(self, stage: str) -> None:
        """Raise `MmragError` when the run has no such stage."""
        if not self.rankings:
            raise MmragError(
                f"Run {self.run_id} holds no rankings yet: it is {self.state}. The same "
                "evaluation, started again, goes on with it."
            )
        if stage not in self.rankings:
            raise MmragError(
                f"Run {self.run_id} has no stage {stage!r}; it has {', '.join(self.rankings)}."
            )


@dataclass(frozen=True)
class UnderWay:
    """A run that a process is making: `done` queries of its `total_queries` at a main stage."""

    run: Run
    stage: str
    done: int
    on_this_machine: bool


def percentiles(
    ranked: Mapping[str, Ranked], more: Mapping[str, Ranked] | None = None
) -> dict[str, dict[str, float]]:
    """p50, p95 and mean in milliseconds per query, by part; "total" adds up the parts.

    Args:
        ranked: the first stage's rankings.
        more: the reranked ones; queries missing there are left out of "total".
    """
    parts: dict[str, list[float]] = {}
    totals: list[float] = []
    for query_id, one in ranked.items():
        times = {name: ms for name, ms in one.timings_ms.items() if name != "total"}
        if more is not None and query_id in more:
            times["rerank"] = more[query_id].timings_ms.get("rerank", 0.0)
        if not times:
            continue
        for name, ms in times.items():
            parts.setdefault(name, []).append(ms)
        if more is None or query_id in more:
            totals.append(sum(times.values()))
    if totals:
        parts["total"] = totals
    return {
        name: {
            "p50": float(np.percentile(values, 50)),
            "p95": float(np.percentile(values, 95)),
            "mean": float(np.mean(values)),
        }
        for name, values in parts.items()
    }
