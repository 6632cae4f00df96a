"""Reading answers: whatever a model writes, the outcome is a permutation of what was shown."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrag.rerank.reorder import reorder
from mmrag.rerank.reply_order import read_ranking
from mmrag.types import Hit, Query, RerankReport, SearchResult


@pytest.mark.parametrize(
    ("text", "order", "status", "reason"),
    [
        ('{"ranking": [2, 0, 1], "reason": "blue"}', [2, 0, 1], "complete", "blue"),
        ('```json\n{"ranking": [2, 0, 1], "reason": "x"}\n```', [2, 0, 1], "complete", "x"),
        ('Here: {"ranking": ["2", "[0]", 1]}', [2, 0, 1], "complete", None),
        ("Ranked list: [2, 0, 1]\nReasons: it fits", [2, 0, 1], "complete", "it fits"),
        ("**Ranked list:** [2, 0, 1]\n\n**Reasons:** it fits", [2, 0, 1], "complete", "it fits"),
        ("Ranked List: 2, 0, 1. Reasons: of 3 kinds", [2, 0, 1], "complete", "of 3 kinds"),
        ("Ranked list: [2] > [0] > [1]", [2, 0, 1], "complete", None),
        ("[2, 0, 1]", [2, 0, 1], "complete", None),
        ("I think [2,0,1] because of 4 legs", [2, 0, 1], "complete", None),
        ('{"ranking": [2], "reason": "x"}', [2, 0, 1], "repaired", "x"),
        ('{"ranking": [2, 2, 0, 1], "reason": "x"}', [2, 0, 1], "repaired", "x"),
        ('{"ranking": [2, 7, -1, 0, 1], "reason": "x"}', [2, 0, 1], "repaired", "x"),
        ('{"ranking": [true, 2, null, 0.5, 0, 1]}', [2, 0, 1], "repaired", None),
        ('{"ranking": [2, 1', [2, 0, 1], "repaired", None),
        ('{"ranking": [2, 1], "reason": "it is bl', [2, 1, 0], "repaired", "it is bl"),
        ('{"ranking": [], "reason": "none fits"}', [0, 1, 2], "failed", None),
        ('{"ranking": [9, 8], "reason": "x"}', [0, 1, 2], "failed", None),
        ('{"order": "none"}', [0, 1, 2], "failed", None),
        ("I cannot help with that.", [0, 1, 2], "failed", None),
        ("", [0, 1, 2], "failed", None),
        ("null", [0, 1, 2], "failed", None),
        ('{"ranking": [' + "9" * 6000 + "]}", [0, 1, 2], "failed", None),
        ("[" * 5000, [0, 1, 2], "failed", None),
        ('{"ranking": ' + "[" * 5000, [0, 1, 2], "failed", None),
    ],
)
def test_what_models_write(text: str, order: list[int], status: str, reason: str | None) -> None:
    ranking = read_ranking(text, 3)
    assert (ranking.order, ranking.status, ranking.reason) == (order, status, reason)
    assert (ranking.problems == ()) == (status == "complete")


def test_repairs_are_counted() -> None:
    ranking = read_ranking('{"ranking": [4, 4, 99, 1], "reason": ""}', 6)
    assert ranking.order == [4, 1, 0, 2, 3, 5]
    assert ranking.problems == (
        "1 of the indices named were not shown",
        "1 indices were repeated",
        "4 of 6 candidates were left out",
    )


numbers = st.lists(st.integers(-3, 30) | st.integers(), max_size=40)
answers = st.one_of(
    st.text(max_size=300),
    st.builds(lambda n, r: json.dumps({"ranking": n, "reason": r}), numbers, st.text(max_size=50)),
    st.builds(lambda n, r: f"Ranked list: {n}\nReasons: {r}", numbers, st.text(max_size=50)),
    st.builds(
        lambda x: json.dumps({"ranking": x}),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=5),
            max_leaves=20,
        ),
    ),
)


def result_of(n: int) -> SearchResult:
    hits = [Hit(i + 1, f"id{i}", f"{i}.png", 1 - i / 100, i + 1, "", {}) for i in range(n)]
    return SearchResult(Query(text="x"), hits, {})


@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers, st.integers(1, 25), st.integers(0, 2**32), st.floats(0, 1))
def test_the_outcome_is_a_permutation_of_the_hits(text: str, n: int, seed: int, cut: float) -> None:
    """Answers as they are, cut anywhere, and with characters swapped, doubled and lost."""
    rng = random.Random(seed)
    for garbled in (text, text[: int(len(text) * cut)], garble(text, rng)):
        ranking = read_ranking(garbled, n)
        assert sorted(ranking.order) == list(range(n))
        assert (ranking.status == "complete") == (ranking.problems == ())
        if ranking.status == "failed":
            assert ranking.order == list(range(n))
        result = result_of(n)
        report = RerankReport("x", ranking.status, ranking.problems)
        done = reorder(result, ranking.order, report, 1.0, explanation=ranking.reason)
        assert sorted(hit.image_id for hit in done.hits) == sorted(
            hit.image_id for hit in result.hits
        )
        assert [hit.rank for hit in done.hits] == list(range(1, n + 1))
        assert all(hit.image_id == f"id{hit.retrieval_rank - 1}" for hit in done.hits)


def garble(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(rng.randrange(6)):
        if not letters:
            break
        i, j = rng.randrange(len(letters)), rng.randrange(len(letters))
        kind = rng.randrange(4)
        if kind == 0:
            letters[i], letters[j] = letters[j], letters[i]
        elif kind == 1:
            letters.insert(i, letters[j])
        elif kind == 2:
            del letters[i]
        else:
            letters[i] = rng.choice('[]{}",:0123456789-.\\ \n')
    return "".join(letters)


@pytest.mark.parametrize(
    "piece", ["[", "[1", "[1 ", "\n", "reasons", "ranked list", '"ranking":[', "\\", "1,", "- ["]
)
def test_long_answers_are_read_quickly(piece: str) -> None:
    started = time.process_time()
    for text in (piece * 100_000, "Ranked list: " + piece * 100_000, '{"ranking": ' + piece * 9999):
        assert sorted(read_ranking(text, 5).order) == list(range(5))
    assert time.process_time() - started < 2


def test_reorder_refuses_what_is_no_permutation() -> None:
    report = RerankReport("x", "complete")
    wrong: Sequence[Sequence[int]] = ([0, 0], [1, 2], [0, 1, 2, 3])
    for order in wrong:
        with pytest.raises(ValueError, match="permutation"):
            reorder(result_of(3), order, report, 1.0)
