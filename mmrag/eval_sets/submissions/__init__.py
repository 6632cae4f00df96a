"""Submission files for the benchmarks' evaluation servers, written and read; one module each.

A module has `submission(rankings, eval_set)`, which gives (file name, JSON document) of each
file, and `read(path, eval_set)`, which gives a file's rankings back. A new benchmark is one file
here and one line in `SUBMISSIONS`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.records import RecordError

SUBMISSIONS = {
    "cirr": "mmrag.eval_sets.submissions.cirr",
    "circo": "mmrag.eval_sets.submissions.circo",
}


def check_queries(rankings: Mapping[str, Sequence[str]], eval_set: EvalSet) -> None:
    """Check that the rankings cover every query of the split and no other, as the servers require.

    Raises:
        EvalSetError: names a query that is missing or unknown.
    """
    wanted = {query.query_id for query in eval_set.queries}
    for what, ids in (
        ("has no ranking of", sorted(wanted - rankings.keys())),
        ("ranks unknown", sorted(rankings.keys() - wanted)),
    ):
        if ids:
            some = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
            raise EvalSetError(f"The run {what} {len(ids)} queries of {eval_set.name}: {some}.")


def first_of_each(answers: dict[str, Any], repeated: set[str]) -> dict[str, Any]:
    """Drop repetitions within lists; the queries that had some are added to `repeated`."""
    kept = {}
    for query_id, ids in answers.items():
        plain = isinstance(ids, list) and all(isinstance(one, str) for one in ids)
        kept[query_id] = list(dict.fromkeys(ids)) if plain else ids
        if plain and len(kept[query_id]) < len(ids):
            repeated.add(query_id)
    return kept


def check_answers(path: Path, answers: Mapping[str, Any], eval_set: EvalSet) -> None:
    """Check that every ranking is of a known query and holds known images, each once.

    Raises:
        EvalSetError: names file and query.
    """
    queries = {query.query_id for query in eval_set.queries}
    images = {image.image_id for image in eval_set.images}
    for query_id, ids in answers.items():
        problem = _problem(query_id, ids, queries, images)
        if problem:
            raise RecordError(path, None, f"query {query_id!r}: {problem}")


def _problem(query_id: str, ids: Any, queries: Collection[str], images: Collection[str]) -> str:
    if query_id not in queries:
        return "is not in the eval set"
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        return "must have a list of image ids"
    unknown = next((one for one in ids if one not in images), None)
    if unknown is not None:
        return f"the image {unknown!r} is not in the gallery"
    return "" if len(set(ids)) == len(ids) else "an image stands twice"
