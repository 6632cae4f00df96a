"""CIRCO's file: 50 of COCO's image numbers per query.

Source: README.md and src/evaluation.py of github.com/miccunifi/CIRCO.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.records import RecordError, read_json
from mmrag.eval_sets.submissions import check_answers, check_queries, first_of_each

DEPTH = 50
_NUMBER = re.compile(r"[0-9]{1,12}")
_log = logging.getLogger(__name__)


def submission(
    rankings: Mapping[str, Sequence[str]], eval_set: EvalSet
) -> list[tuple[str, dict[str, Any]]]:
    """The file for the server: query number to image numbers, best first, none twice.

    Args:
        rankings: query id to image ids, best first; 50 or more.
        eval_set: made by `eval-set import circo`.

    Raises:
        EvalSetError: an id is not a number, or a query has no ranking.
    """
    check_queries(rankings, eval_set)
    document: dict[str, Any] = {}
    short = 0
    for query in eval_set.queries:
        ids = list(dict.fromkeys(rankings[query.query_id]))[:DEPTH]
        for one in (query.query_id, *ids):
            if not _NUMBER.fullmatch(one):
                raise EvalSetError(
                    f"The id {one!r} is no number of CIRCO; use a set that `eval-set import "
                    "circo` made."
                )
        short += len(ids) < min(DEPTH, len(eval_set.images))
        document[query.query_id] = [int(one) for one in ids]
    if short:
        _log.warning("%d rankings hold less than %d images; use -k %d.", short, DEPTH, DEPTH)
    return [("circo.json", document)]


def read(path: Path, eval_set: EvalSet, repeated: set[str] | None = None) -> dict[str, list[str]]:
    """Read the rankings of a file; queries that it does not name are left out.

    With `repeated`, an image that occurs twice counts at its first place, and its query is added
    to it.

    Raises:
        EvalSetError: not such a file, or it does not fit the eval set; names file and query.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise RecordError(path, None, "is not a submission to CIRCO: it must hold one object")
    answers: dict[str, Any] = {}
    for query_id, ids in document.items():
        # Some files have numbers as strings, as the script of SEARLE (by the same authors) writes.
        whole = isinstance(ids, list) and all(type(one) in (int, str) for one in ids)
        answers[query_id] = [str(one) for one in ids] if whole else ids
    if repeated is not None:
        answers = first_of_each(answers, repeated)
    check_answers(path, answers, eval_set)
    return answers
