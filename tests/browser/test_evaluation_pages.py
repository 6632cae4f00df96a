"""What a person does on the Evaluate and Runs pages."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from mmrag import demo
from mmrag.runs.store import RunStore

from .conftest import Dashboard, settled


@pytest.fixture(scope="module")
def evaluated(dashboard: Dashboard) -> Dashboard:
    """The dashboard with the demo's three runs, as `make dashboard` prepares it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMRAG_HOME", str(dashboard.home))
        with RunStore() as store:
            demo.runs(store)
    return dashboard


def open_page(page: Page, dashboard: Dashboard, path: str) -> None:
    page.goto(f"{dashboard.url}/{path}")
    settled(page)


def test_an_evaluation_runs_to_its_end_and_its_run_is_shown(
    page: Page, dashboard: Dashboard
) -> None:
    open_page(page, dashboard, "evaluate")
    queries = page.get_by_label("Queries", exact=True)
    queries.fill("20")
    queries.press("Enter")
    settled(page)
    page.get_by_role("button", name="Start").click()
    # It goes on while the page is left and opened again.
    page.goto(dashboard.url)
    open_page(page, dashboard, "evaluate")
    link = page.get_by_role("link", name="See the run").first
    expect(link).to_be_visible(timeout=120_000)
    expect(page.get_by_text("done").first).to_be_visible()
    link.click()
    settled(page)
    expect(page).to_have_url(re.compile("/runs.*runs="))
    expect(page.get_by_text("Hit rate over k")).to_be_visible()
    expect(page.locator("[data-testid=stDataFrame]").first).to_be_visible()


def test_runs_are_compared_down_to_a_single_query(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs")
    expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible()
    for tab in ("Categories", "Gain and cost"):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator("[data-testid=stVegaLiteChart]:visible").first).to_be_visible()
    page.get_by_role("tab", name="Queries").click()
    expect(page.get_by_text(re.compile(r"\d+ queries gained, \d+ lost"))).to_be_visible()
    expect(page.locator(".st-key-drill_0 .tile")).to_have_count(8)
    expect(page.locator(".st-key-drill_1 .tile")).to_have_count(8)
    page.get_by_role("link", name="Search this query again").click()
    settled(page)
    expect(page.get_by_label("Instruction")).to_be_visible()
    expect(page).to_have_url(re.compile("query="))


def test_a_run_is_exported_as_a_page(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs")
    page.get_by_text("Export", exact=True).click()
    page.get_by_role("button", name="Prepare").click()
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("Download .*html")).click()
    text = download.value.path().read_text()
    assert "<html" in text
    assert str(evaluated.home) not in text


def test_a_run_from_elsewhere_is_scored(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs")
    page.get_by_text("Add a run from elsewhere").click()
    lines = "theme-00000 Q0 item-00000 1 1.0 elsewhere\n"
    page.locator("input[type=file]").set_input_files(
        {"name": "other.trec", "mimeType": "text/plain", "buffer": lines.encode()}
    )
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text(re.compile("Added as run"))).to_be_visible()
    page.locator("input[type=file]").set_input_files(
        {"name": "bad.trec", "mimeType": "text/plain", "buffer": b"this is no run"}
    )
    expect(page.get_by_text("bad.trec")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("That did not work")).to_be_visible()


def test_the_speed_page_says_how_to_measure(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard, "speed")
    expect(page.get_by_role("button", name="Measure this machine")).to_be_visible()


@pytest.mark.parametrize("path", ["", "evaluate", "runs", "speed", "gallery", "health"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_every_page_fits(
    page: Page, evaluated: Dashboard, path: str, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page(page, evaluated, path)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
