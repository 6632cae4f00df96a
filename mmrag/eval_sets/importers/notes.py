"""Sentences about oddities of a data set, imported as published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmrag.eval_sets.eval_set import EvalQuery

_NAMED = 5


def wordless_note(queries: Iterable[EvalQuery]) -> tuple[str, ...]:
    """A note that names the queries without a text, in a set whose queries should have one."""
    ids = [query.query_id for query in queries if not query.text]
    if not ids:
        return ()
    what = (
        "1 query has a blank text and is asked with its picture alone"
        if len(ids) == 1
        else f"{len(ids)} queries have a blank text and are asked with their pictures alone"
    )
    return (f"{what}: {_some(ids)}.",)


def left_out_note(ids: Sequence[str]) -> tuple[str, ...]:
    """A note that names the queries that cannot be asked."""
    if not ids:
        return ()
    what = (
        "1 query has neither picture nor text and is left out"
        if len(ids) == 1
        else f"{len(ids)} queries have neither picture nor text and are left out"
    )
    return (f"{what}: {_some(ids)}.",)


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
