"""Scores of rankings, per query: from `ir_measures`, and a few for composed retrieval.

A ranking is a list of image ids, best first; only its order counts. Where only scores are given,
`trec_order` gives the order that trec_eval would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.metrics.table import METRICS, Floats, Scored

_CUTOFF = re.compile(r"[1-9][0-9]*")
_HUGE = re.compile(r"\d{7}")
_LONGEST = 100


@dataclass(frozen=True)
class Scores:
    """Metrics of each query.

    `values` maps a metric to (n,) float64 in the order of `query_ids`; NaN where the metric means
    nothing for a query (hard negatives where none is judged, R_subset without a subset).
    `categories` holds each query's category, `aspects` its `semantic_aspects`. Queries without
    a relevant image are left out; `without_relevant` counts them.
    """

    query_ids: list[str]
    categories: list[str]
    aspects: list[tuple[str, ...]]
    values: dict[str, Floats]
    without_relevant: int = 0


def cutoff(metric: str) -> int | None:
    """The k of "metric@k"; None for a metric of the whole ranking."""
    _, at, number = metric.rpartition("@")
    return int(number) if at and number.isdecimal() else None


def default_metrics(eval_set: EvalSet, k: int = 50) -> list[str]:
    """The metrics that suit an eval set, with cut-offs up to `k`; its primary metric first.

    The metrics of its protocol are included.
    """
    names = [
        name
        for one in METRICS.values()
        if one.needs is None or one.needs.is_met(eval_set)
        for name in one.at(one.cutoffs)
    ]
    primary = canonical(eval_set.primary_metric)
    published = eval_set.protocol.metrics if eval_set.protocol else ()
    names = list(dict.fromkeys([*map(canonical, published), *names]))
    ordered = [primary, *(name for name in names if name != primary)]
    return [name for name in ordered if (cutoff(name) or 1) <= k]


def canonical(metric: str) -> str:
    """A metric's name as it is stored.

    Raises:
        MmragError: no such metric.
    """
    # A name may come from a file: a huge one is not parsed, and a huge cut-off takes memory.
    if len(metric) > _LONGEST or _HUGE.search(metric):
        raise MmragError(f"Unknown metric {metric[:_LONGEST]!r}: cut-offs have up to six digits.")
    return metric if _own_cutoff(metric) else str(_ir_measure(metric))


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
        rankings: query id to image ids, best first. An absent query counts as no hits.
        eval_set: its judgments; every query with a relevant image counts.
        metrics: names such as "nDCG@10" (anything `ir_measures` computes), "hit_rate@10",
            "mAP@10", "R_subset@1", "hard_negative_rate@10". Default: `default_metrics`.
        query_ids: score only these, for an evaluation that was stopped half-way.
        subset_orders: for R_subset, the order of a query's subset where the ranking is too short to
            hold all of it.

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
    own = {name: k for name in names if (k := _own_cutoff(name))}
    longest = max(map(len, ranked), default=0)
    depth = max(1, min(max(own.values(), default=1), longest))
    paths = {image.image_id: image.path for image in eval_set.images} if own else {}
    table = Scored(scored, ranked, judged, subset_orders or {}, depth, paths)
    values = _from_ir_measures([n for n in names if n not in own], scored, ranked, judged)
    for name, k in own.items():
        function = METRICS[name.partition("@")[0]].function
        assert function is not None
        values[name] = function(table, k)
    return Scores(
        [query.query_id for query in scored],
        [query.category for query in scored],
        [_aspects(query) for query in scored],
        {name: values[name] for name in names},
        without_relevant=len(queries) - len(scored),
    )


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Ids in trec_eval's order: by score as a 32-bit float, ties by id, both descending."""
    as_float32 = np.array(list(scores.values()), np.float64).astype(np.float32).tolist()
    pairs = zip(as_float32, (image_id.encode() for image_id in scores), scores, strict=True)
    return [image_id for _, _, image_id in sorted(pairs, reverse=True)]


def _from_ir_measures(
    names: Sequence[str],
    queries: Sequence[EvalQuery],
    rankings: Sequence[Sequence[str]],
    judged: Sequence[Mapping[str, int]],
) -> dict[str, Floats]:
    """Per-query values; ranks become falling scores, to score the given order."""
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


def _own_cutoff(metric: str) -> int | None:
    """The k of a metric that has a function in the table; None for every other name."""
    name, _, k = metric.partition("@")
    entry = METRICS.get(name)
    known = entry is not None and entry.function is not None and _CUTOFF.fullmatch(k)
    return int(k) if known else None


def _ir_measure(name: str) -> Any:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        supported = ir_measures.DefaultPipeline.supports(measure)  # type: ignore[no-untyped-call]
    # A name may come from a file, and is parsed by Python's own parser.
    except Exception as error:
        raise MmragError(
            f"Unknown metric {name!r}; use for example hit_rate@10, nDCG@10 or mAP@10 (`mmrag "
            "metrics` lists them)."
        ) from error
    if not supported:
        raise MmragError(f"The metric {name!r} needs a scorer that is not installed.")
    return measure


def _aspects(query: EvalQuery) -> tuple[str, ...]:
    listed = query.metadata.get("semantic_aspects")
    return tuple(str(one) for one in listed) if isinstance(listed, list) else ()
