"""The dashboard's front end in few requests: what is served in place of Streamlit's own pages."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from streamlit.file_util import get_static_dir
from streamlit.web.server.starlette.starlette_static_routes import create_streamlit_static_handler

from bench.awaiting import awaited
from mmrag.cli.front_end import FrontEnd, modules

STATIC = Path(get_static_dir())
SCRIPTS = STATIC / "static" / "js"


@pytest.fixture(scope="module")
def front() -> FrontEnd:
    return FrontEnd(create_streamlit_static_handler(str(STATIC), None), STATIC)


def get(front: FrontEnd, path: str, encoding: str = "gzip") -> httpx.Response:
    """What a browser gets, as it came or decompressed as its headers say."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(front)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers={"accept-encoding": encoding})

    return awaited(ask())


def test_a_page_names_one_file_with_its_modules(front: FrontEnd) -> None:
    for path in ("/", "/runs"):
        got = get(front, path)
        page = got.text
        assert (got.status_code, int(got.headers["content-length"])) == (200, len(got.content))
        assert "modulepreload" not in page
        assert "<title>mmrag</title>" in page
        assert "Loading the page" in page, "nothing to see until JavaScript runs"
    pack = re.search(r"modules\.\w+\.json", page)
    assert pack is not None
    got = get(front, f"/static/{pack[0]}")
    assert "immutable" in got.headers["cache-control"]
    packed = got.json()
    main = re.search(r'"(index\.[\w-]+\.js)"', page)
    assert main is not None
    assert main[1] in packed
    assert any(name.startswith("Selectbox.") for name in packed)


def test_every_module_finds_the_others(front: FrontEnd) -> None:
    names = [file.name for file in SCRIPTS.glob("index.*.js")]
    packed = modules(SCRIPTS, names)
    assert len(packed) > 20
    for name, source in packed.items():
        for other in re.findall(r'(?:from|import\(?)["`]mmrag-modules/([^"`]+)["`]', source):
            assert (SCRIPTS / other).is_file(), f"{name} imports {other}"
        assert "import.meta.url" not in source, f"{name} asks where it is"
        assert not re.search(r'\bfrom\s*["`]\./', source), f"{name} imports from beside itself"


def test_what_is_not_in_the_file_comes_compressed_and_whole(front: FrontEnd) -> None:
    name = next(file.name for file in SCRIPTS.glob("ArrowVegaLiteChart.*.js"))
    for _ in range(2):
        got = get(front, f"/static/js/{name}")
        assert got.headers["content-encoding"] == "gzip"
        assert int(got.headers["content-length"]) < (SCRIPTS / name).stat().st_size / 2
        assert got.content == (SCRIPTS / name).read_bytes()
    got = get(front, f"/static/js/{name}", encoding="")
    assert "content-encoding" not in got.headers
    assert got.content == (SCRIPTS / name).read_bytes()


def test_names_that_are_not_there_are_not_kept(front: FrontEnd) -> None:
    kept = len(front._kept)
    for path in ("/static/js/nosuch.js", "/x/static/y.css", "/static/js/%2e%2e/%2e%2e/passwd.js"):
        got = get(front, path)
        assert got.status_code >= 400 or '<div id="root">' in got.text
    assert len(front._kept) == kept
