"""What a person does on the Evaluate and Runs pages."""

from __future__ import annotations

import re
import zipfile

import pytest
from playwright.sync_api import Page, expect

from mmrag import demo
from mmrag.runs.store import RunStore
from tests.dashboard_server import Dashboard

from .conftest import axe, save_screenshot, settled


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
    page.wait_for_timeout(500)
    settled(page)
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


def test_back_leaves_every_page(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "health")
    for name in ("Search", "Evaluate", "Runs", "Judge", "Speed", "Gallery"):
        before = page.url
        page.get_by_test_id("stTopNavLink").filter(has_text=name).click()
        expect(page).to_have_title(f"{name} · mmrag")
        settled(page)
        page.go_back()
        expect(page).to_have_title("Health · mmrag")
        settled(page)
        expect(page).to_have_url(before)


def test_a_link_names_the_runs_that_it_was_made_with(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs")
    page.get_by_role("tab", name="Categories").click()
    page.wait_for_url(lambda url: url.count("runs=") == 3)
    settled(page)
    page.go_back()
    settled(page)
    expect(page).to_have_url(f"{evaluated.url}/runs")


def test_runs_are_compared_down_to_a_single_query(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs")
    expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible()
    for tab in ("Categories", "Gain and cost"):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator("[data-testid=stVegaLiteChart]:visible").first).to_be_visible()
    page.get_by_role("tab", name="Queries").click()
    expect(page.get_by_text(re.compile(r"\d+ queries gained, \d+ lost"))).to_be_visible()
    page.get_by_text(re.compile(r"^Lost \(\d+\)")).click()
    expect(page.locator(".st-key-drill_0 .tile").nth(7)).to_be_visible()
    expect(page.locator(".st-key-drill_1 .tile").nth(7)).to_be_visible()
    settled(page)
    expect(page).to_have_url(re.compile("changed=lost"))
    page.get_by_role("link", name="Search this query again").click()
    settled(page)
    expect(page.get_by_label("Instruction")).to_be_visible()
    expect(page).to_have_url(re.compile("query="))
    page.go_back()
    expect(page).to_have_title("Runs · mmrag")


@pytest.mark.parametrize("show", ["categories", "queries"])
def test_axe_finds_nothing_in_a_comparison(page: Page, evaluated: Dashboard, show: str) -> None:
    open_page(page, evaluated, f"runs?show={show}")
    expect(page.locator("[data-testid=stVegaLiteChart]:visible").first).to_be_visible()
    assert axe(page) == []


def test_a_click_near_a_bar_opens_its_query(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs?show=queries")
    chart = page.locator("[data-testid=stVegaLiteChart]:visible").first
    expect(chart.locator("path").first).to_be_attached()
    settled(page)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    # Far right are the queries that lost most; above the bar, not on it.
    page.mouse.click(box["x"] + box["width"] - 12, box["y"] + 20)
    expect(page).to_have_url(re.compile("drill="))
    settled(page)
    expect(page.locator(".st-key-drill_0 .tile").first).to_be_visible()


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
    page.locator("input[type=file]").first.set_input_files(
        {"name": "other.trec", "mimeType": "text/plain", "buffer": lines.encode()}
    )
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text(re.compile("Added as run"))).to_be_visible()
    page.locator("input[type=file]").first.set_input_files(
        {"name": "bad.trec", "mimeType": "text/plain", "buffer": b"this is no run"}
    )
    expect(page.get_by_text("bad.trec")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("Something went wrong")).to_be_visible()


def test_judgments_are_added_and_charts_are_taken_away(page: Page, evaluated: Dashboard) -> None:
    open_page(page, evaluated, "runs")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Charts as SVG").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "hit-rate-over-k.svg" in archive.namelist()
    page.get_by_text("Add judgments (qrels)").click()
    lines = "theme-00000 0 item-00000 1\ntheme-00001 0 item-00000 1\n"
    page.locator("input[type=file]").nth(1).set_input_files(
        {"name": "second.qrels", "mimeType": "text/plain", "buffer": lines.encode()}
    )
    expect(page.get_by_text("second.qrels")).to_be_visible()
    page.get_by_label("Name of the judgments").fill("second")
    page.get_by_role("button", name="Add judgments").click()
    # Where the button is, and for a moment in a corner.
    expect(page.get_by_text("Added as eval set catalogue-second").first).to_be_visible()
    # The list below is drawn after these words.
    settled(page)
    page.get_by_text(re.compile(r"All runs \(\d+\)")).click()
    settled(page)
    field = page.get_by_label("Remove what was uploaded")
    # A list that is open closes when the page scrolls.
    field.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    field.click()
    page.get_by_role("option", name="Judgments catalogue-second").click()
    settled(page)
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_test_id("stDialog")).to_have_count(0)
    settled(page)
    assert not (evaluated.home / "eval_sets" / "catalogue-second").exists()


def test_the_speed_page_says_how_to_measure(page: Page, dashboard: Dashboard) -> None:
    open_page(page, dashboard, "speed")
    expect(page.get_by_role("button", name="Measure this machine")).to_be_visible()


DRAWN = {
    "": ".st-key-right_grid .tile",
    "evaluate": "text=Queue",
    "runs": "[data-testid=stDataFrame]",
    "speed": "text=Measure this machine",
    "gallery": ".tile",
    "health": "text=Versions",
}


@pytest.mark.parametrize("path", DRAWN)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_fits(
    page: Page, evaluated: Dashboard, path: str, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{evaluated.url}/{path}")
    expect(page.locator(DRAWN[path]).first).to_be_visible()
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("element => element.scrollWidth - element.clientWidth") <= 0
    save_screenshot(page, f"{path or 'search'}-{width}-{scheme}")
