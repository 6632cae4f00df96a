"""The pictures of the documents show the pages as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .browser import pictures
from .helpers import ROOT


def test_pictures_are_not_older_than_their_pages() -> None:
    taken = json.loads(pictures.SOURCES.read_text())
    old = [name for name in pictures.PAGES if taken.get(name) != pictures.sources_of(name)]
    assert old == [], "make pictures takes them anew"


def test_every_picture_is_there_and_shown() -> None:
    made = {f"{name}-{scheme}.png" for name in pictures.PAGES for scheme in pictures.SCHEMES}
    assert {path.name for path in pictures.FOLDER.glob("*.png")} == made
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        name for page in pages for name in re.findall(r"pictures/([\w-]+\.png)", page.read_text())
    }
    assert shown == made


def test_a_changed_page_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "mmrag" / "ui" / "pages" / "search.py"
    page.parent.mkdir(parents=True)
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").touch()
    (page.parents[1] / "navigation.py").touch()
    monkeypatch.setattr(pictures, "ROOT", tmp_path)

    def drawn_by(code: str, part: str = "x = 1") -> str:
        page.write_text(code)
        (page.parents[1] / "tiles.py").write_text(part)
        return pictures.sources_of("search")

    first = drawn_by("from mmrag.ui import tiles\n")
    assert drawn_by('"""Words."""\nfrom mmrag.ui import tiles  # words\n') == first
    assert drawn_by("from mmrag.ui import tiles\n", "x = 2") != first
