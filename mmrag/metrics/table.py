"""The table of metrics: a new one is one function and one entry in `METRICS`.

Scoring, the command line, the dashboard and the documentation read it. Other metrics are looked up
in `ir_measures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.metrics.redundancy import repeated_shares

Floats = npt.NDArray[np.float64]
Grades = npt.NDArray[np.int32]
_UNJUDGED = -(2**31)


@dataclass(frozen=True)
class Scored:
    """Queries with a relevant image, their rankings and judgments, row by row.

    `orders` maps a query id to the order of its subset, for members beyond the ranking; `grades`
    covers the first `depth` results, and no function looks further. `paths` are the gallery's
    pictures by id, for functions that read them.
    """

    queries: Sequence[EvalQuery]
    rankings: Sequence[Sequence[str]]
    judged: Sequence[Mapping[str, int]]
    orders: Mapping[str, Sequence[str]]
    depth: int
    paths: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def grades(self) -> Grades:
        """(queries, depth) grades of the first results; far below 0 where there is none."""
        grades = np.full((len(self.rankings), self.depth), _UNJUDGED, np.int32)
        for row, (ranking, known) in enumerate(zip(self.rankings, self.judged, strict=True)):
            first = [known.get(image_id, _UNJUDGED) for image_id in ranking[: self.depth]]
            grades[row, : len(first)] = first
        return grades


@dataclass(frozen=True)
class Need:
    """What an eval set must contain for a metric to be meaningful."""

    what: str
    is_met: Callable[[EvalSet], bool]


@dataclass(frozen=True)
class Metric:
    """One metric, at any cut-off.

    Attributes:
        name: as people write it, before the "@".
        title: as tables for people show it.
        help: one sentence.
        formula: of one query's value; k is the cut-off, g(i) the grade at place i, R the number of
            right images.
        source: who defined it.
        function: gives (n,) values for a cut-off, NaN where the metric means nothing for a query;
            None for what `ir_measures` computes under the same name.
        cutoffs: computed unless others are asked for; None is the whole ranking.
        leading: the cut-offs that are shown first.
        needs: without it, the metric is not among the defaults.
        higher_is_better: whether more of it is better.
        diagnostic: whether it only says how far the others can be trusted; it is no result of its
            own, and is compared only on request.
    """

    name: str
    title: str
    help: str
    function: Callable[[Scored, int], Floats] | None = None
    cutoffs: tuple[int | None, ...] = ()
    leading: tuple[int | None, ...] = ()
    needs: Need | None = None
    higher_is_better: bool = True
    diagnostic: bool = False
    formula: str = ""
    source: str = ""

    def at(self, cutoffs: Sequence[int | None]) -> list[str]:
        """The metric's names with these cut-offs."""
        return [self.name if k is None else f"{self.name}@{k}" for k in cutoffs]


def hit_rate(scored: Scored, k: int) -> Floats:
    """1 for a query with a relevant image among the first k, else 0.

    Composed image retrieval calls its mean Recall@k (Z. Liu et al.: "Image Retrieval on Real-life
    Images with Pre-trained Vision-and-Language Models", ICCV 2021); trec_eval calls it success.
    """
    return np.asarray((scored.grades[:, :k] > 0).any(axis=1), np.float64)


def circo_average_precision(scored: Scored, k: int) -> Floats:
    """Average precision at k as CIRCO defines it: divided by min(k, number of relevant images).

    A. Baldrati et al.: "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023.
    trec_eval's map_cut (`AP@k`) divides by the number of relevant images instead.
    """
    found = scored.grades[:, :k] > 0
    precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    relevant = np.array([sum(g > 0 for g in one.values()) for one in scored.judged], np.int64)
    best = np.minimum(k, np.maximum(relevant, 1))
    return np.asarray((precision * found).sum(axis=1) / best, np.float64)


def trapezoid_average_precision(scored: Scored, k: int) -> Floats:
    """Average precision of the first k, with the precision between two hits as a trapezoid.

    i-CIR scores each query's candidates this way (B. Psomas et al., NeurIPS 2025), after the
    revisited Oxford and Paris sets (F. Radenović et al., CVPR 2018).
    """
    found = scored.grades[:, :k] > 0
    before: Floats = np.cumsum(found, axis=1, dtype=np.float64) - found
    places = np.arange(found.shape[1])
    earlier = np.where(places == 0, 1.0, before / np.maximum(places, 1))
    precision = (earlier + (before + 1) / (places + 1)) / 2
    relevant = np.array([sum(g > 0 for g in one.values()) for one in scored.judged], np.int64)
    return np.asarray((precision * found).sum(axis=1) / np.maximum(relevant, 1), np.float64)


