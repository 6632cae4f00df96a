"""A real dashboard in a real browser; every page fails its test on a console error."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from bench.awaiting import awaited
from bench.visitors import Visitor
from mmrag import config, demo
from mmrag.index.milvus_collection import list_collections
from mmrag.ui import shows
from tests.dashboard_server import Dashboard, start_dashboard, stop
from tests.helpers import wait_until
from tests.vision_server import VisionServer

CHROMIUM = os.environ.get("MMRAG_TEST_CHROMIUM") or shutil.which("chromium")
SCREENSHOTS = os.environ.get("MMRAG_TEST_SCREENSHOTS")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
expect.set_options(timeout=60_000)


@pytest.fixture(scope="package")
def vision_server() -> Iterator[VisionServer]:
    with VisionServer() as server:
        yield server


@pytest.fixture(scope="package")
def dashboard(
    tmp_path_factory: pytest.TempPathFactory, vision_server: VisionServer
) -> Iterator[Dashboard]:
    """One dashboard for all tests, as a fresh clone has it; GPT-4o is the protocol server."""
    home = tmp_path_factory.mktemp("dashboard") / "home"
    process, running = start_dashboard(
        home, OPENAI_BASE_URL=vision_server.url, OPENAI_API_KEY="a-key-for-tests"
    )
    # The first visitor waits for the index and the models, on a busy machine for minutes.
    assert wait_until(lambda: _pictures(running.url) == 18, 300), running.log.read_text()
    yield running
    stop(process)
    # Its web server may complain about connections that it cuts while it stops.
    log = running.log.read_text().split("Stopping...")[0]
    assert "Traceback" not in log, log
    assert "a-key-for-tests" not in log


@pytest.fixture(scope="package")
def drawings(dashboard: Dashboard) -> str:
    """The name of the drawings' collection, once they are indexed too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMRAG_HOME", str(dashboard.home))
        demo.index_galleries(shows=[demo.DRAWINGS])
        found = {info.name: info for info in list_collections(config.default_uri())}
    return shows.collections_of(demo.DRAWINGS, found)["demo"]


def _pictures(url: str) -> int:
    """How many pictures a visitor of the first page gets."""

    async def visit() -> int:
        async with Visitor(url) as visitor:
            return (await visitor.visit()).pictures

    return awaited(visit())


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium; while it is open, this thread counts as one with a running event loop."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium; `apt-get install chromium`, or MMRAG_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of 1280 × 900; the test fails on any console error or uncaught exception."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(60_000)
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Opened below a page's own path, Streamlit first looks for its server there.
        own = "/_stcore/" in message.location.get("url", "")
        drawn = "fit-y" in message.text
        if drawn or (message.type == "error" and not own):
            errors.append(f"{message.text} {message.location}")

    opened.on("console", note)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    save_screenshot(opened, re.sub(r"\W+", "-", request.node.name))
    opened.close()
    assert errors == []


def save_screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def axe(page: Page) -> list[str]:
    """What axe-core finds at levels A and AA, light and wide, dark and on a phone."""
    found = []
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        settled(page)
        for one in Axe().run(page, options={"runOnly": LEVELS}).response["violations"]:
            found += [f"{scheme} {width}: {one['id']}: {n['html'][:200]}" for n in one["nodes"]]
    return found


def settled(page: Page) -> None:
    """Wait until the script has run and nothing is loading."""
    app = page.locator("[data-testid=stApp]")
    expect(app).to_be_visible()
    expect(page.locator("[data-test-script-state=running]")).to_have_count(0)
    expect(page.locator("[data-testid=stSpinner]")).to_have_count(0)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
