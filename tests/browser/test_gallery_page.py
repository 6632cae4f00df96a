"""What a person does on the Gallery and Health pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.dashboard_server import Dashboard

from .conftest import save_screenshot, settled

HOSTILE = "**bold** <img src=x onerror=alert(1)> $x$ :smile:"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures, a copy and a broken one, with a description that is no markup."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    for i, colour in enumerate(["red", "green", "blue", "gold"]):
        Image.new("RGB", (400, 300), colour).save(folder / f"{i}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "d.csv").write_text(f'file,description,price\n0.png,"{HOSTILE}",5\n')
    return folder


def open_page(page: Page, dashboard: Dashboard, path: str) -> None:
    page.goto(f"{dashboard.url}/{path}")
    if path.startswith("gallery"):
        # The first visitor of a fresh clone waits until the photographs are indexed.
        expect(page.get_by_role("tab", name="Browse")).to_be_visible(timeout=300_000)
    settled(page)


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    settled(page)


def index(page: Page) -> None:
    page.get_by_role("button", name="Index", exact=True).click()


def delete(page: Page, dashboard: Dashboard, collection: str) -> None:
    open_page(page, dashboard, f"gallery?collection={collection}&tab=collections")
    page.get_by_role("button", name="Delete this collection").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_test_id("stDialog")).to_have_count(0)
    settled(page)


def test_it_begins_with_the_photographs(page: Page, dashboard: Dashboard, drawings: str) -> None:
    open_page(page, dashboard, "gallery")
    expect(page.get_by_text("1 to 60 of 296")).to_be_visible()


def test_browsing_the_catalogue(page: Page, dashboard: Dashboard, drawings: str) -> None:
    open_page(page, dashboard, f"gallery?collection={drawings}")
    expect(page.locator(".tile")).to_have_count(60)
    expect(page.get_by_text("1 to 60 of 900")).to_be_visible()
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_text("61 to 120 of 900")).to_be_visible()
    expect(page).to_have_url(re.compile("page=2"))
    find = page.get_by_role("textbox", name="Find")
    find.fill("leopard mug")
    find.press("Enter")
    expect(page.get_by_text("61 to 120")).to_have_count(0)
    settled(page)
    assert 0 < page.locator(".tile").count() < 60
    page.locator(".tile").first.click()
    dialog = page.get_by_test_id("stDialog")
    expect(dialog.get_by_text("mug").first).to_be_visible()
    expect(dialog.get_by_role("img").first).to_be_visible()
    first = dialog.get_by_text("item-").first.inner_text()
    dialog.get_by_role("button", name="Next").click()
    expect(dialog.get_by_text(first, exact=True)).to_have_count(0)
    save_screenshot(page, "gallery-dialog")
    dialog.get_by_role("link", name="Search with this picture").click()
    expect(page.get_by_role("button", name="Remove the picture")).to_be_visible()
    expect(page.locator(".st-key-left_grid .tile").first).to_be_visible()


def test_a_point_of_the_map_shows_its_picture(
    page: Page, dashboard: Dashboard, drawings: str
) -> None:
    open_page(page, dashboard, f"gallery?tab=map&collection={drawings}")
    points = page.locator("[data-testid=stVegaLiteChart] .role-mark path")
    expect(points.nth(899)).to_be_attached()
    points.nth(5).click(force=True)
    expect(page.get_by_text("Choose a point")).to_have_count(0)
    expect(page.get_by_role("link", name="Search with this picture")).to_be_visible()
    save_screenshot(page, "gallery-map")


def test_a_folder_is_indexed_browsed_and_deleted(
    page: Page, dashboard: Dashboard, photos: Path
) -> None:
    open_page(page, dashboard, "gallery?tab=collections")
    page.get_by_role("textbox", name="Folder").fill(str(photos))
    page.get_by_role("textbox", name="Descriptions").fill(str(photos / "d.csv"))
    index(page)
    expect(
        page.get_by_text("5 added, 0 updated, 0 unchanged, 0 removed, 1 skipped")
    ).to_be_visible()
    save_screenshot(page, "gallery-indexed")
    page.get_by_role("button", name="Browse it").click()
    expect(page.locator(".tile")).to_have_count(5)
    page.locator(".tile").first.hover()
    expect(page.locator(".tile .tip").first).to_have_text(HOSTILE)
    page.locator(".tile").first.click()
    expect(page.get_by_test_id("stDialog").get_by_text(HOSTILE)).to_be_visible()
    page.keyboard.press("Escape")
    tab(page, "Near-duplicates")
    expect(page.get_by_text("1.0000, the same file")).to_be_visible()
    delete(page, dashboard, "holiday")
    expect(page.get_by_text("296 images")).to_be_visible()
    assert (photos / "0.png").is_file(), "the pictures stay"


def test_an_upload_is_kept_until_its_collection_goes(
    page: Page, dashboard: Dashboard, photos: Path
) -> None:
    open_page(page, dashboard, "gallery?tab=collections")
    page.get_by_text("Upload pictures").click()
    settled(page)
    names = ["0.png", "1.png", "broken.jpg"]
    page.locator("input[type=file]").set_input_files([photos / name for name in names])
    page.get_by_role("textbox", name="Collection").fill("Mine too")
    index(page)
    expect(
        page.get_by_text("2 added, 0 updated, 0 unchanged, 0 removed, 1 skipped")
    ).to_be_visible()
    kept = dashboard.home / "galleries" / "mine_too"
    assert sorted(path.name for path in kept.iterdir()) == sorted(names)
    delete(page, dashboard, "mine_too")
    assert not kept.exists()


def test_health(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard, "health")
    expect(page.get_by_text("Everything that is needed works")).to_be_visible()
    expect(page.get_by_text("visualized-bge-base").first).to_be_visible()
    assert "a-key-for-tests" not in page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["gallery", "gallery?tab=map", "gallery?tab=duplicates", "health"])
def test_nothing_is_wider_than_the_screen(
    page: Page, dashboard: Dashboard, path: str, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page(page, dashboard, path)
    expect(page.locator(".tile, [data-testid=stVegaLiteChart] path, h1").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("element => element.scrollWidth - element.clientWidth") <= 0
    kind = path.replace("?tab=", "-").lower()
    save_screenshot(page, f"{kind}-{width}-{scheme}")
