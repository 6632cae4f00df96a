"""A small server that speaks the part of the Hugging Face hub's protocol that downloads use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Serves `files` ("org/repo/file" to bytes); can break off, refuse ranges, or lie."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.break_after: int | None = None
        self.corrupt = False
        # Seconds after every twentieth of a large file.
        self.pause = 0.0
        self.ranges: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(head=True)

            def do_GET(self) -> None:
                self._answer(head=False)

            def _answer(self, head: bool) -> None:
                if self.path.startswith("/api/models/"):
                    self._list(self.path.removeprefix("/api/models/").split("/revision/")[0])
                    return
                name = re.sub(r"/resolve/[^/]+/", "/", self.path.strip("/"))
                data = hub.files.get(name)
                if data is None:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start = 0
                if not head:
                    hub.ranges.append(self.headers.get("Range"))
                    if self.headers.get("Range"):
                        start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
                large = len(data) > 1000
                digest = (
                    hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
                )
                self.send_response(206 if start else 200)
                self.send_header("ETag", f'"{digest.hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                if head:
                    return
                body = data[start:]
                if hub.corrupt:
                    body = bytes(len(body))
                if hub.break_after is not None and large:
                    body = body[: hub.break_after]
                if not (hub.pause and large):
                    self.wfile.write(body)
                    return
                with contextlib.suppress(ConnectionError):
                    for at in range(0, len(body), max(1, len(data) // 20)):
                        self.wfile.write(body[at : at + max(1, len(data) // 20)])
                        time.sleep(hub.pause)

            def _list(self, repository: str) -> None:
                names = [name for name in hub.files if name.startswith(repository + "/")]
                listed = [{"rfilename": name[len(repository) + 1 :]} for name in names]
                body = json.dumps({"id": repository, "siblings": listed}).encode()
                self.send_response(200 if names else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
