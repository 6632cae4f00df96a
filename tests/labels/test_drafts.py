"""Drafted queries wait for a person, and what was rejected is not proposed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmrag import EvalSet, ImageIndex, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.errors import EvalSetError
from mmrag.labels.checking import check_drafts
from mmrag.labels.drafting import draft, set_of_collection
from mmrag.labels.drafts import Draft, DraftFile, fitting_negatives, worded_by_metadata
from mmrag.labels.judgments import JudgmentLog
from mmrag.labels.pairs import BANDS, draw_pairs
from mmrag.runs.labels import LABELS
from mmrag.search.searcher import Searcher
from mmrag.types import GalleryImage


def _image(name: str, **metadata: object) -> GalleryImage:
    return GalleryImage(name, f"/{name}", "", dict(metadata))


def test_an_instruction_says_what_differs() -> None:
    red = _image("a", colour="red", kind="mug", price=3)
    assert worded_by_metadata(red, _image("b", colour="blue", kind="mug", price=3)) == (
        "the same, but colour: blue"
    )
    assert worded_by_metadata(red, _image("b", colour="blue", kind="mug", price=4)) == (
        "the same, but colour: blue and price: 4"
    )
    assert worded_by_metadata(red, _image("b", colour="blue", kind="cup", price=4)) is None
    assert worded_by_metadata(red, red) is None, "nothing to say"
    assert worded_by_metadata(red, _image("b", colour="blue")) is None, "not comparable"
    assert worded_by_metadata(_image("a", colour="red"), _image("b", colour="blue")) is None


def test_negatives_are_those_that_cannot_be_right() -> None:
    target = _image("t", colour="red")
    others = [_image("a", colour="red"), _image("b", colour="blue")]
    assert fitting_negatives(target, others) == ["b"]


def test_pairs_are_spread_and_of_several_distances() -> None:
    random = np.random.default_rng(0)
    centres = np.repeat(random.standard_normal((10, 32)), 30, axis=0)
    vectors = centres + 0.3 * random.standard_normal((300, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    found = [pairs[0] for pairs in draw_pairs(vectors, 30, near_duplicate=2)]
    assert {one.source // 30 for one in found[:10]} == set(range(10)), "one of each cluster first"
    assert {one.band for one in found} == {0, 1, 2}
    for one in found:
        cosines = vectors @ vectors[one.source]
        place = int((cosines > cosines[one.target]).sum())
        assert BANDS[one.band][0] <= place <= BANDS[one.band][1]
        assert one.source != one.target
        assert not {one.source, one.target} & set(one.negatives)
    again = [pairs[0] for pairs in draw_pairs(vectors, 30, near_duplicate=2)]
    assert again == found


def test_near_duplicates_make_no_pair() -> None:
    vectors = np.eye(4, 8, dtype=np.float32)
    vectors = np.concatenate([vectors, vectors])
    for pairs in draw_pairs(vectors, 8):
        assert pairs[0].source % 4 != pairs[0].target % 4


@pytest.fixture
def collection(folder: Path, tmp_path: Path, tiny: Encoder) -> ImageIndex:
    lines = ["file,colour,shape"]
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        name = path.relative_to(folder).as_posix()
        lines.append(f"{name},{('red', 'green', 'blue')[i % 3]},{('round', 'square')[i // 6]}")
    (tmp_path / "m.csv").write_text("\n".join(lines).replace("file", "path", 1))
    index = ImageIndex.open(tmp_path / "gallery.db", collection="own", encoder=tiny)
    index.add(open_gallery(folder, tmp_path / "m.csv"))
    return index


def test_from_a_collection_to_queries_with_judgments(
    collection: ImageIndex, tmp_path: Path
) -> None:
    with collection as index:
        eval_set = set_of_collection(index, tmp_path / "set", "set")
        assert len(eval_set.images) == 12
        assert eval_set.exclude_query_image
        made = draft(index, eval_set, 6).new
        file = DraftFile(eval_set.folder)
        assert made == len(file.drafts()) >= 3
        by_id = {image.image_id: image for image in eval_set.images}
        for one in file.drafts():
            source, target = by_id[one.image_id], by_id[one.target_id]
            assert one.text == worded_by_metadata(source, target)
            assert all(by_id[n].metadata != target.metadata for n in one.negatives)
        assert EvalSet.load(eval_set.folder).queries == [], "nothing counts before a person agrees"

        first, second = file.drafts()[:2]
        query = file.accept(first.query_id, "Ada", "the blue one, please")
        file.reject(second.query_id, "Ada")
        stored = EvalSet.load(eval_set.folder)
        assert [q.text for q in stored.queries] == ["the blue one, please"]
        assert stored.queries[0].image == by_id[first.image_id].path
        assert stored.qrels[query.query_id][first.target_id] == 2
        assert all(stored.qrels[query.query_id][n] == 0 for n in first.negatives)
        rows = JudgmentLog(eval_set.folder).rows()
        assert {(row.judge, row.kind) for row in rows if row.image_id == first.target_id} == {
            ("Ada", "person")
        }
        states = {one.query_id: one.state for one in file.drafts()}
        assert states[first.query_id] == "accepted"
        assert states[second.query_id] == "rejected"
        draft(index, eval_set, 12)
        pairs = [(one.image_id, one.target_id) for one in file.drafts()]
        assert len(pairs) == len(set(pairs)), "a rejected pair is not proposed again"
        assert set_of_collection(index, tmp_path / "set", "set").qrels == stored.qrels


def test_drafts_are_checked_for_shortcuts_several_answers_and_repetitions(
    collection: ImageIndex, tmp_path: Path, tiny: Encoder
) -> None:
    """Two pictures each have the same colour and shape, so a target has one twin."""
    with collection as index:
        eval_set = set_of_collection(index, tmp_path / "set", "set")
        searcher = Searcher(index, tiny)
        with pytest.raises(EvalSetError, match="No draft"):
            check_drafts(eval_set, searcher)
        draft(index, eval_set, 4)
        file = DraftFile(eval_set.folder)
        first = file.drafts()[0]
        others = {first.image_id, first.target_id}
        other = next(i.image_id for i in eval_set.images if i.image_id not in others)
        file.propose([Draft("", first.image_id, other, f" {first.text.upper()}", by="someone")])
        found = check_drafts(eval_set, searcher)
        drafts = file.drafts()
        assert found.duplicates == {drafts[-1].query_id: first.query_id}
        assert sum(found.needs.values()) == found.drafts == len(drafts)
        assert {one.needs for one in drafts} == set(found.needs) <= set(LABELS)
        assert found.several == found.judged == len(drafts) - 1
        by_id = {image.image_id: image for image in eval_set.images}
        for one in drafts[:-1]:
            (twin,) = one.fitting
            assert by_id[twin].metadata == by_id[one.target_id].metadata
        file.accept(first.query_id, "Ada")
        grades = EvalSet.load(eval_set.folder).qrels[first.query_id]
        assert grades[file.drafts()[0].fitting[0]] == 2


def test_a_collection_without_metadata_says_what_to_do(
    folder: Path, tmp_path: Path, tiny: Encoder
) -> None:
    with ImageIndex.open(tmp_path / "gallery.db", collection="bare", encoder=tiny) as index:
        with pytest.raises(EvalSetError, match="is empty"):
            set_of_collection(index, tmp_path / "set", "set")
        index.add(open_gallery(folder))
        eval_set = set_of_collection(index, tmp_path / "set", "set")
        with pytest.raises(EvalSetError, match="vision model"):
            draft(index, eval_set, 5)


def test_an_unknown_draft_and_an_empty_instruction_are_refused(own_set: EvalSet) -> None:
    file = DraftFile(own_set.folder)
    file.propose([Draft("", "i1", "i2", "the same, but larger")])
    with pytest.raises(EvalSetError, match="no draft"):
        file.accept("draft-0009", "Ada")
    with pytest.raises(EvalSetError, match="instruction is needed"):
        file.accept("draft-0001", "Ada", "  ")
    assert file.drafts()[0].state == "waiting"
