"""Beyond recall: which part of a query does the work, and what wording and precision change.

Every function returns plain values for `Run.ablations`; differences are `asdict(Difference)`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.evaluation.composition import composition, label_depth
from mmrag.evaluation.exact_search import embed_set, rank_vectors
from mmrag.evaluation.stages import Stages, Variant
from mmrag.index.image_index import ImageIndex
from mmrag.metrics.metrics import Scores, score_rankings
from mmrag.metrics.paired import compare_scores, paired_difference
from mmrag.metrics.statistics import bootstrap_interval, generator
from mmrag.metrics.table import higher_is_better, needs_subset
from mmrag.runs.labels import ALONE
from mmrag.runs.run import Ranked
from mmrag.search.searcher import Searcher
from mmrag.types import Query


@dataclass(frozen=True)
class Ablations:
    """The extra measurements that `evaluate` makes.

    Attributes:
        modality: also run composed queries as image alone and as text alone.
        paraphrases: also run queries in the words of their `paraphrases`.
        precision: "bf16" or "fp16": compare it with float32, in memory; the encoder must have been
            loaded in float32.
        index: compare the index's results with exact search over the vectors it holds.
        answers: answer the queries that have a question, with and without retrieval.
        repeat: how often the same reranking is made, at least 2; 0 for no such measurement.
        shuffles: how many random orders of the candidates to rerank as well; see `shuffled`.
    """

    modality: bool = False
    paraphrases: bool = False
    precision: str | None = None
    index: bool = False
    answers: bool = False
    repeat: int = 0
    shuffles: int | None = None

    def __post_init__(self) -> None:
        if self.repeat == 1 or self.repeat < 0:
            raise MmragError(f"A spread needs 2 repetitions or more, not {self.repeat}.")

    def settings(self) -> dict[str, Any]:
        """The ablations as a run notes them."""
        later = ("repeat", "shuffles")
        return {name: value for name, value in asdict(self).items() if name not in later or value}


@dataclass(frozen=True)
class Setting:
    """State shared by the ablations: the run's readable queries, its settings and its stages."""

    eval_set: EvalSet
    searcher: Searcher
    stages: Stages
    first: Mapping[str, Ranked]
    k: int
    metrics: Sequence[str]
    seed: int

    def retrieve(self, stage: str, variants: Sequence[Variant]) -> Scores:
        """Rank, store and score variants of queries."""
        ranked = self.stages.retrieve(
            stage,
            self.searcher,
            variants,
            self.k,
            exclude_query_image=self.eval_set.exclude_query_image,
        )
        return self.score({query_id: one.image_ids for query_id, one in ranked.items()})

    def score(self, rankings: Mapping[str, Sequence[str]]) -> Scores:
        """Per-query metrics of the queries in `rankings`."""
        metrics = [name for name in self.metrics if not needs_subset(name)]
        return score_rankings(rankings, self.eval_set, metrics, query_ids=rankings)

    def original(self, queries: Sequence[EvalQuery]) -> Scores:
        """Per-query metrics of these queries, unchanged."""
        return self.score({q.query_id: self.first[q.query_id].image_ids for q in queries})


def modality(setting: Setting) -> dict[str, Any]:
    """Compare image alone, text alone and both; the gain is over the better single one.

    A gain near 0 means that the set, or the encoder, takes a shortcut through one of them.
    """
    composed = [query for query in setting.eval_set.queries if query.image and query.text]
    if not composed:
        return {"queries": 0, "note": "No query has both an image and a text."}
    image = setting.retrieve(ALONE[0], [Variant(q, Query(images=q.images)) for q in composed])
    text = setting.retrieve(ALONE[1], [Variant(q, Query(None, q.text)) for q in composed])
    both = setting.original(composed)
    metrics = {}
    for name in both.values:
        alone = {"image": image.values[name], "text": text.values[name]}
        rest = alone | {"composed": both.values[name]}
        if not higher_is_better(name) or any(np.isnan(v).all() for v in rest.values()):
            continue
        means = {part: float(np.nanmean(values)) for part, values in rest.items()}
        better = max(alone, key=means.__getitem__)
        gain = paired_difference(name, alone[better], both.values[name], setting.seed)
        assert gain is not None
        metrics[name] = {**means, "better_alone": better, "gain": asdict(gain)}
    return {
        "queries": len(both.query_ids),
        "metrics": metrics,
        **({"composition": _composition(setting, image, text, both)} if both.query_ids else {}),
    }


