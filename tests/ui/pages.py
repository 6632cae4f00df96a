"""Pages run without a browser, and what is on them."""

from __future__ import annotations

import json
from typing import Any

from streamlit.testing.v1 import AppTest

from tests.helpers import ROOT


def open_page(name: str, **query: str | list[str]) -> AppTest:
    """One page by its file's name, with a query string."""
    page = AppTest.from_file(
        str(ROOT / "mmrag" / "ui" / "pages" / f"{name}.py"), default_timeout=60
    )
    for key, value in query.items():
        page.query_params[key] = value
    return run(page)


def open_dashboard(**query: str) -> AppTest:
    """The whole dashboard, at its first page."""
    page = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=60)
    for key, value in query.items():
        page.query_params[key] = value
    return run(page)


def run(page: AppTest) -> AppTest:
    """Run the page, which no exception may end."""
    page.run()
    assert list(page.exception) == []
    return page


def click(page: AppTest, label: str) -> AppTest:
    """Click the first button with this label, and run the page."""
    next(button for button in page.button if button.label == label).click()
    return run(page)


def texts(page: AppTest) -> str:
    """All that is shown as text."""
    return "\n".join(str(element.value) for element in page.text)


def captions(page: AppTest) -> str:
    """All that is shown small."""
    return "\n".join(str(element.value) for element in page.caption)


def tiles(page: AppTest, grid: str = "") -> list[dict[str, Any]]:
    """The pictures that the page draws, of all its grids or of one."""
    grids = [one for one in page.get("bidi_component") if grid in one.proto.id]
    drawn = [json.loads(one.proto.json) for one in grids if one.proto.json]
    return [tile for one in drawn for tile in one.get("items", [])]
