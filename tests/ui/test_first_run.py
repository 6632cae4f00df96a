"""A fresh home: what is shown until the first pictures are indexed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mmrag import demo
from mmrag.errors import MmragError
from mmrag.ui import first_run
from tests.helpers import wait_until

from .pages import captions, open_dashboard, open_page, run, texts, tiles


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set, it lets the indexing fail that has come to 40 %."""
    event = threading.Event()

    def index(on_progress: demo.OnProgress, shows: list[demo.Show]) -> None:
        on_progress(0.4, "Indexing the drawings with demo")
        assert event.wait(60)
        raise MmragError("The disk is full.")

    monkeypatch.setattr(demo, "possible", lambda: [demo.DRAWINGS])
    monkeypatch.setattr(demo, "index_galleries", index)
    return event


def test_the_page_shows_how_far_it_is_and_others_work_meanwhile(go_on: threading.Event) -> None:
    page = open_dashboard()
    assert wait_until(lambda: first_run._under_way()[-1].share > 0)
    (bar,) = run(page).get("progress")
    assert (bar.proto.value, bar.proto.text) == (40, "Indexing the drawings with demo")
    assert "This happens once" in captions(page)
    assert "No runs yet" in open_page("runs").info[0].value
    go_on.set()
    assert wait_until(lambda: first_run._under_way()[-1].is_over)
    assert "The disk is full." in texts(run(page))


def test_the_first_hits_follow(go_on: threading.Event, photos: Path) -> None:
    page = open_page("search")
    assert len(tiles(page, "left_grid")) == 9
    assert first_run._under_way() == []
