"""What a person does on the Search page."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, TimeoutError, expect

from bench.pages import first_load
from mmrag import EvalSet
from mmrag.eval_sets.known_sets import CATALOGUE
from tests.dashboard_server import Dashboard, start_dashboard, stop

from .conftest import settled


def open_page(page: Page, dashboard: Dashboard, path: str = "") -> None:
    page.goto(f"{dashboard.url}/{path}")
    settled(page)


def compared(page: Page) -> None:
    """Open what the two sides compare."""
    page.get_by_text("What is compared").click()


def choose(page: Page, label: str, option: str) -> None:
    """Choose from the select box with this label; a page that is drawn anew closes its list."""
    compared(page)
    wanted = page.get_by_role("option", name=option, exact=True)
    for _ in range(5):
        page.get_by_label(label, exact=True).fill(option)
        try:
            wanted.click(timeout=10_000)
            break
        except TimeoutError:
            page.keyboard.press("Escape")
    settled(page)


def tiles(page: Page, side: str):  # type: ignore[no-untyped-def]
    return page.locator(f".st-key-{side}_grid .tile")


def picture(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (200, 160), colour).save(out, "PNG")
    return out.getvalue()


def upload(page: Page, data: bytes, name: str = "mine.png") -> None:
    page.get_by_text("My own picture").click()
    expect(page.locator("input[type=file]").first).to_be_attached()
    page.locator("input[type=file]").first.set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": data}
    )
    settled(page)


def test_a_fresh_clone_shows_results_on_both_sides(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard)
    expect(tiles(page, "left")).to_have_count(9, timeout=120_000)
    expect(tiles(page, "right")).to_have_count(9)
    expect(page.get_by_role("heading", name="photos-small, no reranking")).to_be_visible()
    expect(page.get_by_role("heading", name="photos-small, re-scored by photos")).to_be_visible()
    right_ones = page.locator(".tile.right")
    assert right_ones.count() > 0, "no hit is marked as right"
    expect(right_ones.first).to_contain_text("✓")


def test_the_drawings_are_one_click_away(page: Page, dashboard: Dashboard, drawings: str) -> None:
    open_page(page, dashboard)
    expect(tiles(page, "left")).to_have_count(9)
    page.get_by_role("button", name="Search the drawings instead").click()
    expect(page.get_by_role("heading", name="demo-clip, no reranking")).to_be_visible()
    expect(page.get_by_role("heading", name="demo-clip, re-scored by demo")).to_be_visible()
    settled(page)
    assert page.locator(".tile.right").count() > 0
    page.get_by_role("button", name="Search the photographs instead").click()
    expect(page.get_by_role("heading", name="photos-small, no reranking")).to_be_visible()


def test_the_next_query_brings_other_results_and_its_own_text(
    page: Page, dashboard: Dashboard, drawings: str
) -> None:
    open_page(page, dashboard, "?set=catalogue")
    expect(tiles(page, "left")).to_have_count(9)
    before = tiles(page, "left").first.get_by_role("img").get_attribute("alt")
    text = page.get_by_label("Instruction").input_value()
    page.get_by_role("button", name="Next").click()
    settled(page)
    expect(page.get_by_label("Instruction")).not_to_have_value(text)
    first = tiles(page, "left").first.get_by_role("img")
    expect(first).not_to_have_attribute("alt", before or "")


def test_back_takes_back_picture_instruction_and_labels_together(
    page: Page, dashboard: Dashboard
) -> None:
    open_page(page, dashboard)
    instruction = page.get_by_label("Instruction")
    seen = []
    for _ in range(3):
        expect(tiles(page, "left")).to_have_count(9)
        settled(page)
        marks = page.locator(".tile").all_inner_texts()
        seen.append((page.url, instruction.input_value(), marks))
        page.get_by_role("button", name="Next").click()
        expect(instruction).not_to_have_value(seen[-1][1])
    settled(page)
    for address, words, marks in reversed(seen):
        page.go_back()
        expect(instruction).to_have_value(words)
        settled(page)
        expect(page).to_have_url(address)
        assert page.locator(".tile").all_inner_texts() == marks


def test_a_link_opens_the_same_view(page: Page, dashboard: Dashboard, drawings: str) -> None:
    open_page(
        page,
        dashboard,
        "?set=catalogue&query=theme-00002&text=a+mug+with+this+print&view=timings&left_k=3",
    )
    expect(page.get_by_label("Instruction")).to_have_value("a mug with this print")
    expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible()
    page.get_by_text("Pictures", exact=True).click()
    settled(page)
    expect(tiles(page, "left")).to_have_count(3)


def test_sides_are_swapped(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard)
    expect(tiles(page, "right")).to_have_count(9)
    titles = page.get_by_role("heading", name="photos-small, ")
    before = [title.partition(": ")[2] for title in titles.all_inner_texts()]
    compared(page)
    page.get_by_role("button", name="Swap").click()
    settled(page)
    expect(titles.first).to_have_text(f"Left: {before[1]}")
    expect(titles.nth(1)).to_have_text(f"Right: {before[0]}")


def test_a_picture_opens_large_and_becomes_the_next_query(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard)
    tiles(page, "left").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("img").first).to_be_visible()
    expect(dialog.get_by_text("Rank 1")).to_be_visible()
    # Never larger than it is, and what is known of it stands beside it, without scrolling.
    picture = dialog.locator("img").first
    assert picture.evaluate("image => image.clientWidth <= image.naturalWidth")
    expect(dialog.get_by_role("button", name="More like this")).to_be_in_viewport(ratio=1)
    dialog.get_by_role("button", name="More like this").click()
    settled(page)
    expect(page.get_by_role("button", name="Remove the picture")).to_be_visible()
    expect(tiles(page, "left")).to_have_count(9)


def test_hits_are_judged_by_key_and_click_and_saved_with_their_query(
    page: Page, dashboard: Dashboard, drawings: str
) -> None:
    open_page(page, dashboard, "?set=catalogue&query=theme-00000")
    first = tiles(page, "left").nth(0)
    first.focus()
    for key in ("3", "ArrowRight", "1", "ArrowRight", "2", "u", "ArrowRight", "2"):
        page.keyboard.press(key)
    settled(page)
    expect(tiles(page, "left").nth(3)).to_be_focused()
    page.locator(".st-key-left_grid .judged").nth(4).locator(".g2").click()
    panel = page.locator(".st-key-save_to")
    expect(panel.get_by_text("Save query to … (4 pictures judged)")).to_be_visible()
    panel.get_by_text("Save query to …").first.click()
    expect(panel.get_by_label("Your name")).to_be_visible()
    if not panel.get_by_label("Its name").is_visible():
        # Other sets of one's own come first.
        choose(page, "Save query to", "A new eval set")
    panel.get_by_label("Its name").fill("found-by-eye")
    panel.get_by_label("Your name").fill("Ada")
    panel.get_by_label("Note on the query").fill("<b>bright</b>")
    panel.get_by_label("Note on the query").blur()
    panel.get_by_role("button", name="Save query").click()
    expect(panel.get_by_text("as query-0001, with 4 judgments.")).to_be_visible()
    saved = EvalSet.load(dashboard.home / "eval_sets" / "found-by-eye")
    assert saved.queries[0].metadata["note"] == "<b>bright</b>"
    assert len(saved.images) == len(EvalSet.load(CATALOGUE).images)
    assert sorted(saved.qrels["query-0001"].values()) == [0, 1, 2, 2]


def test_the_focus_comes_back_to_the_tile_that_opened_a_dialog(
    page: Page, dashboard: Dashboard
) -> None:
    open_page(page, dashboard)
    expect(tiles(page, "left")).to_have_count(9)
    tiles(page, "left").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(tiles(page, "left").nth(1)).to_be_focused()


def test_a_first_visit_takes_few_requests_and_bytes(browser: Browser, dashboard: Dashboard) -> None:
    requests, size = first_load(browser, dashboard.url)
    assert requests < 60
    assert size < 2_500_000


def test_an_uploaded_picture_with_an_instruction_is_searched(
    page: Page, dashboard: Dashboard
) -> None:
    open_page(page, dashboard)
    query = sorted((CATALOGUE / "query_images").glob("theme-*.webp"))[0]
    upload(page, query.read_bytes(), "mine.webp")
    page.get_by_label("Instruction").fill("a mug with this print")
    page.get_by_label("Instruction").press("Control+Enter")
    settled(page)
    expect(tiles(page, "left")).to_have_count(9)
    expect(page.locator(".tile.right, .tile.wrong")).to_have_count(0)


def test_a_broken_picture_is_a_sentence(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard)
    upload(page, b"this is not a picture")
    expect(page.get_by_text("This picture cannot be read. Choose another one.")).to_be_visible()
    expect(page.locator(".tile")).to_have_count(0)


def test_neither_picture_nor_instruction_is_asked_for(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard)
    expect(tiles(page, "right")).to_have_count(9)
    page.get_by_text("My own picture").click()
    expect(page.locator("input[type=file]").first).to_be_attached()
    settled(page)
    page.get_by_label("Instruction").fill("")
    page.get_by_label("Instruction").press("Control+Enter")
    expect(page.get_by_text("Give a picture, an instruction, or both.")).to_be_visible()


def test_gpt_4o_waits_for_a_click_then_reorders_and_explains(
    page: Page, dashboard: Dashboard, vision_server
) -> None:  # type: ignore[no-untyped-def]
    open_page(page, dashboard)
    asked = vision_server.requests
    choose(page, "Right: reranking", "vision model (gpt-4o), panorama")
    expect(page.get_by_text("A vision model costs money: press Search to ask it.")).to_be_visible()
    assert vision_server.requests == asked
    expect(tiles(page, "left")).to_have_count(9)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("Why the first is best")).to_be_visible()
    assert vision_server.requests == asked + 1
    expect(page.get_by_text("tokens,")).to_be_visible()
    page.get_by_text("Panorama", exact=True).first.click()
    settled(page)
    assert vision_server.requests == asked + 1, "changing the view asked again"


def test_a_model_that_nobody_listed_is_typed(
    page: Page, dashboard: Dashboard, vision_server
) -> None:  # type: ignore[no-untyped-def]
    open_page(page, dashboard)
    compared(page)
    field = page.get_by_label("Right: reranking", exact=True)
    field.fill("a-model-of-mine")
    page.get_by_role("option", name="a-model-of-mine").click()
    settled(page)
    expect(page.get_by_role("heading", name="a-model-of-mine, panorama")).to_be_visible()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("no price known")).to_be_visible()
    assert vision_server.bodies[-1]["model"] == "a-model-of-mine"
    expect(page).to_have_url(re.compile("right_rerank=(openai%3A)?a-model-of-mine"))


def test_a_question_is_answered_from_the_best_match(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard)
    expect(tiles(page, "left")).to_have_count(9)
    page.get_by_text("Ask about the best match").click()
    page.get_by_label("Question", exact=True).fill("What does it cost?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("From the best match", exact=True)).to_be_visible()
    expect(page.get_by_text("tokens,")).to_be_visible()
    expect(page.get_by_text(" USD").first).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page(page: Page, dashboard: Dashboard, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, dashboard)
    expect(tiles(page, "left")).to_have_count(9)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(tiles(page, "left").first).to_be_in_viewport(ratio=0.9)


def test_without_milvus_and_without_a_key_there_is_a_sentence(
    page: Page, dashboard: Dashboard, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("nowhere")
    process, lonely = start_dashboard(home, MMRAG_URI="http://127.0.0.1:9")
    try:
        page.goto(lonely.url)
        expect(page.get_by_text("No Milvus answers at http://127.0.0.1:9")).to_be_visible()
        expect(page.locator("[data-testid=stException]")).to_have_count(0)
    finally:
        # A page whose server goes away complains about it.
        page.goto("about:blank")
        stop(process)
    process, keyless = start_dashboard(dashboard.home)
    try:
        open_page(page, keyless)
        expect(tiles(page, "left")).to_have_count(9)
        compared(page)
        expect(page.get_by_text("Vision models: No key")).to_be_visible()
    finally:
        # A page whose server goes away complains about it.
        page.goto("about:blank")
        stop(process)
