"""Reading answers: whatever a model writes, the outcome is a permutation of what was shown."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrag.rerank.reorder import by_score, reorder
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


@pytest.mark.parametrize(
    ("text", "problems", "left_out"),
    [
        ('{"ranking": [1, 0, 2], "reason": 5}', (), 0),
        ('{"ranking": [1, 0', ("the answer breaks off", "2 of 3 candidates were left out"), 2),
        ("no", ("the answer holds no ranking",), 3),
        ("", ("the answer holds no ranking",), 3),
        (
            '{"ranking": [8, 9]}',
            ("2 of the indices named were not shown", "3 of 3 candidates were left out"),
            3,
        ),
        # What is behind 20,000 characters is not looked at.
        (" " * 19_980 + "[1, 0, 2]", (), 0),
        (" " * 19_999 + "[1, 0, 2]", ("the answer holds no ranking",), 3),
    ],
)
def test_what_was_wrong_is_told(text: str, problems: tuple[str, ...], left_out: int) -> None:
    ranking = read_ranking(text, 3)
    assert (ranking.problems, ranking.left_out) == (problems, left_out)


@pytest.mark.parametrize(
    ("text", "order", "reason"),
    [
        # A model that corrects itself: the last one counts.
        (
            '{"ranking": [0], "reason": "a"} or {"ranking": [2, 1, 0], "reason": " b "}',
            [2, 1, 0],
            "b",
        ),
        ('{"ranking": [2, 1, 0], "reason": " "}', [2, 1, 0], None),
        ('{"ranking": [2, 1, 0], "reason": ["b"]}', [2, 1, 0], None),
        ('{"ranking": [2, 1, 0], "reason": "a \\"b\\" \\u00e9"', [2, 1, 0], 'a "b" é'),
        ('{"ranking": [2, 1, 0], "reason": "a \\x', [2, 1, 0], "a \\x"),
        ("Reasons first. Ranked list: [2, 1, 0]", [2, 1, 0], None),
        ("Ranked list: [2, 1, 0] Reason: none. Reasons: x", [2, 1, 0], "none. Reasons: x"),
        ("RANKED  LIST [2] [1] [0]", [2, 1, 0], None),
        ("Ranked list: 2 then 1, 0 and [maybe]", [2, 1, 0], None),
        ("It has [a] and [2, 1, 0] and [0, 1, 2]", [2, 1, 0], None),
        ("[2, 1, 0] Reasons: it is [0]", [2, 1, 0], "it is [0]"),
        ('{"ranking": [" 2 ", "[1]", 0]}', [2, 1, 0], None),
        ('{"ranking": ["0000000002", 1, 2]}', [1, 2, 0], None),
    ],
)
def test_the_ranking_that_is_meant(text: str, order: list[int], reason: str | None) -> None:
    ranking = read_ranking(text, 3)
    assert (ranking.order, ranking.reason) == (order, reason)


def test_by_score() -> None:
    """Scored ones first, equal ones and those without a score in the order of retrieval."""
    done = by_score(result_of(6), {3: 0.5, 1: 0.7, 0: 0.5}, 5, "x", ["one failed"], 8.0, {"a": 1})
    assert [hit.image_id for hit in done.hits] == ["id1", "id0", "id3", "id2", "id4", "id5"]
    assert [hit.score for hit in done.hits] == [0.7, 0.5, 0.5, 0.98, 0.96, 0.95]
    assert [hit.rank for hit in done.hits] == [1, 2, 3, 4, 5, 6]
    assert done.rerank == RerankReport("x", "repaired", ("one failed",), details={"a": 1})
    assert done.timings_ms == {"rerank": 8.0}
    assert done.explanation is None
    assert by_score(result_of(2), {0: 0.1, 1: 0.2}, 2, "x", [], 1.0).rerank == RerankReport(
        "x", "complete"
    )
    assert by_score(result_of(2), {}, 2, "x", [], 1.0).rerank == RerankReport("x", "failed")


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
