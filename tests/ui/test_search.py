"""The Search page's logic, without a browser."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import threading
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from mmrag import ImageIndex, config, load_encoder, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.errors import CheckpointError, ImageError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.galleries import kept_pictures
from mmrag.images import grid
from mmrag.rerank.cross_encoder import DEFAULT_MODEL
from mmrag.types import SearchResult
from mmrag.ui import fetch_jobs, resources
from mmrag.ui.panels import search_side
from mmrag.ui.panels.query_input import ChosenQuery
from tests.helpers import ROOT, models, wait_until
from tests.hub import Hub
from tests.tiny_models import make_clip
from tests.vision_server import Scene, VisionServer

from .pages import captions, click, open_dashboard, open_page, run, texts, tiles

LEFT, RIGHT = "left_grid", "right_grid"


def ids(page: AppTest, grid: str) -> list[str]:
    return [tile["id"] for tile in tiles(page, grid)]


def test_without_a_collection_it_says_how_to_make_one() -> None:
    page = open_page("search")
    assert "No collection to search yet" in page.info[0].value


def test_a_query_of_the_set_is_searched_at_once_and_judged(mugs: EvalSet) -> None:
    page = open_page("search")
    assert page.selectbox(key="query").value == "q0"
    first, second = tiles(page, LEFT)[:2]
    assert (first["id"], first["mark"]) == (mugs.images[0].image_id, "right")
    assert second["mark"] == "unjudged"
    assert len(ids(page, LEFT)) == 9
    assert ids(page, LEFT) == ids(page, RIGHT)
    assert "First right image at rank 1" in captions(page)
    assert "✓ right, ✗ wrong, · not judged; ▲ ▼ ranks moved" in captions(page)


def test_a_link_opens_the_same_view(mugs: EvalSet) -> None:
    page = open_page("search", query="q3", text="another mug", left_k="3", view="timings")
    assert page.text_area(key="text").value == "another mug"
    charts = [json.loads(one.proto.spec) for one in page.get("vega_lite_chart")]
    assert [one["description"].partition(" ")[0] for one in charts] == ["Milliseconds"] * 2
    page.segmented_control(key="view").set_value("pictures")
    assert len(ids(run(page), LEFT)) == 3
    assert len(ids(page, RIGHT)) == 9


def test_what_a_link_names_and_is_gone_is_passed_over(mugs: EvalSet) -> None:
    page = open_page("search", query="gone", left_collection="gone", set="../../etc", view="x")
    assert page.selectbox(key="query").value == "q0"
    assert len(ids(page, LEFT)) == 9
    said = page.warning[0].value
    for gone in ("the query “gone”", "the collection “gone”", "the eval set “"):
        assert gone in said.replace("\\", "")


def test_a_collection_that_another_tab_deleted_is_named(mugs: EvalSet, tiny: Encoder) -> None:
    with ImageIndex.open(collection="second", encoder=tiny) as index:
        index.add(open_gallery(Path(mugs.images[0].path).parent))
        page = open_page("search", left_collection="second")
        assert page.selectbox(key="left_collection").value == "second"
        index.drop()
    resources.collections.clear()
    assert "collection “second”" in run(page).warning[0].value.replace("\\", "")
    assert len(ids(page, LEFT)) == 9


def test_other_words_are_not_judged_by_the_labels_of_the_original(mugs: EvalSet) -> None:
    page = open_page("search", query="q1")
    assert {tile["mark"] for tile in tiles(page, LEFT)} == {"right", "unjudged"}
    assert "1 of 1 right image shown" in captions(page)
    page.text_area(key="text").set_value("something else")
    run(page)
    assert {tile["mark"] for tile in tiles(page, LEFT)} == {None}
    assert "not judged" in captions(page)
    assert "right image" not in captions(page)
    click(page, "Undo the edit")
    assert page.text_area(key="text").value == "mug 1"
    assert {tile["mark"] for tile in tiles(page, LEFT)} == {"right", "unjudged"}


def test_a_picture_of_ones_own_begins_without_the_sets_words(mugs: EvalSet) -> None:
    page = open_page("search", query="q1")
    page.segmented_control(key="source").set_value("own")
    run(page)
    assert page.text_area(key="text").value == ""
    assert tiles(page) == []


def test_the_next_query_brings_its_own_instruction(mugs: EvalSet) -> None:
    page = click(open_page("search"), "Next")
    assert page.text_area(key="text").value == "mug 1"
    assert page.query_params["query"] in ("q1", ["q1"])
    page.text_area(key="text").set_value("edited")
    assert page.text_area(key="text").value == "edited"
    assert click(page, "Next").text_area(key="text").value in ("", None)


def test_sides_are_swapped_and_made_alike(mugs: EvalSet) -> None:
    page = open_page("search", left_k="3")
    click(page, "Swap")
    assert (len(ids(page, LEFT)), len(ids(page, RIGHT))) == (9, 3)
    click(page, "Copy left to right")
    assert (len(ids(page, LEFT)), len(ids(page, RIGHT))) == (9, 9)


def test_both_panoramas_are_one_picture(mugs: EvalSet) -> None:
    page = open_page("search", right_k="3")
    left, right = list(page.session_state["results"].values())
    sizes = [
        Image.open(io.BytesIO(search_side.panorama(*some))).size
        for some in ([left], [right], [left, right])
    ]
    assert sizes[2][0] > sizes[0][0] + sizes[1][0]
    assert sizes[2][1] == max(sizes[0][1], sizes[1][1])


def test_a_panorama_has_the_tiles_numbers_and_order(
    mugs: EvalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Imported later, while `noted` stands there, it would keep it.
    importlib.import_module("mmrag.rerank.ranking_prompt")
    drawn: list[tuple[list[str], int]] = []
    real = grid.draw_grid

    def noted(query: object, paths: list[str], **how: int):  # type: ignore[no-untyped-def]
        drawn.append((list(paths), how["first"]))
        return real(query, paths, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(grid, "draw_grid", noted)
    page = open_page("search", query="q1", right_rerank="encoder:tiny", right_k="20")
    shown = ids(page, RIGHT)
    page.segmented_control(key="view").set_value("panorama")
    run(page)
    paths = {image.image_id: image.path for image in mugs.images}
    assert drawn[1] == ([paths[image_id] for image_id in shown], 1)


def test_a_question_goes_to_the_side_with_reranking(mugs: EvalSet, server: VisionServer) -> None:
    page = open_page("search", right_rerank="encoder:tiny")
    assert page.segmented_control(key="ask_side").value == "right"
    page.text_input(key="question").set_value("What is it?")
    click(page, "Ask")
    assert re.search(r"Right: \S*tiny\S*, re-scored by tiny", captions(page).replace("\\", ""))
    assert server.requests == 1


def test_a_query_is_saved_to_a_new_set_and_the_next_one_to_the_same(mugs: EvalSet) -> None:
    page = open_page("search", query="q1")
    page.text_input(key="save_name").set_value("mine")
    page.text_input(key="save_judge").set_value("Ada")
    click(run(page), "Save query")
    assert "Saved to mine as query-0001, with 0 judgments." in texts(page)
    [link] = [one.proto for one in page.get("page_link") if "Evaluate" in one.proto.label]
    assert link.query_string == "eval_set=mine&rerankers=none"
    click(page, "Next")
    assert "Saved to" not in texts(page)
    assert page.selectbox(key="save_set").value == "mine"
    click(page, "Save query")
    assert "Saved to mine as query-0002, with 0 judgments." in texts(page)
    saved = EvalSet.load(config.home() / "eval_sets" / "mine")
    assert [query.text for query in saved.queries] == ["mug 1", None]
    assert len(saved.images) == 12


def test_nothing_is_searched_twice(mugs: EvalSet) -> None:
    page = open_page("search")
    before = dict(page.session_state["results"])
    for view in ("panorama", "timings", "pictures"):
        page.segmented_control(key="view").set_value(view)
        run(page)
    after = page.session_state["results"]
    assert {key: id(result) for key, result in after.items()} == {
        key: id(result) for key, result in before.items()
    }


def test_what_costs_money_waits_for_a_click(mugs: EvalSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    page = open_page("search", right_rerank="gpt-4o")
    assert "A vision model costs money" in page.info[0].value
    # A title of two lines would push this side's pictures down.
    title = [one.value for one in page.header][-1].replace("\\", "")
    assert title.startswith("Right: ")
    assert title.endswith(", gpt-4o, panorama")
    assert (len(ids(page, LEFT)), ids(page, RIGHT)) == (9, [])
    click(page, "Search")
    assert "OPENAI_API_KEY" in texts(page)
    assert len(ids(page, LEFT)) == 9, "the side that needs no key shows its results"


def test_what_is_free_does_not_wait_for_a_model(
    mugs: EvalSet, server: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page("search", left_rerank="gpt-4o")
    assert (ids(page, LEFT), len(ids(page, RIGHT))) == ([], 9)
    asked: list[str | None] = []
    search = search_side.search

    def noted(configuration: search_side.Configuration, chosen: ChosenQuery) -> SearchResult:
        asked.append(configuration.reranker.name)
        return search(configuration, chosen)

    monkeypatch.setattr(search_side, "search", noted)
    click(page, "Search")
    assert asked == [None, "gpt-4o"]
    assert (len(ids(page, LEFT)), len(ids(page, RIGHT))) == (9, 9)
    assert captions(page).count("The scores are those of retrieval") == 1


def test_what_has_no_weights_here_is_fetched_by_a_click(mugs: EvalSet, hub: Hub) -> None:
    page = open_page("search", right_rerank="bge-reranker")
    assert "bge-reranker" not in page.selectbox(key="right_rerank").options
    assert "bge-reranker" in page.warning[0].value.replace("\\", "")
    page = open_page("search")
    page.session_state["compared"] = True
    run(page)
    assert "bge-reranker: its weights are not here" in captions(page).replace("\\", "")
    hub.files = {
        f"{DEFAULT_MODEL}/{name}": b"x" * 2000 for name in ("config.json", "a.safetensors")
    }
    button = next(one for one in page.button if one.key == "fetch_bge-reranker")
    assert button.label == "Fetch (1.1 GB)"
    button.click()
    run(page)
    assert wait_until(lambda: not fetch_jobs.is_busy())
    assert [job.state for job in fetch_jobs.queue().jobs()] == ["done"]
    run(page)
    assert "bge-reranker: its weights" not in captions(page).replace("\\", "")
    assert "BGE reranker, by description" in page.selectbox(key="right_rerank").options


@pytest.mark.parametrize("name", ["bge-reranker", "encoder:tiny@9,bge-reranker:no/such@3"])
def test_a_reranker_without_weights_is_refused_at_once(hub: Hub, name: str) -> None:
    with pytest.raises(CheckpointError, match="mmrag download bge-reranker"):
        resources.reranker(name)
    assert hub.ranges == [], "the hub was asked"


def test_without_a_model_server_there_is_nobody_to_ask(
    mugs: EvalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    page = open_page("search")
    assert "There is no vision model to ask" in captions(page)
    assert not [one for one in page.text_input if one.key == "question"]
    assert not [one for one in page.selectbox(key="left_rerank").options if "vision" in one]


def test_any_vision_model_can_be_named(mugs: EvalSet, server: VisionServer) -> None:
    models(server, "gpt-4o", gpt_4o=47)
    page = open_page("search", right_rerank="gpt-4o")
    assert "gpt-4o leaves" in texts(page)
    assert "in 47 days; its successor is gpt-6-luna" in texts(page)
    page = open_page("search", left_rerank="openai:a-model-of-mine", right_rerank="none")
    assert "leaves" not in texts(page)
    assert server.requests == 0
    click(page, "Search")
    assert server.bodies[-1]["model"] == "a-model-of-mine"
    assert "tokens, no price known" in captions(page)
    assert re.search(r"\d+ \+ \d+ tokens", captions(page)), "prompt and answer"
    server.always = Scene(body=b"<html>")
    page = open_page("search", left_rerank="openai:another", right_rerank="none")
    click(page, "Search")
    assert server.bodies[-1]["model"] == "another"
    assert "at most: 1 request had no answer, and may have been charged" in captions(page)


def test_visitors_cannot_name_models(
    mugs: EvalSet, server: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMRAG_READ_ONLY", "1")
    page = open_page("search", right_rerank="openai:another")
    assert page.selectbox(key="right_rerank").value == "none"
    assert server.requests == 0


def test_the_picture_alone_and_the_words_alone_stand_beside_both(mugs: EvalSet) -> None:
    page = open_page("search", query="q1", view="parts")
    assert [len(ids(page, f"left_{part}")) for part in ("Both", "The picture", "The words")] == [
        9,
        9,
        9,
    ]
    assert ids(page, "left_The picture alone")[0] == mugs.images[1].image_id


def test_an_uploaded_picture_is_searched_and_not_judged(mugs: EvalSet) -> None:
    page = open_page("search", source="own")
    assert "Give a picture, an instruction, or both" in page.info[0].value
    path = Path(mugs.images[4].path)
    page.file_uploader(key="upload").upload(path.name, path.read_bytes(), "image/png")
    run(page)
    assert ids(page, LEFT)[0] == mugs.images[4].image_id
    assert {tile["mark"] for tile in tiles(page, LEFT)} == {None}
    assert click(page, "Remove the picture").info[0].value.startswith("Give a picture")


def test_a_picture_is_in_the_link_when_asked_for(mugs: EvalSet) -> None:
    """Its hash alone stands there, and a link whose picture is gone or damaged says so."""
    path = Path(mugs.images[4].path)
    page = open_page("search", source="own")
    page.file_uploader(key="upload").upload(path.name, path.read_bytes(), "image/png")
    assert "picture" not in run(page).query_params
    click(page, "Keep it in the link")
    name = str(page.query_params["picture"])
    assert name == hashlib.sha256(path.read_bytes()).hexdigest()
    other = open_page("search", source="own", picture=name)
    assert ids(other, LEFT) == ids(page, LEFT)
    assert "picture" not in click(other, "Remove the picture").query_params
    (config.home() / "kept_pictures" / name).write_bytes(b"damaged")
    for gone in (name, "../../secret"):
        page = open_page("search", source="own", picture=gone)
        assert "The link names the picture" in page.warning[0].value
        assert tiles(page) == []


def test_the_oldest_picture_of_links_goes_when_there_are_too_many(
    mugs: EvalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_pictures, "MAX_PICTURES", 2)
    names = [kept_pictures.keep_picture(Path(i.path).read_bytes()) for i in mugs.images[:3]]
    assert [kept_pictures.kept_picture(name) is None for name in names] == [True, False, False]
    with pytest.raises(ImageError):
        kept_pictures.keep_picture(b"no picture")


def test_several_uploads_are_one_query(mugs: EvalSet) -> None:
    page = open_page("search", source="own")
    first, second = (Path(mugs.images[n].path) for n in (4, 5))
    uploads = page.file_uploader(key="upload")
    uploads.upload(first.name, first.read_bytes(), "image/png")
    uploads.upload(second.name, second.read_bytes(), "image/png")
    run(page)
    assert "takes one picture at a time: the vectors of the 2 query pictures" in texts(page)
    assert {mugs.images[4].image_id, mugs.images[5].image_id} <= set(ids(page, LEFT)[:3])
    assert click(page, "Remove the pictures").info[0].value.startswith("Give a picture")


def test_a_broken_picture_is_a_sentence(mugs: EvalSet) -> None:
    page = open_page("search", source="own")
    page.file_uploader(key="upload").upload("mine.png", b"this is no picture", "image/png")
    run(page)
    assert "cannot be read" in page.warning[0].value
    assert tiles(page) == []
    assert not [one for one in page.markdown if "went wrong" in one.value], "said once"


def test_a_picture_of_the_gallery_page_is_searched_and_left_out(mugs: EvalSet) -> None:
    wanted = mugs.images[2].image_id
    page = open_page("search", like=f"photos:{wanted}")
    assert len(ids(page, LEFT)) == 9
    assert wanted not in ids(page, LEFT)


@pytest.mark.parametrize("like", ["photos:../../etc/passwd", "nowhere:a", "../x:a", ":", "x"])
def test_a_link_to_a_picture_that_is_not_there_is_a_sentence(mugs: EvalSet, like: str) -> None:
    page = open_dashboard(like=like)
    assert "Something went wrong" in page.markdown[0].value
    assert texts(page)
    assert tiles(page) == []


def test_a_search_waits_while_another_computes(mugs: EvalSet) -> None:
    page = open_page("search")
    turns = resources.model_turns()
    page.selectbox(key="query").set_value("q2")
    with turns.turn():
        searching = threading.Thread(target=page.run)
        searching.start()
        assert wait_until(lambda: turns.waiting == 1)
        searching.join(1)
        assert searching.is_alive()
    searching.join(60)
    assert ids(page, LEFT)[0] == mugs.images[2].image_id
    assert not [info for info in page.info if "Waiting" in info.value]


def test_a_model_of_sentence_transformers_searches_and_scores(
    photos: Path, mugs: EvalSet, tmp_path: Path
) -> None:
    model = f"st:{make_clip(tmp_path / 'clip')}"
    with ImageIndex.open(collection="by_clip", encoder=load_encoder(model)) as index:
        index.add(open_gallery(photos))
    page = AppTest.from_file(str(ROOT / "mmrag/ui/pages/search.py"), default_timeout=60)
    for key, value in (("query", "q0"), ("left_collection", "by_clip")):
        page.query_params[key] = value
    page.query_params["right_collection"] = "photos"
    # As if it had been typed.
    page.session_state["right_rerank"] = f"encoder:{model}"
    run(page)
    assert ids(page, LEFT)[0] == mugs.images[0].image_id
    assert len(ids(page, RIGHT)) == 9
    headers = [one.value.replace("\\", "") for one in page.header]
    assert any(f"scored by encoder:{model}" in one for one in headers)