def _composition(setting: Setting, image: Scores, text: Scores, both: Scores) -> dict[str, Any]:
    """Labels and gap at the depth of the set's primary metric, with a hit rate at that depth."""
    depth = label_depth(setting.eval_set.primary_metric, setting.k)
    metric = f"hit_rate@{depth}"
    stages = ((ALONE[0], image), (ALONE[1], text), (None, both))
    with_hits = []
    for stage, scores in stages:
        if metric not in scores.values:
            ranked = setting.stages.read(stage) if stage else setting.first
            orders = {i: ranked[i].image_ids for i in scores.query_ids}
            hits = score_rankings(orders, setting.eval_set, [metric], query_ids=orders)
            scores = replace(scores, values={**scores.values, **hits.values})
        with_hits.append(scores)
    image, text, both = with_hits
    return composition(image, text, both, metric, setting.seed)


def paraphrases(setting: Setting) -> dict[str, Any]:
    """Score paraphrased queries: the mean and the worst over the paraphrases, and the spread.

    `spread` is the mean over queries of best minus worst wording, the original included.
    """
    queries = [query for query in setting.eval_set.queries if query.paraphrases]
    if not queries:
        return {"queries": 0, "note": "No query has paraphrases."}
    original = setting.original(queries)
    row = {query_id: i for i, query_id in enumerate(original.query_ids)}
    most = max(len(query.paraphrases) for query in queries)
    worded: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in original.values}
    for number in range(most):
        variants = [
            Variant(query, query.query_of(query.images, query.paraphrases[number]))
            for query in queries
            if number < len(query.paraphrases)
        ]
        scores = setting.retrieve(f"paraphrase {number + 1}", variants)
        rows = [row[query_id] for query_id in scores.query_ids]
        for name, values in scores.values.items():
            column = np.full(len(row), np.nan)
            column[rows] = values
            worded[name].append(column)
    metrics = {}
    for name, columns in worded.items():
        first, others = original.values[name], np.stack(columns)
        defined = ~np.isnan(first)
        if not higher_is_better(name) or not defined.any():
            continue
        first, others = first[defined], others[:, defined]
        everything = np.vstack([first, others])
        change = paired_difference(name, first, np.nanmean(others, axis=0), setting.seed)
        assert change is not None
        metrics[name] = {
            "original": float(first.mean()),
            "paraphrases": float(np.nanmean(others, axis=0).mean()),
            "worst": float(np.nanmin(others, axis=0).mean()),
            "spread": float((np.nanmax(everything, axis=0) - np.nanmin(everything, axis=0)).mean()),
            "difference": asdict(change),
        }
    return {
        "queries": len(original.query_ids),
        "wordings": sum(len(query.paraphrases) for query in queries),
        "metrics": metrics,
    }


