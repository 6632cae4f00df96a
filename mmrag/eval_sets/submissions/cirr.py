"""CIRR's two files: 50 names per query from the gallery, 3 from the query's own subset.

Source: Test-split_server.md of github.com/Cuberick-Orion/CIRR.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.records import RecordError, read_json
from mmrag.eval_sets.submissions import check_answers, check_queries, first_of_each

DEPTH, SUBSET_DEPTH = 50, 3
_VERSION = "rc2"
_METRICS = ("recall", "recall_subset")
_log = logging.getLogger(__name__)


def submission(
    rankings: Mapping[str, Sequence[str]],
    eval_set: EvalSet,
    subset_orders: Mapping[str, Sequence[str]] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """The files for the server.

    The reference image is left out. Members of a subset are in the order of the ranking; those
    missing from it follow in the order of `subset_orders`, then by name. The number ordered by
    name is logged as a warning: their places mean nothing.

    Args:
        rankings: query id (the pairid) to image ids, best first; 50 or more.
        eval_set: made by `eval-set import cirr`.
        subset_orders: query id to the order of its subset, for members beyond the ranking.

    Returns:
        (file name, document) of the two files; the documents map pairids to names, beside
        `version` and `metric`.

    Raises:
        EvalSetError: not an eval set of CIRR, or a query has no ranking.
    """
    check_queries(rankings, eval_set)
    recall: dict[str, Any] = {"version": _VERSION, "metric": "recall"}
    recall_subset: dict[str, Any] = {"version": _VERSION, "metric": "recall_subset"}
    by_name = short = 0
    for query in eval_set.queries:
        subset, reference = _subset(query)
        ranking = [i for i in dict.fromkeys(rankings[query.query_id]) if i != reference]
        order = [*ranking, *(subset_orders or {}).get(query.query_id, ())]
        known = [name for name in dict.fromkeys(order) if name in subset]
        by_name += len(subset) - len(known)
        short += len(ranking) < min(DEPTH, len(eval_set.images) - 1)
        recall[query.query_id] = ranking[:DEPTH]
        recall_subset[query.query_id] = [*known, *sorted(subset - set(known))][:SUBSET_DEPTH]
    if by_name:
        _log.warning("%d subset members are in no ranking; they stand last, by name.", by_name)
    if short:
        _log.warning("%d rankings hold less than %d images; use -k %d.", short, DEPTH, DEPTH)
    return [("cirr_recall.json", recall), ("cirr_recall_subset.json", recall_subset)]


def read(path: Path, eval_set: EvalSet, repeated: set[str] | None = None) -> dict[str, list[str]]:
    """Read the rankings of one of the two files; queries that it does not name are left out.

    With `repeated`, an image that occurs twice counts at its first place, and its query is added
    to it.

    Raises:
        EvalSetError: not such a file, or it does not fit the eval set; names file and query.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("metric") not in _METRICS:
        raise RecordError(path, None, "is not a submission to CIRR: 'metric' is not recall")
    if document.get("version") != _VERSION:
        raise RecordError(path, None, f"'version' must be {_VERSION!r}")
    answers = {key: ids for key, ids in document.items() if key not in ("version", "metric")}
    if repeated is not None:
        answers = first_of_each(answers, repeated)
    check_answers(path, answers, eval_set)
    return answers


def _subset(query: EvalQuery) -> tuple[set[str], str]:
    subset, reference = query.metadata.get("subset"), query.metadata.get("reference")
    if not isinstance(subset, list) or not isinstance(reference, str):
        raise EvalSetError(
            f"Query {query.query_id!r} has no subset and reference; use a set that "
            "`eval-set import cirr` made."
        )
    return {str(name) for name in subset}, reference
