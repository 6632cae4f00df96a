"""The pictures of the documents: `python -m tests.browser.pictures` takes them from a dashboard.

It starts a dashboard with a state of its own, in which `mmrag demo` has run, and photographs pages
light and dark into docs/pictures. Beside them `sources.json` has a hash of what each page is drawn
by; `test_pictures.py` says when that has changed since.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_browser, settled
from tests.dashboard_server import running_dashboard
from tests.helpers import ROOT

FOLDER = ROOT / "docs" / "pictures"
SOURCES = FOLDER / "sources.json"
# Page to the height of its picture and what has to be there before it is taken.
PAGES = {"search": (1000, ".tile"), "runs": (1170, "[data-testid=stVegaLiteChart] path")}
SCHEMES = ("light", "dark")
WIDTH = 1280


def sources_of(name: str) -> str:
    """A hash of the page's code, of what of `mmrag.ui` it imports, and of the styles.

    Comments, docstrings and layout of the code do not count.
    """
    ui = ROOT / "mmrag" / "ui"
    wanted, seen = [ui / "pages" / f"{name}.py", ui / "navigation.py"], set()
    while wanted:
        path = wanted.pop()
        if path not in seen:
            seen.add(path)
            wanted += _imported(path)
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(ast.dump(_without_docstrings(ast.parse(path.read_text("utf-8")))).encode())
    for path in (*sorted(ui.glob("*.css")), ROOT / ".streamlit" / "config.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _imported(path: Path) -> list[Path]:
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmrag.ui"):
            assert node.module is not None
            names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            found += [ROOT / (name.replace(".", "/") + ".py") for name in names]
    return [one for one in found if one.is_file()]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return tree


def take(page: Page, url: str, name: str, scheme: str) -> None:
    """One picture, when the page has settled."""
    height, there = PAGES[name]
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(f"{url}/{'' if name == 'search' else name}")
    expect(page.locator(there).first).to_be_visible(timeout=300_000)
    settled(page)
    page.mouse.move(0, 0)
    # Pictures and charts fade in.
    page.wait_for_timeout(1500)
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
    shot = page.screenshot(clip=clip, animations="disabled")  # type: ignore[arg-type]
    with Image.open(io.BytesIO(shot)) as picture:
        # A third of the bytes.
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(FOLDER / f"{name}-{scheme}.png", optimize=True)


def main() -> int:
    """Take all pictures anew."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        home = Path(folder) / "home"
        # The runs that the Runs page shows.
        env = {**os.environ, "MMRAG_HOME": str(home)}
        subprocess.run([sys.executable, "-m", "mmrag", "demo"], cwd=ROOT, env=env, check=True)
        with running_dashboard(home) as dashboard:
            for scheme in SCHEMES:
                page = browser.new_page(
                    viewport={"width": WIDTH, "height": 1000},
                    color_scheme=scheme,  # type: ignore[arg-type]
                )
                page.set_default_timeout(300_000)
                for name in PAGES:
                    take(page, dashboard.url, name, scheme)
                    print(f"docs/pictures/{name}-{scheme}.png", flush=True)
                page.close()
    hashes = {name: sources_of(name) for name in PAGES}
    SOURCES.write_text(json.dumps(hashes, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
