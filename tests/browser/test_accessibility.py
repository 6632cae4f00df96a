"""What axe-core finds on each page, light and dark, wide and on a phone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard_server import Dashboard

from .conftest import axe, settled

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
    assert axe(page) == []
    outline = page.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])"
    )
    assert all(b <= a + 1 for a, b in pairwise(outline)), outline


def test_axe_finds_nothing_where_much_is_open(page: Page, dashboard: Dashboard) -> None:
    page.goto(dashboard.url)
    page.get_by_text("What is compared").click()
    expect(page.get_by_text("Not usable here:")).to_be_visible()
    page.get_by_text("Ask about the best match").click()
    page.get_by_text("Downloads, and how to get").click()
    settled(page)
    assert axe(page) == []
    page.locator(".st-key-left_grid .tile").first.click()
    expect(page.get_by_role("dialog").locator("img").first).to_be_visible()
    assert axe(page) == []


# Texts that are wider than what shows of them.
CUT = """() => [...document.querySelectorAll('[data-testid=stMain] *')].filter((one) => {
  const style = getComputedStyle(one);
  return style.overflowX === 'hidden' && one.textContent.trim() && one.clientWidth > 1
    && one.scrollWidth > one.clientWidth + 1 && !one.closest('[data-testid=stDataFrame]');
}).map((one) => one.textContent.trim().slice(0, 80))"""


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_cut_at_200_per_cent(browser: Browser, dashboard: Dashboard, path: str) -> None:
    page = browser.new_page(viewport={"width": 720, "height": 450}, device_scale_factor=2)
    page.goto(f"{dashboard.url}/{path}")
    expect(page.get_by_role("heading", name=PAGES[path], exact=True, level=1)).to_be_visible()
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.evaluate(CUT) == []
    page.close()


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


def test_the_focus_is_seen_on_the_navigation(page: Page, dashboard: Dashboard) -> None:
    page.goto(dashboard.url)
    expect(page.locator("[data-testid=stTopNavLink]").first).to_be_visible()
    settled(page)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.locator("[data-testid=stTopNavLink]:focus").count():
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "solid 3px" in outline
    assert page.evaluate("document.activeElement.dataset.testid") == "stTopNavLink"
