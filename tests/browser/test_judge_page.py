"""Judging in a real browser: by key, by click, in two tabs, after a reload, on a phone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from mmrag import EvalSet, RunStore
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.labels.drafts import Draft, DraftFile
from mmrag.labels.judgments import JudgmentLog, grades_of
from mmrag.types import GalleryImage
from tests.dashboard_server import Dashboard
from tests.helpers import ROOT, wait_until

from .conftest import axe, settled

HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def own(dashboard: Dashboard) -> Iterator[EvalSet]:
    """An eval set of one's own in the dashboard's home, with two runs of it."""
    random = np.random.default_rng(0)
    pictures = dashboard.home / "pictures"
    pictures.mkdir()
    images = []
    for i in range(30):
        path = pictures / f"{i:02}.png"
        noise = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((120, 90), 0).save(path)
        images.append(GalleryImage(f"i{i:02}", str(path), f"picture {i}"))
    queries = [EvalQuery(f"q{i}", images[i].path, f"like {i} {HOSTILE}") for i in range(6)]
    folder = dashboard.home / "eval_sets" / "own"
    made = EvalSet("own", folder, pictures, images, queries, {}, exclude_query_image=True)
    made.save()
    for name, step in (("first", 1), ("second", 2)):
        run = dashboard.home / f"{name}.trec"
        run.write_text(
            "".join(
                f"q{q} Q0 i{(q + 1 + step * rank) % 30:02} {rank + 1} {99 - rank} {name}\n"
                for q in range(6)
                for rank in range(5)
            )
        )
        command = [sys.executable, "-m", "mmrag", "import-run", str(run), "--eval-set", str(folder)]
        env = {"MMRAG_HOME": str(dashboard.home), "PATH": "/usr/bin:/bin"}
        subprocess.run(command, check=True, cwd=ROOT, env=env, timeout=300)
    return made


def _open(page: Page, dashboard: Dashboard, judge: str, more: str = "") -> None:
    page.goto(f"{dashboard.url}/judge?set=own&judge={judge}{more}")
    expect(page.get_by_role("button", name="Right")).to_be_visible()


def _grades(own: EvalSet, judge: str) -> dict[tuple[str, str], int]:
    return grades_of(JudgmentLog(own.folder).rows(), judge)


def _left(page: Page) -> int:
    return int((page.locator(".status").text_content() or "").split()[0])


def test_keys_judge_and_the_next_picture_is_there_at_once(
    page: Page, dashboard: Dashboard, own: EvalSet
) -> None:
    _open(page, dashboard, "Ada")
    left = _left(page)
    seen = []
    for key in "31230":
        label = page.locator(".shown .label").text_content() or ""
        page.keyboard.press(key if key != "0" else "2")
        expect(page.locator(".shown .label")).not_to_have_text(label)
        seen.append(label)
    assert len(set(seen)) == 5
    assert wait_until(lambda: len(_grades(own, "Ada")) == 5)
    assert sorted(_grades(own, "Ada").values()) == [0, 1, 1, 2, 2]
    assert _left(page) == left - 5
    page.keyboard.press("u")
    assert wait_until(lambda: len(_grades(own, "Ada")) == 4)
    expect(page.locator(".shown .label")).to_have_text(seen[-1])
    assert page.title() != "taken"
    assert HOSTILE in (page.locator(".instruction").text_content() or "")

    page.reload()
    expect(page.get_by_role("button", name="Right")).to_be_visible()
    assert _left(page) == left - 4
    assert EvalSet.load(own.folder).qrels, "the labels stand where evaluations read them"


def test_back_leaves_the_board(page: Page, dashboard: Dashboard, own: EvalSet) -> None:
    page.goto(f"{dashboard.url}/health")
    _open(page, dashboard, "Eve")
    settled(page)
    page.go_back()
    expect(page).to_have_title("Health · mmrag")


def test_axe_finds_nothing_on_the_board(page: Page, dashboard: Dashboard, own: EvalSet) -> None:
    _open(page, dashboard, "Ivy")
    assert axe(page) == []


def test_quick_keys_lose_nothing(page: Page, dashboard: Dashboard, own: EvalSet) -> None:
    _open(page, dashboard, "Ben", "&")
    left = _left(page)
    for _ in range(10):
        page.keyboard.press("1")
    assert wait_until(lambda: len(_grades(own, "Ben")) == 10)
    assert wait_until(lambda: _left(page) == left - 10)


def test_two_browsers_at_once_lose_nothing(
    browser: Browser, dashboard: Dashboard, own: EvalSet
) -> None:
    pages = [browser.new_page() for _ in range(2)]
    for page, judge in zip(pages, ("Cid", "Dot"), strict=True):
        page.set_default_timeout(60_000)
        _open(page, dashboard, judge)
    for key in ("1", "2", "3"):
        for page in pages:
            page.keyboard.press(key)
    for judge in ("Cid", "Dot"):
        assert wait_until(lambda judge=judge: sorted(_grades(own, judge).values()) == [0, 1, 2])
    for page in pages:
        page.close()


def test_on_a_phone_thumbs_reach_the_buttons(
    browser: Browser, dashboard: Dashboard, own: EvalSet
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.set_default_timeout(60_000)
    _open(page, dashboard, "Eve")
    button = page.get_by_role("button", name="Right")
    box = button.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    button.tap()
    assert wait_until(lambda: list(_grades(own, "Eve").values()) == [2])
    page.close()


def test_the_next_picture_comes_within_a_tenth_of_a_second(
    page: Page, dashboard: Dashboard, own: EvalSet
) -> None:
    """Measured in the browser, from the key to the next picture in the page; median of ten."""
    _open(page, dashboard, "Fay", "&")
    page.evaluate(
        """() => {
            window.took = [];
            addEventListener('keydown', () => { window.started = performance.now(); }, true);
            addEventListener('keydown', () => window.took.push(performance.now() - window.started));
        }"""
    )
    for _ in range(10):
        page.keyboard.press("1")
        time.sleep(0.05)
    took = sorted(page.evaluate("window.took"))
    assert len(took) == 10
    assert took[5] < 100


def _propose(own: EvalSet, drafts: dict[tuple[int, int], str]) -> DraftFile:
    """Drafts from one picture to another, by their numbers."""
    file = DraftFile(own.folder)
    file.propose([Draft("", f"i{a:02}", f"i{b:02}", words) for (a, b), words in drafts.items()])
    return file


def test_drafts_are_accepted_edited_and_rejected(
    page: Page, dashboard: Dashboard, own: EvalSet
) -> None:
    _propose(own, {(i, i + 1): f"the same, but {i}" for i in range(3)})
    page.goto(f"{dashboard.url}/judge?set=own&judge=Ada&part=drafts")
    expect(page.get_by_text("3 waiting, 0 accepted, 0 rejected.")).to_be_visible()
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text("2 waiting, 1 accepted, 0 rejected.")).to_be_visible()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("1 waiting, 1 accepted, 1 rejected.")).to_be_visible()
    expect(page.get_by_label("Instruction")).to_have_value("the same, but 2")
    page.get_by_label("Instruction").fill("in words of my own")
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text("No draft is waiting.")).to_be_visible()
    texts = [query.text for query in EvalSet.load(own.folder).queries]
    assert texts[-2:] == ["the same, but 0", "in words of my own"]


def test_a_draft_is_edited_and_accepted_by_key(
    page: Page, dashboard: Dashboard, own: EvalSet
) -> None:
    file = _propose(own, {(i, i + 2): f"as it is, but {i}" for i in range(2)})
    page.goto(f"{dashboard.url}/judge?set=own&judge=Ada&part=drafts")
    field = page.get_by_label("Instruction")
    expect(field).to_have_value("as it is, but 0")
    page.get_by_text("Proposed by").click()
    page.keyboard.press("e")
    expect(field).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("axe and xylophone")
    page.keyboard.press("Escape")
    expect(field).not_to_be_focused()
    assert [draft.state for draft in file.drafts()][-2:] == ["waiting", "waiting"]
    page.keyboard.press("a")
    expect(field).to_have_value("as it is, but 1")
    page.keyboard.press("x")
    expect(page.get_by_text("No draft is waiting.")).to_be_visible()
    assert EvalSet.load(own.folder).queries[-1].text == "axe and xylophone"
    assert file.drafts()[-1].state == "rejected"


def test_a_note_on_a_query_and_one_on_a_run_are_kept_as_text(
    page: Page, dashboard: Dashboard, own: EvalSet
) -> None:
    _open(page, dashboard, "Kim")
    page.get_by_text("Note on a query").click()
    page.get_by_label("Note", exact=True).fill(HOSTILE)
    page.get_by_label("Note", exact=True).blur()
    page.get_by_role("button", name="Save note").click()
    assert wait_until(
        lambda: HOSTILE in [q.metadata.get("note") for q in EvalSet.load(own.folder).queries]
    )
    with RunStore(dashboard.home / "runs.db") as store:
        run_id = store.runs("own")[0].run_id
    page.goto(f"{dashboard.url}/runs?runs={run_id}")
    page.get_by_text("Note on a run").click()
    page.get_by_label("Note", exact=True).fill(f"before {HOSTILE}")
    page.get_by_label("Note", exact=True).blur()
    page.get_by_role("button", name="Save note").click()
    expect(page.get_by_text(f"before {HOSTILE}").first).to_be_visible()
    assert page.title() != "taken"


def test_judges_are_compared_and_conflicts_settled(
    page: Page, dashboard: Dashboard, own: EvalSet
) -> None:
    from mmrag.labels.judgments import Judgment, conflicts

    log = JudgmentLog(own.folder)
    log.add([Judgment("q5", "i20", 2, "Gus"), Judgment("q5", "i20", 0, "Hal")])
    assert conflicts(log.rows())
    page.goto(f"{dashboard.url}/judge?set=own&judge=Ada&part=judges")
    expect(page.get_by_role("button", name="Settle as partly").first).to_be_visible()
    page.get_by_text("Gus and Hal: who said what").click()
    for words in ("Where they differ, the farthest apart first:", "Gus: right", "Hal: wrong"):
        expect(page.get_by_text(words).filter(visible=True).first).to_be_visible()
    while page.get_by_role("button", name="Settle as partly").count():
        number = page.get_by_role("button", name="Settle as partly").count()
        page.get_by_role("button", name="Settle as partly").first.click()
        expect(page.get_by_role("button", name="Settle as partly")).to_have_count(number - 1)
    assert conflicts(log.rows()) == []
    assert EvalSet.load(own.folder).qrels["q5"]["i20"] == 1


def test_without_a_set_of_ones_own_the_page_says_how_to_make_one(
    page: Page, dashboard: Dashboard, tmp_path: Path
) -> None:
    page.goto(f"{dashboard.url}/judge?set=nosuch")
    expect(page.get_by_role("heading", name="Judge")).to_be_visible()
