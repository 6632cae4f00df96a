"""How much a reranker's answers to the same question differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.evaluation.ablations import Setting
from mmrag.rerank.reranker import Reranker
from mmrag.runs.run import RERANKED, Ranked
from mmrag.types import GalleryImage


def stage_name(number: int) -> str:
    """The stage of a repetition; the first one after the run's own is 1."""
    return f"{RERANKED} again {number}"


def repetitions(
    setting: Setting,
    reranker: Reranker,
    queries: Sequence[EvalQuery],
    last: Mapping[str, Ranked],
    images: Mapping[str, GalleryImage],
    rerank_k: int,
    times: int,
) -> dict[str, Any]:
    """Rerank the same candidates `times` times in all, the run's own reranking included.

    Returns:
        For each metric the mean, least, most, standard deviation (n - 1) and spread (most minus
        least) of its `times` means over all queries; `same_best` is the share of queries for which
        the first hit was always the same.
    """
    rounds = [last]
    for number in range(1, times):
        again = reranker.again(number)
        name = stage_name(number)
        rounds.append(setting.stages.rerank(name, again, queries, setting.first, images, rerank_k))
    rankings = [{i: one.image_ids for i, one in done.items()} for done in rounds]
    scored = [setting.score(one).values for one in rankings]
    metrics = {}
    for name in scored[0]:
        if all(np.isnan(one[name]).all() for one in scored):
            continue
        means = np.array([np.nanmean(one[name]) for one in scored])
        metrics[name] = {
            "mean": float(means.mean()),
            "min": float(means.min()),
            "max": float(means.max()),
            "sd": float(means.std(ddof=1)),
            "spread": float(means.max() - means.min()),
        }
    firsts = [{tuple(ranked[i][:1]) for ranked in rankings} for i in rankings[0]]
    same = float(np.mean([len(one) == 1 for one in firsts])) if firsts else None
    return {"queries": len(firsts), "times": times, "same_best": same, "metrics": metrics}