def hard_negative_rate(scored: Scored, k: int) -> Floats:
    """Share of the first k results judged 0; NaN for queries without such judgments."""
    has_some = np.array([0 in one.values() for one in scored.judged], bool)
    return np.where(has_some, (scored.grades[:, :k] == 0).sum(axis=1) / k, np.nan)


def judged_share(scored: Scored, k: int) -> Floats:
    """Share of the first k results that are judged at all; NaN for a query that found nothing."""
    found = np.array([min(k, len(ranking)) for ranking in scored.rankings], np.float64)
    judged = (scored.grades[:, :k] != _UNJUDGED).sum(axis=1)
    return np.divide(judged, found, out=np.full(len(found), np.nan), where=found > 0)


def redundancy(scored: Scored, k: int) -> Floats:
    """Share of the first k results that look like an earlier one; NaN for fewer than two.

    Pictures look alike if their thumbnails differ by less than `redundancy.SAME`.
    """
    return repeated_shares(scored.rankings, scored.paths, k)


def subset_recall(scored: Scored, k: int) -> Floats:
    """CIRR's R_subset@k: a relevant image is among the first k of the query's own subset.

    The ranking is restricted to `metadata["subset"]`, the look-alikes of the query picture
    (Z. Liu et al., ICCV 2021, as for `hit_rate`); members that it does not reach follow in the
    order of `orders`. NaN for a query without a subset.
    """
    values = np.full(len(scored.queries), np.nan)
    rows = zip(scored.queries, scored.rankings, scored.judged, strict=True)
    for row, (query, ranking, judged) in enumerate(rows):
        if subset := set(query.metadata.get("subset") or ()):
            order = dict.fromkeys((*ranking, *scored.orders.get(query.query_id, ())))
            first = [image_id for image_id in order if image_id in subset][:k]
            values[row] = any(judged.get(image_id, 0) > 0 for image_id in first)
    return values


def target_recall(scored: Scored, k: int) -> Floats:
    """CIRCO's recall@k: the one image that `metadata["target"]` names is among the first k.

    NaN for a query without such an image; its other relevant images do not count here.
    """
    targets = [query.metadata.get("target") for query in scored.queries]
    pairs = zip(targets, scored.rankings, strict=True)
    found = [float(t in order[:k]) if isinstance(t, str) else np.nan for t, order in pairs]
    return np.array(found, np.float64)


SUBSET = Need(
    "queries with a subset, as in CIRR",
    lambda one: any("subset" in query.metadata for query in one.queries),
)
TARGET = Need(
    "queries with a target of their own, as in CIRCO",
    lambda one: any(isinstance(query.metadata.get("target"), str) for query in one.queries),
)
POOLS = Need(
    "queries with candidates of their own, as in i-CIR",
    lambda one: any(query.pool for query in one.queries),
)
HARD_NEGATIVES = Need(
    "images judged 0",
    lambda one: any(0 in judged.values() for judged in one.qrels.values()),
)

