"""Several visitors at once, as `python -m bench.dashboard` lets them in, in small."""

from __future__ import annotations

import os

import pytest

from bench.awaiting import awaited
from bench.visitors import Visitor, resident_mb, search_at_once
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import CATALOGUE
from tests.dashboard_server import Dashboard

# Of a machine that does other things too; `bench.dashboard` holds the figures to their bounds.
_GENEROUS_SECONDS = 60
_GENEROUS_MB = 300
_VISITORS = int(os.environ.get("MMRAG_TEST_VISITORS", "8"))


@pytest.fixture(scope="module")
def queries(dashboard: Dashboard, drawings: str) -> list[str]:
    """The catalogue's composed queries; the models are loaded and the collections there."""
    first = search_at_once(dashboard.url, ["theme-00000"], 1, searches=1)
    assert first.errors == []
    return [query.query_id for query in EvalSet.load(CATALOGUE).queries if query.image]


def test_visitors_search_at_once_and_none_sees_an_error(
    dashboard: Dashboard, queries: list[str]
) -> None:
    load = search_at_once(dashboard.url, queries, _VISITORS, searches=5 * _VISITORS)
    assert load.errors == []
    assert {visit.pictures for visit in load.visits} == {18}
    assert load.percentile(1.0) < _GENEROUS_SECONDS


def test_who_has_to_wait_is_told(dashboard: Dashboard, queries: list[str]) -> None:
    load = search_at_once(dashboard.url, queries[40:], 24, searches=72)
    assert load.errors == []
    waited = [visit.waited for visit in load.visits if visit.waited]
    assert waited, "nobody was told"
    assert max(waited) < 48, "more before one than there are searches"


def test_sessions_that_come_and_go_leave_little_behind(
    dashboard: Dashboard, queries: list[str]
) -> None:
    search_at_once(dashboard.url, queries, 4, searches=20, per_session=5)
    before = resident_mb(dashboard.pid)
    load = search_at_once(dashboard.url, queries[100:], 4, searches=60, per_session=5)
    assert load.errors == []
    assert resident_mb(dashboard.pid) - before < _GENEROUS_MB


def test_the_measurement_sees_what_goes_wrong(dashboard: Dashboard) -> None:
    """So that a load without errors means something."""

    async def visit() -> tuple[list[str], int]:
        async with Visitor(dashboard.url) as visitor:
            good = await visitor.visit(set="catalogue", query="theme-00000")
            bad = await visitor.visit(like="nowhere:nothing")
        return bad.errors, good.pictures

    errors, pictures = awaited(visit())
    assert errors == ["Something went wrong"]
    assert pictures == 18