def check_index(setting: Setting) -> dict[str, Any]:
    """Recall of the index's results against exact search over the vectors that it holds.

    Results as near as the k-th exact one count as right, so ties do no harm.
    """
    index = setting.searcher.index
    queries = [query for query in setting.eval_set.queries if not query.pool]
    if not queries:
        return {
            "queries": 0,
            "note": "Each query has candidates of its own, which are compared without the index.",
        }
    ids, gallery = stored_vectors(index)
    row = {image_id: i for i, image_id in enumerate(ids)}
    cutoffs = [n for n in (1, 10, setting.k) if n <= setting.k]
    recall: dict[int, list[float]] = {n: [] for n in cutoffs}
    size = setting.stages.batch_size
    for start in range(0, len(queries), size):
        setting.stages.check_stop()
        batch = queries[start : start + size]
        vectors = setting.searcher.encode([query.query() for query in batch], size)
        exact = vectors @ gallery.T
        for scores, rows in zip(exact, index.search(vectors, setting.k), strict=True):
            best = np.sort(scores)[::-1]
            found = np.array([scores[row[one["image_id"]]] for one in rows])
            for n in cutoffs:
                most = min(n, len(best))
                recall[n].append(float((found[:n] >= best[most - 1] - 1e-6).sum()) / most)
        setting.stages.report("index check", min(start + size, len(queries)), len(queries))
    found_recall = {}
    for n, values in recall.items():
        low, high = bootstrap_interval(np.array(values)[:, None], generator(setting.seed, "index"))
        found_recall[f"recall@{n}"] = {
            "mean": float(np.mean(values)),
            "ci95": (float(low[0]), float(high[0])),
            "worst": min(values),
        }
    return {"queries": len(queries), "vectors": len(ids), "metrics": found_recall}


def stored_vectors(index: ImageIndex) -> tuple[list[str], Vectors]:
    """All ids and vectors of a collection: (n, dim) float32."""
    ids: list[str] = []
    vectors: list[np.ndarray[Any, Any]] = []
    for row in index.rows(["image_id", "vector"]):
        ids.append(row["image_id"])
        vectors.append(np.asarray(row["vector"], np.float32))
    return ids, np.stack(vectors)


def check_can_lower(encoder: Encoder, precision: str) -> None:
    """Raise `MmragError` unless `encoder` can be the float32 reference of a precision check."""
    if encoder.info.precision != "fp32":
        raise MmragError(
            f"The precision check compares against float32, but {encoder.info.name} was loaded in "
            f"{encoder.info.precision}; load it with precision fp32."
        )
    if precision not in ("bf16", "fp16"):
        raise MmragError(f"The precision to check is bf16 or fp16, not {precision!r}.")


def in_precision(encoder: Encoder, precision: str) -> Encoder:
    """A copy of a float32 encoder in another precision; see `check_can_lower`."""
    import torch

    from mmrag.encoders.device import torch_dtype

    check_can_lower(encoder, precision)
    model = copy.deepcopy(encoder.model)
    assert isinstance(model, torch.nn.Module)
    lowered = model.to(torch_dtype(precision))
    return Encoder(lowered, replace(encoder.info, precision=precision))


def check_precision(setting: Setting, precision: str) -> dict[str, Any]:
    """Compare metrics and nearest neighbours in `precision` and float32, by exact search in memory.

    Gallery and queries are encoded in both; nothing is taken from the index.
    """
    reference = setting.searcher.encoder
    lowered = in_precision(reference, precision)
    setting.stages.report("precision check", 0, 2)
    vectors = []
    for done, encoder in enumerate((reference, lowered), start=1):
        setting.stages.check_stop()
        vectors.append(embed_set(encoder, setting.eval_set, setting.stages.batch_size))
        setting.stages.report("precision check", done, 2)
    rankings = [rank_vectors(one, setting.eval_set, setting.k) for one in vectors]
    full, low = (setting.score(one) for one in rankings)
    pairs = [(rankings[0][i], rankings[1][i]) for i in rankings[0]]
    overlap = [len(set(a[:10]) & set(b[:10])) / max(1, len(a[:10])) for a, b in pairs]
    cosines = np.concatenate(
        [
            (vectors[0].gallery * vectors[1].gallery).sum(axis=1),
            (vectors[0].queries * vectors[1].queries).sum(axis=1),
        ]
    )
    return {
        "reference": "fp32",
        "precision": precision,
        "queries": len(pairs),
        "metrics": {
            name: asdict(difference)
            for name, difference in compare_scores(full, low, seed=setting.seed).items()
        },
        "same_nearest": float(np.mean([a[:1] == b[:1] for a, b in pairs])),
        "overlap@10": float(np.mean(overlap)),
        "cosine": {"mean": float(cosines.mean()), "min": float(cosines.min())},
    }
