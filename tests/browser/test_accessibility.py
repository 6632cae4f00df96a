"""What axe-core finds on each page, light and dark, wide and on a phone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.dashboard_server import Dashboard

from .conftest import settled

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = {
    "": "Search",
    "evaluate": "Evaluate",
    "judge": "Judge",
    "runs": "Runs",
    "speed": "Speed",
    "gallery": "Gallery",
    "health": "Health",
}


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(page: Page, dashboard: Dashboard, path: str) -> None:
    page.goto(f"{dashboard.url}/{path}")
    expect(page.get_by_role("heading", name=PAGES[path], exact=True, level=1)).to_be_visible()
    settled(page)
    expect(page.locator("[data-testid=stSkeleton]:visible")).to_have_count(0)
    assert page.title() == f"{PAGES[path]} · mmrag"
    found = []
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        settled(page)
        for one in Axe().run(page, options={"runOnly": LEVELS}).response["violations"]:
            found += [f"{scheme} {width}: {one['id']}: {n['html'][:200]}" for n in one["nodes"]]
        outline = page.evaluate(
            "() => [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])"
        )
        assert all(b <= a + 1 for a, b in pairwise(outline)), outline
    assert found == []


def test_tiles_are_one_stop_and_the_arrows_walk_them(page: Page, dashboard: Dashboard) -> None:
    page.goto(dashboard.url)
    tiles = page.locator(".st-key-left_grid .tile")
    expect(tiles).to_have_count(9)
    settled(page)
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(tiles.nth(8)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".st-key-left_grid .tile:focus")).to_have_count(0)
    assert tiles.nth(8).get_attribute("tabindex") == "0"
