"""Queries that were asked become labelled ones."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmrag import EvalSet, Query
from mmrag.errors import EvalSetError, ImageError
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.labels.judgments import Judgment, JudgmentLog, grades_of
from mmrag.labels.queries import AskedQuery, new_set_folder, note_query, put_query, save_query


def _picture(colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "JPEG")
    return out.getvalue()


def test_a_query_is_saved_with_what_was_said_of_its_hits(own_set: EvalSet) -> None:
    images = own_set.images
    asked = AskedQuery(
        Query(images[5].path, "the same in blue"), [(images[6], 2), (images[7], 0)], "unclear light"
    )
    query_id = save_query(own_set.folder, asked, "Ada")
    stored = EvalSet.load(own_set.folder)
    query = stored.queries[-1]
    assert (query.query_id, query.image, query.text) == (query_id, images[5].path, asked.query.text)
    assert query.metadata == {"note": "unclear light"}
    assert stored.qrels == {**own_set.qrels, query_id: {"i6": 2, "i7": 0}}

    again = AskedQuery(asked.query, [(images[6], None), (images[8], 1)])
    assert save_query(own_set.folder, again, "Ada") == query_id, "the same question"
    stored = EvalSet.load(own_set.folder)
    assert stored.qrels[query_id] == {"i7": 0, "i8": 1}, "the first word was taken back"
    assert stored.queries[-1].metadata == {"note": "unclear light"}


def test_a_picture_from_elsewhere_is_copied_and_one_of_the_gallery_is_not(own_set: EvalSet) -> None:
    gallery = Path(own_set.images[2].path).read_bytes()
    save_query(own_set.folder, AskedQuery(Query(gallery, "larger")), "Ada")
    assert EvalSet.load(own_set.folder).queries[-1].image == own_set.images[2].path
    save_query(own_set.folder, AskedQuery(Query(_picture(), "larger")), "Ada")
    stored = EvalSet.load(own_set.folder)
    copied = Path(stored.queries[-1].image or "")
    assert copied.parent == own_set.folder / "pictures"
    assert copied.read_bytes() == _picture()
    assert not stored.missing(), "all others are still found"
    assert [one.image for one in stored.queries[:4]] == [one.image for one in own_set.queries]
    with pytest.raises(ImageError):
        save_query(own_set.folder, AskedQuery(Query(b"no picture", "larger")), "Ada")


def test_new_pictures_of_the_folder_join_and_those_of_another_do_not(
    own_set: EvalSet, tmp_path: Path
) -> None:
    fresh = own_set.image_root / "fresh.png"
    fresh.write_bytes(_picture())
    image = replace(own_set.images[0], image_id="fresh", path=str(fresh))
    save_query(own_set.folder, AskedQuery(Query(text="a teal one"), [(image, 2)]), "Ada")
    assert EvalSet.load(own_set.folder).qrels["query-0005"] == {"fresh": 2}
    (tmp_path / "far.png").write_bytes(_picture())
    far = replace(image, image_id="far", path=str(tmp_path / "far.png"))
    with pytest.raises(EvalSetError, match="not among the pictures"):
        save_query(own_set.folder, AskedQuery(Query(text="another"), [(far, 2)]), "Ada")
    assert len(EvalSet.load(own_set.folder).queries) == 5, "nothing half-way"


def test_queries_and_judgments_at_once_lose_nothing(own_set: EvalSet) -> None:
    """Adding queries must not write back judgments that were read before others were given."""
    log = JudgmentLog(own_set.folder)

    def judge() -> None:
        for i in range(15):
            log.add([Judgment("q3", "i5", i % 3, "Ben"), Judgment("q3", f"x{i}", 1, "Ben")])

    def put(name: str) -> None:
        for i in range(8):
            put_query(own_set.folder, EvalQuery(f"{name}{i}", None, "words"))

    threads = [threading.Thread(target=judge)]
    threads += [threading.Thread(target=put, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = log.rows()
    assert len(grades_of(rows, "Ben")) == 16
    assert not [row for row in rows if row.kind == "settled"], "nobody edited the table"
    stored = EvalSet.load(own_set.folder)
    assert len(stored.queries) == 20
    assert stored.qrels["q3"]["i5"] == 2


def test_a_judgment_that_is_given_while_a_query_is_saved_stays(
    own_set: EvalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, with_queries = JudgmentLog(own_set.folder), EvalSet.with_queries

    def meanwhile(read: EvalSet, queries: list[EvalQuery]) -> EvalSet:
        log.add([Judgment("q3", "i5", 2, "Ben")])
        return with_queries(read, queries)

    monkeypatch.setattr(EvalSet, "with_queries", meanwhile)
    put_query(own_set.folder, EvalQuery("new", None, "words"))
    assert EvalSet.load(own_set.folder).qrels["q3"]["i5"] == 2
    assert not [row for row in log.rows() if row.kind == "settled"], "nobody edited the table"


def test_a_note_on_a_query_is_written_and_taken_away(own_set: EvalSet) -> None:
    note_query(own_set.folder, "q1", "  <b>ask</b> Ben\nagain ")
    assert EvalSet.load(own_set.folder).queries[1].metadata == {"note": "<b>ask</b> Ben\nagain"}
    note_query(own_set.folder, "q1", "")
    assert EvalSet.load(own_set.folder).queries[1].metadata == {}
    with pytest.raises(EvalSetError, match="no query"):
        note_query(own_set.folder, "gone", "x")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 61, "a\nb"])
def test_a_new_set_has_a_plain_name(name: str) -> None:
    with pytest.raises(EvalSetError, match="up to 60"):
        new_set_folder(name)
