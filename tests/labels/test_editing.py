"""Sets made of sets."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mmrag import EvalSet
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.labels.editing import dedupe, merge, sample, split


def _saved(made: EvalSet) -> EvalSet:
    made.save()
    return EvalSet.load(made.folder)


def test_merged_sets_keep_all_queries_and_judgments(own_set: EvalSet, tmp_path: Path) -> None:
    other = replace(
        own_set,
        name="other",
        queries=[EvalQuery("q0", None, "another question"), own_set.queries[1]],
        qrels={"q0": {"i7": 2}, "q1": {"i4": 0}},
    )
    merged = _saved(merge([own_set, other], tmp_path / "merged", "both"))
    assert [q.query_id for q in merged.queries] == ["q0", "q1", "q2", "q3", "other/q0"]
    assert merged.qrels["other/q0"] == {"i7": 2}
    assert merged.qrels["q1"] == {"i3": 1, "i4": 0}
    assert len(merged.images) == 12


def test_other_pictures_of_the_same_name_are_told_apart(own_set: EvalSet, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere"
    shutil.copytree(own_set.image_root, copied)
    moved = [
        replace(i, path=str(copied / Path(i.path).relative_to(own_set.image_root)))
        for i in own_set.images
    ]
    other = replace(own_set, name="other", image_root=copied, images=moved, queries=[], qrels={})
    merged = _saved(merge([own_set, other], tmp_path / "merged", "both"))
    assert len(merged.images) == 24
    assert "other/i3" in {image.image_id for image in merged.images}
    assert not merged.missing()


def test_parts_share_no_query_and_every_category_in_proportion(
    own_set: EvalSet, tmp_path: Path
) -> None:
    queries = [
        EvalQuery(f"q{i}", None, f"text {i}", "large" if i < 80 else "small") for i in range(100)
    ]
    whole = replace(own_set, queries=queries, qrels={f"q{i}": {"i1": 1} for i in range(100)})
    parts = [_saved(one) for one in split(whole, {"dev": 0.25, "test": 0.75}, tmp_path / "parts")]
    assert [len(part.queries) for part in parts] == [25, 75]
    assert Counter(q.category for q in parts[0].queries) == {"large": 20, "small": 5}
    ids = [q.query_id for part in parts for q in part.queries]
    assert sorted(ids) == sorted(q.query_id for q in queries)
    assert all(part.qrels.keys() == {q.query_id for q in part.queries} for part in parts)
    again = split(whole, {"dev": 0.25, "test": 0.75}, tmp_path / "again")
    assert [q.query_id for q in again[0].queries] == [q.query_id for q in parts[0].queries]
    other = split(whole, {"dev": 0.25, "test": 0.75}, tmp_path / "again", seed=1)
    assert [q.query_id for q in other[0].queries] != [q.query_id for q in parts[0].queries]


def test_a_sample_has_exactly_the_number_asked_for(own_set: EvalSet, tmp_path: Path) -> None:
    queries = [EvalQuery(f"q{i}", None, "text", f"c{i % 3}") for i in range(50)]
    whole = replace(own_set, queries=queries, qrels={})
    for number in (1, 7, 10, 50):
        part = sample(whole, number, tmp_path / "part")
        assert len(part.queries) == number
    counts = Counter(q.category for q in sample(whole, 30, tmp_path / "part").queries)
    assert max(counts.values()) - min(counts.values()) <= 1
    with pytest.raises(EvalSetError, match="sample 1 to 50"):
        sample(whole, 51, tmp_path / "part")


def test_repeated_pictures_and_queries_go_and_their_judgments_stay(
    own_set: EvalSet, tmp_path: Path
) -> None:
    shutil.copy(own_set.images[3].path, own_set.images[4].path)
    queries = [
        *own_set.queries,
        replace(own_set.queries[0], query_id="again", text="LIKE 0,  but other"),
    ]
    qrels = {"q0": {"i4": 1, "i3": 0}, "again": {"i9": 2}}
    found = dedupe(replace(own_set, queries=queries, qrels=qrels), tmp_path / "once")
    assert found.images == {"i4": "i3"}
    assert found.queries == {"again": "q0"}
    made = _saved(found.eval_set)
    assert made.qrels == {"q0": {"i3": 1, "i9": 2}}
    assert len(made.images) == 11


def test_sets_that_are_asked_differently_are_not_merged(own_set: EvalSet, tmp_path: Path) -> None:
    other = replace(own_set, exclude_query_image=True)
    with pytest.raises(EvalSetError, match="asked differently"):
        merge([own_set, other], tmp_path / "m", "m")
    with pytest.raises(EvalSetError, match="sum to 1"):
        split(own_set, {"a": 0.5, "b": 0.2}, tmp_path / "s")
