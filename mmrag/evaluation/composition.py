"""Labels of queries: which need composition, and which one part alone solves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrag.metrics.metrics import Scores, cutoff
from mmrag.metrics.paired import select
from mmrag.metrics.statistics import bootstrap_means, generator, percentile_interval
from mmrag.metrics.summary import summarise
from mmrag.metrics.table import higher_is_better
from mmrag.runs.labels import BOTH, LABELS

_DEPTH = 10


def label_depth(primary_metric: str, k: int) -> int:
    """The k at which queries are labelled: the primary metric's cut-off, else 10."""
    return min(cutoff(primary_metric) or _DEPTH, k)


def composition(
    image: Scores, text: Scores, both: Scores, metric: str, seed: int = 0
) -> dict[str, Any]:
    """Label composed queries; give the labels' shares and what composition adds.

    A query that its picture alone solves does not need its text, and vice versa; it needs both
    when only the whole query succeeds. The gap is (both - better alone) / both: the share of what
    whole queries find that neither part finds as well. It follows the normalised
    Composition Gap of CIRCUS (M. Attimonelli et al., arXiv 2605.14787).

    Args:
        image: per-query metrics of the pictures alone.
        text: of the texts alone, for the same queries.
        both: of the whole queries.
        metric: a hit rate that all three have, "hit_rate@10".
        seed: of the resamples.

    Returns:
        `metric`, `labels` (label to query ids), `shares` (label to mean, ci95, queries), `gaps`
        (metric to mean and ci95; left out where nothing is found) and `needs_both` (metric to the
        estimate of the whole queries on that part).
    """
    picture, words, whole = (one.values[metric] > 0 for one in (image, text, both))
    codes = np.select([picture & words, picture, words, whole], [2, 0, 1, 3], default=4)
    ids = both.query_ids
    labels = {
        label: [ids[row] for row in np.flatnonzero(codes == code)]
        for code, label in enumerate(LABELS)
    }
    shares = np.stack([codes == code for code in range(len(LABELS))], axis=1).astype(np.float64)
    low, high = percentile_interval(bootstrap_means(shares, generator(seed, "labels")))
    gaps = {}
    for name, values in both.values.items():
        parts = np.stack([image.values[name], text.values[name], values], axis=1)
        parts = parts[~np.isnan(parts).any(axis=1)]
        if higher_is_better(name) and len(parts) and parts[:, 2].any():
            gaps[name] = _gap(parts, seed)
    needing = select(both, dict.fromkeys(labels[BOTH]))
    estimates = summarise(needing, seed).overall if needing.query_ids else {}
    return {
        "metric": metric,
        "labels": labels,
        "shares": {
            label: {
                "mean": float(shares[:, code].mean()),
                "ci95": (float(low[code]), float(high[code])),
                "queries": len(labels[label]),
            }
            for code, label in enumerate(LABELS)
        },
        "gaps": gaps,
        "needs_both": {name: asdict(one) for name, one in estimates.items()},
    }


def _gap(parts: npt.NDArray[np.float64], seed: int) -> dict[str, Any]:
    """The gap from (n, 3) values of picture, text and both; resamples without a hit count as 0."""

    def gap(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        alone, whole = means[:, :2].max(axis=1), means[:, 2]
        return np.divide(whole - alone, whole, out=np.zeros_like(whole), where=whole > 0)

    low, high = percentile_interval(gap(bootstrap_means(parts, generator(seed, "gap")))[:, None])
    mean = gap(parts.mean(axis=0, keepdims=True))
    return {"mean": float(mean[0]), "ci95": (float(low[0]), float(high[0]))}
