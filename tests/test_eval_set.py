"""Eval sets on disk, exact rankings and hit rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mmrag import EvalSet
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.evaluation.exact_search import hit_rates
from mmrag.types import GalleryImage


@pytest.fixture
def saved(tmp_path: Path) -> EvalSet:
    for name in ("a.png", "b.png", "q.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    images = [
        GalleryImage("a", str(tmp_path / "a.png"), "a mug", {"price": 3}),
        GalleryImage("b", str(tmp_path / "b.png")),
        GalleryImage("gone", str(tmp_path / "gone.png")),
    ]
    queries = [
        EvalQuery(
            "1", str(tmp_path / "q.png"), "in red", "colour", ("red please",), "Price?", ("3",)
        ),
        EvalQuery("2", None, "a mug"),
        EvalQuery("3", None, "nobody knows"),
    ]
    qrels = {"1": {"a": 2, "b": 0}, "2": {"b": 1}}
    eval_set = EvalSet("mine", tmp_path, tmp_path, images, queries, qrels, exclude_query_image=True)
    eval_set.save()
    return eval_set


def test_what_is_saved_is_loaded(saved: EvalSet, tmp_path: Path) -> None:
    loaded = EvalSet.load(tmp_path)
    assert loaded.images == saved.images
    assert loaded.queries == saved.queries
    assert loaded.qrels == saved.qrels
    assert loaded.exclude_query_image
    assert loaded.relevant("1") == {"a"}
    assert loaded.relevant("3") == set()
    assert [image.image_id for image in loaded.gallery().images] == ["a", "b"]
    assert [skipped.path for skipped in loaded.gallery().skipped] == ["gone"]


def test_hit_rates_by_hand(saved: EvalSet) -> None:
    rates = hit_rates({"1": ["b", "a"], "2": ["b"], "3": ["a"]}, saved, (1, 2))
    assert rates["all"] == {"queries": 2, "hit_rate@1": 0.5, "hit_rate@2": 1.0}
    assert rates["colour"] == {"queries": 1, "hit_rate@1": 0.0, "hit_rate@2": 1.0}
    assert hit_rates({}, saved, (1,))["all"]["hit_rate@1"] == 0


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("corpus.jsonl", '{"_id": "x", "image": "../../etc/passwd"}', "line 4: the image path"),
        ("corpus.jsonl", '{"_id": "x", "image": "/etc/passwd"}', "leaves the image root"),
        ("corpus.jsonl", '{"_id": "x"}', "'image' is missing"),
        ("corpus.jsonl", '{"_id": "a", "image": "a.png"}', "the id 'a' stands twice"),
        ("corpus.jsonl", "{", "line 4: not JSON"),
        ("queries.jsonl", '{"_id": "9"}', "needs an image, a text, or both"),
        ("queries.jsonl", '{"text": "x"}', "'_id' is missing"),
        ("queries.jsonl", '{"_id": "9", "text": "x", "answers": "no"}', "list of strings"),
        ("queries.jsonl", "[1]", "not an object"),
        ("qrels/test.tsv", "1\ta\tyes", "line 5: expected query-id"),
    ],
)
def test_errors_name_file_and_line(
    saved: EvalSet, tmp_path: Path, file: str, line: str, message: str
) -> None:
    with (tmp_path / file).open("a") as out:
        out.write(line + "\n")
    with pytest.raises(EvalSetError, match=message) as error:
        EvalSet.load(tmp_path)
    assert file in str(error.value)


def test_not_an_eval_set(tmp_path: Path) -> None:
    with pytest.raises(EvalSetError, match=r"has no eval_set\.json"):
        EvalSet.load(tmp_path)
    (tmp_path / "eval_set.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(EvalSetError, match=r"corpus\.jsonl cannot be read"):
        EvalSet.load(tmp_path)
