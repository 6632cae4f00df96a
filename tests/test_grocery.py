"""The photographs that ship, and how they are made."""

from __future__ import annotations

import json
from pathlib import Path

import PIL
import pytest

from eval_sets.make_grocery import wording
from eval_sets.make_grocery.__main__ import _shrink, ship, training
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import PHOTOS
from mmrag.eval_sets.validate import validate


def test_the_shipped_set_is_whole() -> None:
    eval_set = EvalSet.load(PHOTOS)
    assert (len(eval_set.images), len(eval_set.queries)) == (296, 825)
    assert not eval_set.gallery().skipped
    assert not validate(PHOTOS).problems
    hard = [q for q in eval_set.queries if 0 in eval_set.qrels[q.query_id].values()]
    assert {query.category for query in hard} == {"variety"}
    assert "Marcus Klasson" in (PHOTOS / "LICENSE").read_text()
    assert sum(file.stat().st_size for file in PHOTOS.rglob("*") if file.is_file()) < 8e6


def test_photos_come_out_the_same(grocery: Path, tmp_path: Path) -> None:
    source = json.loads((PHOTOS / "eval_set.json").read_text())["source"]
    if not source.endswith(f"Pillow {PIL.__version__}"):
        pytest.skip("another Pillow writes other bytes")
    for photo in sorted((grocery / "dataset" / "val").rglob("*.jpg"))[::60]:
        _shrink(str(photo), tmp_path / "again.webp")
        shipped = PHOTOS / "images" / f"{photo.stem}.webp"
        assert (tmp_path / "again.webp").read_bytes() == shipped.read_bytes()


def test_the_rest_comes_out_the_same(
    grocery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval_sets.make_grocery.__main__._shrink", lambda path, target: None)
    (tmp_path / "grocery").mkdir()
    ship(grocery, tmp_path / "grocery").save()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "LICENSE"):
        assert (tmp_path / "grocery" / name).read_bytes() == (PHOTOS / name).read_bytes(), name


def test_held_out_wordings_are_not_trained_on(grocery: Path, tmp_path: Path) -> None:
    fit, choose = (training(grocery, tmp_path, part) for part in ("fit", "choose"))
    assert not {i.image_id for i in fit.images} & {i.image_id for i in choose.images}
    said = {text.lower() for q in fit.queries for text in (q.text or "", *q.paraphrases)}
    shipped = EvalSet.load(PHOTOS)
    held_out = {text.lower() for q in shipped.queries for text in q.paraphrases}
    assert held_out
    assert not said & held_out
    assert not set(wording.INSTEAD) & set(wording.HELD_OUT_INSTEAD)


def test_products_have_short_names_that_fit_no_other() -> None:
    called = wording.names(["Oatly Oat Milk", "Alpro Fresh Soy Milk", "Oatly Natural Oatghurt"])
    assert wording.short(called["Oatly Oat Milk"]) == "oat milk"
    assert "oatly" not in called["Oatly Oat Milk"]
    assert "milk" not in called["Alpro Fresh Soy Milk"]
