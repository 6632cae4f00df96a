"""Waiting times of a visitor with a browser, timed inside the page."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from mmrag.ui.navigation import PAGES

_SEARCH_DRAWN = "shown('textarea')"
_RESULTS = "tiles('left_grid').length > 0 && tiles('right_grid').length > 0"
# Components draw into shadow roots. `press` clicks a button by its words and resolves to the
# milliseconds until the condition holds, checked in every frame.
_HELPERS = """
window.shown = (selector) => {
  const element = document.querySelector(selector);
  return element !== null && element.getBoundingClientRect().height > 0;
};
window.inside = (name) => [...document.querySelectorAll(`.st-key-${name} *`)]
  .map((element) => element.shadowRoot).filter((root) => root !== null);
window.tiles = (name) => inside(name).flatMap((root) => [...root.querySelectorAll('.tile')]);
window.words = (name) => tiles(name).map((tile) => tile.textContent).join('|');
window.loaded = (name) => inside(name).flatMap((root) => [...root.querySelectorAll('img')])
  .every((image) => image.complete || image.getBoundingClientRect().top > window.innerHeight);
window.idle = () => document.querySelector('[data-test-script-state=running]') === null;
window.heading = (name) => document.querySelector('h1')?.textContent.trim() === name;
window.press = async (label, condition, tag = 'button') => {
  const buttons = [...document.querySelectorAll(tag)];
  const found = buttons.find((b) => b.textContent.trim().endsWith(label) || b.ariaLabel === label);
  const holds = new Function(`return ${condition}`);
  const before = performance.now();
  found.click();
  await new Promise((resolve, reject) => {
    const look = () => {
      if (holds()) resolve();
      else if (performance.now() - before > 60000) reject(new Error(`never: ${condition}`));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  return performance.now() - before;
};
"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Open Debian's Chromium, or the browser that `MMRAG_TEST_CHROMIUM` names."""
    chromium = os.environ.get("MMRAG_TEST_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        raise SystemExit("There is no Chromium; `apt-get install chromium`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def first_page(browser: Browser, url: str) -> tuple[float, float]:
    """Seconds until a new visitor sees the Search page, and until it shows results."""
    page = _new_page(browser)
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_function(_SEARCH_DRAWN, polling="raf", timeout=120_000)
    drawn = time.perf_counter() - began
    page.wait_for_function(_RESULTS, polling="raf", timeout=120_000)
    results = time.perf_counter() - began
    page.close()
    return drawn, results


def first_load(browser: Browser, url: str) -> tuple[int, int]:
    """Requests and bytes until a new browser shows the first results.

    Bytes are as transferred, including those of the websocket.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(_HELPERS)
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    requests: list[str] = []
    sizes: list[float] = []
    line.on("Network.requestWillBeSent", lambda event: _note_request(event, requests))
    line.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda payload: sizes.append(len(payload))),
    )
    page.goto(url)
    page.wait_for_function(_RESULTS, timeout=120_000)
    page.wait_for_load_state("networkidle")
    context.close()
    return len(requests), int(sum(sizes))


def _note_request(event: dict[str, Any], requests: list[str]) -> None:
    address = event["request"]["url"]
    # Data inside the page needs no request.
    if address.startswith("http"):
        requests.append(address)


def page_switches(browser: Browser, url: str, rounds: int) -> list[float]:
    """Milliseconds from a click in the navigation until the page is complete, for all pages."""
    page = _search_page(browser, url)
    titles = [title for title, _, _ in PAGES.values()]
    found = []
    for number in range(rounds + 1):
        for title in [*titles[1:], titles[0]]:
            whole = f"document.title.startsWith('{title}') && heading('{title}') && idle()"
            took = float(page.evaluate("([label, c]) => press(label, c, 'a')", [title, whole]))
            # The first visit loads the page's own modules.
            if number:
                found.append(took)
            page.wait_for_timeout(300)
    page.close()
    return found


def widget_changes(browser: Browser, url: str, times: int) -> list[float]:
    """Milliseconds to change the view of present results, back and forth."""
    page = _search_page(browser, url)
    count = "document.querySelectorAll('[data-testid=stVegaLiteChart]').length"
    charts = f"{count} == 2 && tiles('left_grid').length + tiles('right_grid').length == 0"
    pictures = f"{_RESULTS} && {count} == 0"
    found = []
    for _ in range(times):
        found.append(_press(page, "Timings", charts))
        found.append(_press(page, "Pictures", pictures))
    page.close()
    return found


def searches(browser: Browser, url: str, times: int) -> list[float]:
    """Milliseconds for the next query of the set on both sides, none asked before."""
    page = _search_page(browser, url)
    found = []
    for _ in range(times):
        page.evaluate("window.old = ['left_grid', 'right_grid'].map(words)")
        changed = "words('left_grid') != old[0] && words('right_grid') != old[1] && " + _RESULTS
        found.append(_press(page, "Next", changed))
        page.wait_for_timeout(100)
    page.close()
    return found


def gallery_pages(browser: Browser, url: str, collection: str, times: int) -> list[float]:
    """Milliseconds to turn to a page of 60 pictures that nobody has seen before."""
    page = _new_page(browser)
    page.goto(f"{url}/gallery?collection={collection}")
    grid = f"browse_{collection}"
    page.wait_for_function(f"tiles('{grid}').length == 60", timeout=120_000)
    found = []
    for number in range(times):
        first = 60 * (number + 1) + 1
        drawn = f"document.body.innerText.includes('{first:,} to {first + 59:,} of')"
        whole = f"tiles('{grid}').length == 60 && loaded('{grid}')"
        page.evaluate(f"window.old = words('{grid}')")
        found.append(_press(page, "Next page", f"{drawn} && words('{grid}') != old && {whole}"))
        page.wait_for_timeout(100)
    page.close()
    return found


def _new_page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(_HELPERS)
    return page


def _search_page(browser: Browser, url: str) -> Page:
    page = _new_page(browser)
    page.goto(url)
    page.wait_for_function(_RESULTS, timeout=120_000)
    page.wait_for_timeout(500)
    return page


def _press(page: Page, label: str, condition: str) -> float:
    return float(
        page.evaluate("([label, condition]) => press(label, condition)", [label, condition])
    )
