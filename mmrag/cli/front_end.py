"""Streamlit's front end in few requests and few bytes, with something to see while it loads.

Streamlit sends its modules one by one and uncompressed, well over a hundred for a first page. Here
that page's modules go as one file, everything is compressed once and kept, and the page, otherwise
empty until JavaScript runs, says what it is and that it is loading.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
App = Callable[..., Any]

_HERE = Path(__file__).parent.parent / "ui"
_FOREVER = b"public, immutable, max-age=31536000"
_SMALL = 1000  # Too few bytes to be worth compressing.
_IMPORT = re.compile(r'(\bfrom|\bimport\(?)(["`])\./')
_NAME = re.compile(r'(?:\bfrom|\bimport)["`]\./([\w.-]+\.js)["`]')
# Components that the pages draw first, which Streamlit loads only when they are drawn.
PARTS = (
    "BidiComponent",
    "Button",
    "ButtonGroup",
    "Checkbox",
    "DownloadButton",
    "FileUploader",
    "Html",
    "ImageList",
    "Multiselect",
    "NumberInput",
    "PageLink",
    "Pagination",
    "Progress",
    "Selectbox",
    "TextArea",
    "TextInput",
)


class FrontEnd:
    """An ASGI application around Streamlit's.

    Args:
        app: Streamlit's.
        static: the folder of its front end, with `index.html`.
    """

    def __init__(self, app: App, static: Path) -> None:
        self.app, self.static = app, static
        self._kept: dict[str, tuple[Headers, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "GET" or "/_stcore/" in path:
            await self.app(scope, receive, send)
        elif path.endswith(f"/{self.pack_name}"):
            await _send(send, 200, _headers(self._pack, b"application/json", _FOREVER), self._pack)
        elif "." not in path:
            await self._page(scope, receive, send)
        elif "/static/" in path and path.endswith((".js", ".css")) and _takes_gzip(scope):
            await self._file(path, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    @property
    def pack_name(self) -> str:
        """The name of the file with the modules; it changes when they do."""
        return f"modules.{hashlib.sha256(self._pack).hexdigest()[:16]}.json"

    @cached_property
    def _pack(self) -> bytes:
        folder = self.static / "static" / "js"
        text = (self.static / "index.html").read_text(encoding="utf-8")
        wanted = re.findall(r"static/js/([\w.-]+\.js)", text)
        wanted += [file.name for part in PARTS for file in folder.glob(f"{part}.*.js")]
        return gzip.compress(json.dumps(modules(folder, wanted)).encode(), 6, mtime=0)

    async def _page(self, scope: Scope, receive: Any, send: Any) -> None:
        status, headers, body = await _answer(self.app, scope, receive)
        if status == 200 and b'<div id="root">' in body:
            page = body.decode()
            main = re.search(r'<script type="module"[^>]*static/js/([\w.-]+\.js)"></script>', page)
            if main:
                body = self._with_loader(page, main).encode()
                headers = [(k, v) for k, v in headers if k not in (b"content-length", b"etag")]
                headers.append((b"content-length", str(len(body)).encode()))
        await _send(send, status, headers, body)

    def _with_loader(self, page: str, main: re.Match[str]) -> str:
        loader = (_HERE / "loader.js").read_text(encoding="utf-8")
        loader = loader.replace("PACK", json.dumps(f"./static/{self.pack_name}"))
        loader = loader.replace("MAIN", json.dumps(main[1]))
        page = page.replace(main[0], f"<script>{loader}</script>")
        page = re.sub(r'<link rel="modulepreload"[^>]*>\s*', "", page)
        page = re.sub("<title>.*?</title>", "<title>mmrag</title>", page)
        waiting = (_HERE / "waiting.html").read_text(encoding="utf-8")
        return page.replace('<div id="root">', f'<div id="root">{waiting}')

    async def _file(self, path: str, scope: Scope, receive: Any, send: Any) -> None:
        if path not in self._kept:
            # The whole file, whatever the browser has cached.
            plain = [(k, v) for k, v in scope["headers"] if k not in (b"if-none-match", b"range")]
            status, headers, body = await _answer(self.app, {**scope, "headers": plain}, receive)
            kind = dict(headers).get(b"content-type", b"")
            # An unknown name gets the page.
            if status != 200 or b"html" in kind or len(body) < _SMALL:
                await _send(send, status, headers, body)
                return
            packed = gzip.compress(body, 6, mtime=0)
            self._kept[path] = _headers(packed, kind, _FOREVER), packed
        await _send(send, 200, *self._kept[path])


def modules(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """These modules and their static imports, by name, to be loaded from anywhere.

    Modules beside a module are imported as `mmrag-modules/NAME`, and a module that asks for its own
    URL gets its place on the server; `loader.js` resolves both.
    """
    found: dict[str, str] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        source = (folder / name).read_text(encoding="utf-8")
        todo += _NAME.findall(source)
        source = _IMPORT.sub(r"\1\2mmrag-modules/", source)
        found[name] = source.replace("import.meta.url", f'(mmragModules+"{name}")')
    return dict(sorted(found.items()))


async def _answer(
    app: Callable[..., Any], scope: Scope, receive: Any
) -> tuple[int, Headers, bytes]:
    """The whole response: status, headers, body."""
    status, headers, parts = 500, [], []

    async def take(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, take)
    return status, headers, b"".join(parts)


async def _send(send: Any, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(body: bytes, kind: bytes, cache: bytes) -> Headers:
    return [
        (b"content-type", kind),
        (b"content-encoding", b"gzip"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", cache),
        (b"vary", b"Accept-Encoding"),
    ]


def _takes_gzip(scope: Scope) -> bool:
    given = dict(scope["headers"]).get(b"accept-encoding", b"")
    return b"gzip" in given
