"""The Gallery page's logic, without a browser."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from mmrag import ImageIndex, RunStore, config, list_collections, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.index import adopted
from mmrag.index.store import MilvusStore
from mmrag.runs import schema
from mmrag.runs.job_rows import JobRows
from mmrag.system.jobs import Job
from mmrag.ui import gallery_data, indexing_jobs, resources
from tests.helpers import made_by_script, wait_until

from .pages import click, open_page, run, texts, tiles


def gallery(**query: str) -> AppTest:
    return open_page("gallery", **query)


def job(number: int) -> Job:
    return next(job for job in indexing_jobs.queue().jobs() if job.job_id == number)


def wait_for_jobs() -> None:
    for job in indexing_jobs.queue().jobs():
        assert indexing_jobs.queue().wait(job.job_id, 60).is_over


def test_without_a_collection_only_indexing_is_offered() -> None:
    page = gallery()
    assert "no collection yet" in page.info[0].value
    assert [button.label for button in page.button] == ["Index"]


def test_browsing_finds_and_narrows(photos: Path) -> None:
    page = gallery()
    assert "12 images, " in texts(page)
    assert "1 to 12 of 12" in texts(page)
    assert [tile["id"] for tile in tiles(page)][:2] == ["a/01.png", "a/03.png"]
    assert all(tile["src"].startswith("data:image/webp") for tile in tiles(page))
    page.text_input(key="find").set_value("MUG")
    assert [tile["tip"] for tile in tiles(run(page))] == ["a red mug", "**a** <b>blue</b> mug"]
    page.multiselect(key="narrow").set_value(["colour: blue"])
    assert [tile["id"] for tile in tiles(run(page))] == ["a/03.png"]
    page.text_input(key="find").set_value("red")
    assert "No matching images" in run(page).info[0].value


def test_odd_pictures_are_counted(folder: Path, tiny: Encoder) -> None:
    Image.new("RGB", (300, 200), "white").save(folder / "flat.png")
    (folder / "again.png").write_bytes((folder / "a" / "01.png").read_bytes())
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        index.add(open_gallery(folder))
    captions = [caption.value for caption in gallery(collection="photos").caption]
    assert "1 nearly one colour all over, 1 the same file as another one." in captions


def test_a_link_opens_the_same_view(photos: Path) -> None:
    page = gallery(collection="photos", find="mug", narrow="colour: red")
    assert [tile["id"] for tile in tiles(page)] == ["a/01.png"]
    page = gallery(collection="gone", page="99", narrow="colour: green", tab="Nonsense")
    assert len(tiles(page)) == 12


def test_a_wrong_expression_is_a_sentence(photos: Path) -> None:
    page = gallery(filter="metadata[")
    assert "Filter 'metadata['" in texts(page)
    assert tiles(page) == []
    assert len(tiles(gallery(filter='metadata["colour"] == "red"'))) == 1


def test_many_images_come_in_pages(tmp_path: Path, tiny: Encoder) -> None:
    for i in range(70):
        path = tmp_path / "many" / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (3 * i, 0, 0)).save(path)
    with ImageIndex.open(collection="many", encoder=tiny) as index:
        index.add(open_gallery(tmp_path / "many"))
    page = gallery(page="2")
    assert "61 to 70 of 70" in texts(page)
    assert [tile["id"] for tile in tiles(page)] == [f"{i:03}.png" for i in range(60, 70)]
    page.text_input(key="find").set_value("00")
    assert "1 to 10 of 10" in texts(run(page)), "a filter begins at its first page"
    (tmp_path / "many" / "000.png").unlink()
    st.cache_resource.clear()
    (gone,) = tiles(gallery(find="000"))
    assert (gone["src"], gone["missing"]) == (None, "cannot be read")


def test_the_map_has_every_image_and_its_colour(photos: Path) -> None:
    page = gallery(tab="map")
    (chart,) = page.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    assert spec["encoding"]["color"]["scale"]["domain"] == ["none", "red", "blue"]
    assert "of the variance" in spec["encoding"]["x"]["axis"]["title"]
    assert "Choose a point" in page.info[0].value


def test_copies_are_near_duplicates(photos: Path, tiny: Encoder) -> None:
    (photos / "copy.png").write_bytes((photos / "a" / "01.png").read_bytes())
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        index.add(open_gallery(photos))
    page = gallery(tab="duplicates", cosine="1.0")
    assert "1 pair among 13 images." in texts(page)
    assert "1.0000, the same file" in texts(page)
    assert [tile["id"] for tile in tiles(page)] == ["a/01.png", "copy.png"]
    click(page, "Leave the second out")
    assert "0 pairs among 12 images." in texts(page)
    assert (photos / "copy.png").is_file()


def test_near_duplicates_begin_where_few_pairs_are_left(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pairs(uri: str, name: str, state: str, threshold: float) -> gallery_data.Duplicates:
        return gallery_data.Duplicates([], 398 if threshold < 0.99 else 30, 900)

    monkeypatch.setattr(gallery_data, "duplicates", pairs)
    page = gallery(tab="duplicates")
    assert page.slider(key="cosine").value == 0.99
    assert "30 pairs among 900 images" in texts(page)


def test_pictures_are_added_from_the_first_tab(photos: Path) -> None:
    page = gallery()
    assert "Index" not in [button.label for button in page.button]
    click(page, "Add pictures")
    assert "Index" in [button.label for button in page.button]


def test_a_folder_is_indexed_and_what_is_skipped_is_listed(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    page = gallery()
    click(page, "Index")
    assert "Give the folder" in texts(page)
    page.text_input[0].set_value("/nowhere")
    click(page, "Index")
    assert "/nowhere is not a folder" in texts(page)
    page.text_input[0].set_value(str(folder))
    page.text_input[2].set_value("My mugs!")
    click(page, "Index")
    wait_for_jobs()
    page = gallery(tab="collections")
    assert "12 added, 0 updated, 0 unchanged, 0 removed, 1 skipped" in texts(page)
    skipped = page.dataframe[1].value
    assert skipped.values.tolist() == [["bad.jpg", "not an image in a supported format"]]
    assert [(info.name, info.rows) for info in list_collections()] == [("my_mugs", 12)]
    assert len(tiles(gallery())) == 12


def test_another_folder_does_not_replace_a_collection_by_mistake(
    photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (20, 20), "red").save(other / "x.png")
    page = gallery(tab="collections")
    page.text_input[0].set_value(str(other))
    page.text_input[2].set_value("photos")
    click(page, "Index")
    assert f"photos holds {photos.resolve()}" in texts(page)
    assert indexing_jobs.queue().jobs() == []
    page.checkbox[0].check()
    click(page, "Index")
    wait_for_jobs()
    assert [(info.name, info.rows) for info in list_collections()] == [("photos", 1)]


def test_a_failure_is_a_sentence(photos: Path) -> None:
    page = gallery(tab="collections")
    page.text_input[0].set_value(str(photos))
    page.text_input[1].set_value(str(photos / "absent.csv"))
    click(page, "Index")
    wait_for_jobs()
    assert "No metadata file at" in texts(gallery(tab="collections"))
    assert list_collections()[0].rows == 12


def test_indexing_waits_while_a_search_computes(folder: Path) -> None:
    with resources.model_turns().turn():
        number = indexing_jobs.submit(indexing_jobs.IndexingPlan(str(folder), "turns", "tiny"))
        assert wait_until(lambda: job(number).state == "running")
        assert not indexing_jobs.queue().wait(number, 1).is_over
        assert indexing_jobs.is_busy("turns")
        page = gallery(tab="collections")
        assert "Stop" in [button.label for button in page.button]
    assert indexing_jobs.queue().wait(number, 60).state == "done"
    assert not indexing_jobs.is_busy("turns")
    assert list_collections()[0].rows == 12


def test_what_is_indexed_when_it_is_stopped_is_kept(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for i in range(400):
        Image.new("RGB", (16, 16), (i // 2, 0, i % 2)).save(tmp_path / "many" / f"{i:03}.png")
    plan = indexing_jobs.IndexingPlan(str(tmp_path / "many"), "many", "tiny")
    number = indexing_jobs.submit(plan)
    assert wait_until(lambda: (p := job(number).progress) is not None and p.done >= 32, 60)
    indexing_jobs.queue().cancel(number)
    assert indexing_jobs.queue().wait(number, 60).state == "cancelled"
    assert 32 <= list_collections()[0].rows < 400
    again = indexing_jobs.queue().wait(indexing_jobs.submit(plan), 60)
    outcome = indexing_jobs.outcome(again.run_id)
    assert outcome is not None
    assert outcome.report.unchanged + outcome.report.added == 400


def test_deleting_asks_first(photos: Path) -> None:
    page = click(gallery(tab="collections"), "Delete this collection")
    assert "photos: 12 images" in texts(page)
    assert "Delete" in [button.label for button in page.button]
    assert [info.name for info in list_collections()] == ["photos"]


def test_what_a_killed_dashboard_left_is_offered(photos: Path) -> None:
    plan = {"folder": str(photos), "collection": "left", "encoder": "tiny"}
    with RunStore() as store:
        rows = JobRows(store.database)
        row_id = rows.add("index", "left: photos with tiny", plan)
        with store.database.begin("") as connection:
            owner = f"{socket.gethostname()}:999999999:0.00"
            change = schema.jobs.update().where(schema.jobs.c.job_id == row_id)
            connection.execute(change.values(owner=owner))
    page = gallery(tab="collections")
    assert "left: photos with tiny" in texts(page)
    click(page, "Go on")
    wait_for_jobs()
    assert {info.name for info in list_collections()} == {"left", "photos"}
    with RunStore() as store:
        assert JobRows(store.database).left() == []
    assert "Go on" not in [button.label for button in gallery(tab="collections").button]


def test_much_is_removed_only_when_asked(photos: Path) -> None:
    for i in range(20):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(photos / f"x{i}.png")
    with ImageIndex.open(collection="photos", encoder=resources.encoder("tiny")) as index:
        index.add(open_gallery(photos))
    for path in photos.glob("x*.png"):
        path.unlink()
    plan = indexing_jobs.IndexingPlan(str(photos), "photos", "tiny")
    assert indexing_jobs.queue().wait(indexing_jobs.submit(plan), 60).state == "failed"
    page = gallery(tab="collections")
    assert "would lose 20 of its 32 rows" in texts(page)
    click(page, "Remove them")
    wait_for_jobs()
    assert list_collections()[0].rows == 12


def test_an_adopted_collection_is_shown_and_searched(folder: Path, tiny: Encoder) -> None:
    paths = sorted(str(path) for path in folder.rglob("*.png"))
    name = made_by_script(config.default_uri(), tiny, paths, "L2")
    store = MilvusStore(config.default_uri())
    held = adopted.look_at(store, name, "vector", "image_path", str(Path.cwd()))
    assert adopted.probe(store, held, tiny).is_same
    store.close()
    adopted.keep(held, tiny)
    page = gallery(collection=name)
    assert "1 to 12 of 12" in texts(page)
    assert len(tiles(page)) == 12
    page = gallery(collection=name, tab="map")
    assert len(page.get("vega_lite_chart")) == 1
    page = open_page(
        "search", left_collection=name, right_collection=name, source="own", text="mug"
    )
    assert len(tiles(page, "left_grid")) == 9
