"""The effect of a lower precision on the results of an eval set."""

from __future__ import annotations

import numpy as np

from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.exact_search import embed_set, rank_vectors
from mmrag.metrics.metrics import score_rankings


def compare_precisions(
    reference: Encoder, lowered: Encoder, eval_set: EvalSet, metric: str = "nDCG@10"
) -> dict[str, float]:
    """Rank an eval set exactly, in memory, with one encoder in two precisions.

    Returns:
        `METRIC_reference`, `METRIC` and `METRIC_change` (lowered minus reference); the least and
        the mean cosine between the two vectors of an input; `same_first_hit`, the share of queries.
    """
    full, low = embed_set(reference, eval_set), embed_set(lowered, eval_set)
    cosines = np.concatenate(
        [(full.gallery * low.gallery).sum(1), (full.queries * low.queries).sum(1)]
    )
    rankings = [rank_vectors(vectors, eval_set) for vectors in (full, low)]
    scores = [
        float(np.nanmean(score_rankings(ranking, eval_set, [metric]).values[metric]))
        for ranking in rankings
    ]
    same = [ranking[:1] == rankings[1][query][:1] for query, ranking in rankings[0].items()]
    return {
        f"{metric}_reference": round(scores[0], 5),
        metric: round(scores[1], 5),
        f"{metric}_change": round(scores[1] - scores[0], 5),
        "cosine_min": round(float(cosines.min()), 6),
        "cosine_mean": round(float(cosines.mean()), 6),
        "same_first_hit": round(float(np.mean(same)), 5),
    }
