"""Metrics of rankings, per query: from `ir_measures`, and the few that composed retrieval adds.

A ranking is a list of image ids, best first; its order is what counts. Where only scores are
given, `trec_order` makes the order that trec_eval would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels

Floats = npt.NDArray[np.float64]
Grades = npt.NDArray[np.int32]

LOWER_IS_BETTER = ("hard_negative_rate",)
_OWN = re.compile(r"(hit_rate|mAP|R_subset|R_target|hard_negative_rate)@([1-9][0-9]*)")
_HUGE = re.compile(r"\d{7}")
_LONGEST = 100
_UNJUDGED = -(2**31)


@dataclass(frozen=True)
class Scores:
    """Metrics of each query.

    `values` maps a metric to (n,) float64 in the order of `query_ids`; NaN where the metric has no
    meaning for a query (hard negatives where none is judged, R_subset without a subset).
    `categories` holds each query's category, `aspects` its `semantic_aspects`. Queries without
    any relevant image are not in it; `without_relevant` counts them.
    """

    query_ids: list[str]
    categories: list[str]
    aspects: list[tuple[str, ...]]
    values: dict[str, Floats]
    without_relevant: int = 0


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return not metric.startswith(LOWER_IS_BETTER)


def cutoff(metric: str) -> int | None:
    """The k of "metric@k"; None for a metric of the whole ranking."""
    _, at, number = metric.rpartition("@")
    return int(number) if at and number.isdecimal() else None


def default_metrics(eval_set: EvalSet, k: int = 50) -> list[str]:
    """The metrics that suit an eval set, with cut-offs up to `k`; its primary metric first."""
    names = [f"hit_rate@{n}" for n in (1, 5, 10, 50)]
    names += ["R@10", "R@50", "nDCG@10", "mAP@5", "mAP@10", "mAP@25", "mAP@50", "P@10", "RR"]
    if any("subset" in query.metadata for query in eval_set.queries):
        names += [f"R_subset@{n}" for n in (1, 2, 3)]
    if any(isinstance(query.metadata.get("target"), str) for query in eval_set.queries):
        names += [f"R_target@{n}" for n in (5, 10, 25, 50)]
    if any(0 in judged.values() for judged in eval_set.qrels.values()):
        names += ["hard_negative_rate@1", "hard_negative_rate@10"]
    primary = canonical(eval_set.primary_metric)
    ordered = [primary, *(name for name in names if name != primary)]
    return [name for name in ordered if (cutoff(name) or 1) <= k]


def canonical(metric: str) -> str:
    """A metric's name as it is stored.

    Raises:
        MmragError: no such metric.
    """
    # A name may come from a file: an endless one is not parsed, and a cut-off takes memory.
    if len(metric) > _LONGEST or _HUGE.search(metric):
        raise MmragError(f"Unknown metric {metric[:_LONGEST]!r}: cut-offs have up to six digits.")
    return metric if _OWN.fullmatch(metric) else str(_ir_measure(metric))


def score_rankings(
    rankings: Mapping[str, Sequence[str]],
    eval_set: EvalSet,
    metrics: Sequence[str] | None = None,
    *,
    query_ids: Iterable[str] | None = None,
    subset_orders: Mapping[str, Sequence[str]] | None = None,
) -> Scores:
    """Score rankings per query.

    Args:
        rankings: query id to image ids, best first. A query that is absent found nothing.
        eval_set: its judgments; every query with a relevant image counts.
        metrics: names such as "nDCG@10" (anything `ir_measures` computes), "hit_rate@10",
            "mAP@10", "R_subset@1", "hard_negative_rate@10". Default: `default_metrics`.
        query_ids: score only these, for an evaluation that was stopped half-way.
        subset_orders: for R_subset, the order of a query's subset where the ranking does not
            reach far enough to hold all of it.

    Raises:
        MmragError: unknown metric.
    """
    names = [canonical(m) for m in metrics] if metrics is not None else default_metrics(eval_set)
    wanted = None if query_ids is None else set(query_ids)
    queries = [q for q in eval_set.queries if wanted is None or q.query_id in wanted]
    relevant = {
        qid for qid, judged in eval_set.qrels.items() if any(g > 0 for g in judged.values())
    }
    scored = [query for query in queries if query.query_id in relevant]
    ranked = [rankings.get(query.query_id, ()) for query in scored]
    judged = [eval_set.qrels[query.query_id] for query in scored]
    own = {name: match for name in names if (match := _OWN.fullmatch(name))}
    values = _from_ir_measures([n for n in names if n not in own], scored, ranked, judged)
    depth = max([int(match[2]) for match in own.values()], default=1)
    depth = min(depth, max(map(len, ranked), default=1)) or 1
    grades = _grade_matrix(ranked, judged, depth)
    for name, match in own.items():
        k = int(match[2])
        if match[1] == "hit_rate":
            values[name] = hit_rate(grades, k)
        elif match[1] == "mAP":
            totals = np.array([sum(g > 0 for g in one.values()) for one in judged], np.int64)
            values[name] = circo_average_precision(grades, totals, k)
        elif match[1] == "hard_negative_rate":
            values[name] = hard_negative_rate(grades, judged, k)
        elif match[1] == "R_target":
            pairs = zip(scored, ranked, strict=True)
            values[name] = np.array([target_recall(q, order, k) for q, order in pairs], np.float64)
        else:
            values[name] = np.array(
                [
                    subset_recall(query, order, (subset_orders or {}).get(query.query_id, ()), j, k)
                    for query, order, j in zip(scored, ranked, judged, strict=True)
                ],
                np.float64,
            )
    return Scores(
        [query.query_id for query in scored],
        [query.category for query in scored],
        [_aspects(query) for query in scored],
        {name: values[name] for name in names},
        without_relevant=len(queries) - len(scored),
    )


def hit_rate(grades: Grades, k: int) -> Floats:
    """1 for a query with a relevant image among the first k, else 0.

    Composed image retrieval calls its mean Recall@k (Z. Liu et al.: "Image Retrieval on Real-life
    Images with Pre-trained Vision-and-Language Models", ICCV 2021); trec_eval calls it success.
    """
    return np.asarray((grades[:, :k] > 0).any(axis=1), np.float64)


def circo_average_precision(grades: Grades, relevant: npt.NDArray[np.int64], k: int) -> Floats:
    """Average precision at k as CIRCO defines it: divided by min(k, number of relevant images).

    A. Baldrati et al.: "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023.
    trec_eval's map_cut (`AP@k`) divides by the number of relevant images instead.
    """
    found = grades[:, :k] > 0
    precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    best = np.minimum(k, np.maximum(relevant, 1))
    return np.asarray((precision * found).sum(axis=1) / best, np.float64)


def hard_negative_rate(grades: Grades, judged: Sequence[Mapping[str, int]], k: int) -> Floats:
    """Share of the first k results that are judged 0; NaN for queries without such judgments."""
    has_some = np.array([0 in one.values() for one in judged], bool)
    return np.where(has_some, (grades[:, :k] == 0).sum(axis=1) / k, np.nan)


def subset_recall(
    query: EvalQuery,
    ranking: Sequence[str],
    order: Sequence[str],
    judged: Mapping[str, int],
    k: int,
) -> float:
    """CIRR's R_subset@k: a relevant image is among the first k of the query's own subset.

    The ranking is restricted to `metadata["subset"]`, the look-alikes of the query picture
    (Z. Liu et al., ICCV 2021, as for `hit_rate`). NaN for a query without a subset.
    """
    subset = query.metadata.get("subset")
    if not subset:
        return float("nan")
    first = restrict_to_subset(subset, ranking, order)[:k]
    return float(any(judged.get(image_id, 0) > 0 for image_id in first))


def target_recall(query: EvalQuery, ranking: Sequence[str], k: int) -> float:
    """CIRCO's recall@k: the one image that `metadata["target"]` names is among the first k.

    NaN for a query without such an image; its other relevant images do not count here.
    """
    target = query.metadata.get("target")
    return float(target in ranking[:k]) if isinstance(target, str) else float("nan")


def restrict_to_subset(
    subset: Iterable[str], ranking: Sequence[str], order: Sequence[str] = ()
) -> list[str]:
    """The subset in the order of the ranking, what it does not reach in the order of `order`."""
    members = set(subset)
    return list(dict.fromkeys(i for i in (*ranking, *order) if i in members))


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Ids in the order of trec_eval: by score as a 32-bit float, ties by id, both descending."""
    as_float32 = np.array(list(scores.values()), np.float64).astype(np.float32).tolist()
    pairs = zip(as_float32, (image_id.encode() for image_id in scores), scores, strict=True)
    return [image_id for _, _, image_id in sorted(pairs, reverse=True)]


def _grade_matrix(
    rankings: Sequence[Sequence[str]], judged: Sequence[Mapping[str, int]], depth: int
) -> Grades:
    """(queries, depth) grades of the first results; `_UNJUDGED` for no judgment and no result."""
    grades = np.full((len(rankings), depth), _UNJUDGED, np.int32)
    for row, (ranking, known) in enumerate(zip(rankings, judged, strict=True)):
        first = [known.get(image_id, _UNJUDGED) for image_id in ranking[:depth]]
        grades[row, : len(first)] = first
    return grades


def _from_ir_measures(
    names: Sequence[str],
    queries: Sequence[EvalQuery],
    rankings: Sequence[Sequence[str]],
    judged: Sequence[Mapping[str, int]],
) -> dict[str, Floats]:
    """Per-query values; ranks become falling scores, so that the order given is scored."""
    values = {name: np.zeros(len(queries)) for name in names}
    if not names or not queries:
        return values
    import ir_measures

    falling = [float(score) for score in range(max(map(len, rankings)), 0, -1)]
    position = {query.query_id: i for i, query in enumerate(queries)}
    run = {
        query.query_id: dict(zip(ranking, falling, strict=False))
        for query, ranking in zip(queries, rankings, strict=True)
    }
    qrels: Qrels = {q.query_id: dict(one) for q, one in zip(queries, judged, strict=True)}
    measures = {_ir_measure(name): values[name] for name in names}
    for query_id, measure, value in ir_measures.evaluator(list(measures), qrels).iter_calc(run):
        measures[measure][position[query_id]] = value
    return values


def _ir_measure(name: str) -> Any:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        supported = ir_measures.DefaultPipeline.supports(measure)  # type: ignore[no-untyped-call]
    # A name may come from a file, and the parser is Python's own.
    except Exception as error:
        raise MmragError(
            f"Unknown metric {name!r}; use for example hit_rate@10, nDCG@10, R@50, AP@10, RR, "
            "mAP@10, R_subset@1 or hard_negative_rate@10."
        ) from error
    if not supported:
        raise MmragError(f"The metric {name!r} needs a scorer that is not installed.")
    return measure


def _aspects(query: EvalQuery) -> tuple[str, ...]:
    listed = query.metadata.get("semantic_aspects")
    return tuple(str(one) for one in listed) if isinstance(listed, list) else ()