METRICS = {
    one.name: one
    for one in (
        Metric(
            "hit_rate",
            "Hit rate",
            "Share of queries with a right image among the first k; composed retrieval's Recall@k.",
            hit_rate,
            cutoffs=(1, 5, 10, 50),
            leading=(1, 10),
            formula="1 if some g(i) > 0 with i ≤ k, else 0",
            source="Z. Liu et al., ICCV 2021 (CIRR), as Recall@k; trec_eval's success",
        ),
        Metric(
            "R",
            "Recall",
            "Share of a query's right images that are among the first k.",
            cutoffs=(10, 50),
            formula="right images among the first k / R",
            source="trec_eval's recall",
        ),
        Metric(
            "nDCG",
            "nDCG",
            "Graded relevance of the first k, early places counting most; 1 for the best order.",
            cutoffs=(10,),
            leading=(10,),
            formula="DCG / DCG of the best order; DCG = Σ g(i) / log2(i + 1) over i ≤ k",
            source="K. Järvelin and J. Kekäläinen, TOIS 2002; trec_eval's ndcg_cut",
        ),
        Metric(
            "mAP",
            "mAP",
            "Average precision as CIRCO defines it: divided by k where more images are right.",
            circo_average_precision,
            cutoffs=(5, 10, 25, 50),
            leading=(10,),
            formula="(Σ P@i over right places i ≤ k) / min(k, R)",
            source="A. Baldrati et al., ICCV 2023 (CIRCO)",
        ),
        Metric(
            "P",
            "Precision",
            "Share of the first k that are right.",
            cutoffs=(10,),
            formula="right images among the first k / k",
            source="trec_eval's P",
        ),
        Metric(
            "RR",
            "Reciprocal rank",
            "1 divided by the place of the first right image.",
            cutoffs=(None,),
            leading=(None,),
            formula="1 / place of the first right image; 0 without one",
            source="trec_eval's recip_rank",
        ),
        Metric(
            "AP",
            "Average precision",
            "trec_eval's average precision of the ranking.",
            formula="(Σ P@i over right places i ≤ k) / R",
            source="trec_eval's map and map_cut",
        ),
        Metric(
            "AP_trapezoid",
            "Average precision, trapezoid",
            "i-CIR's: average precision of the first k, interpolated between right images.",
            trapezoid_average_precision,
            cutoffs=(10_000,),
            needs=POOLS,
            formula="(Σ (P@i + P before i) / 2 over right places i ≤ k) / R",
            source="B. Psomas et al., NeurIPS 2025 (i-CIR)",
        ),
        Metric(
            "R_subset",
            "Recall in the subset",
            "CIRR's: a right image is among the first k of the query picture's look-alikes.",
            subset_recall,
            cutoffs=(1, 2, 3),
            needs=SUBSET,
            formula="hit_rate@k of the ranking with only the subset left in it",
            source="Z. Liu et al., ICCV 2021 (CIRR)",
        ),
        Metric(
            "R_target",
            "Recall of the target",
            "CIRCO's: the one image that the query was written for is among the first k.",
            target_recall,
            cutoffs=(5, 10, 25, 50),
            needs=TARGET,
            formula="1 if the target's place ≤ k, else 0",
            source="A. Baldrati et al., ICCV 2023 (CIRCO)",
        ),
        Metric(
            "hard_negative_rate",
            "Hard negative rate",
            "Share of the first k that are judged wrong.",
            hard_negative_rate,
            cutoffs=(1, 10),
            leading=(1,),
            needs=HARD_NEGATIVES,
            higher_is_better=False,
            formula="images judged 0 among the first k / k",
            source="this project",
        ),
        Metric(
            "redundancy",
            "Redundancy",
            "Share of the first k that look like one before them: near-duplicates.",
            redundancy,
            higher_is_better=False,
            formula="results among the first k that look like one before them / number of results",
            source="this project",
        ),
        Metric(
            "Judged",
            "Judged",
            "Share of the first k that anybody judged; what nobody judged counts as wrong.",
            judged_share,
            cutoffs=(10,),
            needs=HARD_NEGATIVES,
            diagnostic=True,
            formula="judged images among the first k / min(k, number of results)",
            source="ir_measures' Judged",
        ),
    )
}


def find_metric(name: str) -> Metric | None:
    """Look up a metric by its name, with or without a cut-off; None if it is not in the table."""
    return METRICS.get(name.partition("@")[0])


def needs_subset(metric: str) -> bool:
    """Whether a metric needs a query's own subset, which a ranking may not reach."""
    entry = find_metric(metric)
    return entry is not None and entry.needs is SUBSET


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    entry = find_metric(metric)
    return entry is None or entry.higher_is_better


def is_diagnostic(metric: str) -> bool:
    """Whether a metric only says how far the others can be trusted."""
    entry = find_metric(metric)
    return entry is not None and entry.diagnostic


def metric_title(metric: str) -> str:
    """A metric's name for people: "Hit rate@10"."""
    name, at, k = metric.partition("@")
    entry = find_metric(metric)
    return (entry.title if entry else name) + at + k


def leading_metrics() -> list[str]:
    """The metrics that are shown first."""
    return [name for one in METRICS.values() for name in one.at(one.leading)]
