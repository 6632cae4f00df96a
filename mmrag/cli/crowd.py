"""Limits on the tabs that a dashboard serves at a time: in all, and from one address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
# A tab takes one connection, more while its page loads; files and stores are open as well.
_DESCRIPTORS_A_TAB, _OTHERS = 4, 200


class Crowd:
    """An ASGI application that refuses tabs beyond a limit before `app` hears of them.

    A tab counts only while its WebSocket is open. Visitors beyond the limit read why they are
    refused, instead of waiting for a page that never connects.

    Args:
        app: the application to serve.
        most: tabs in all.
        most_each: tabs from one address.
        on_leave: called when a tab is closed.
    """

    def __init__(
        self, app: App, most: int, most_each: int, on_leave: Callable[[], None] = lambda: None
    ) -> None:
        self.app, self.on_leave = app, on_leave
        self.most, self.most_each = most, most_each
        self.here: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve, or refuse with status 503."""
        kind, (address, _) = scope["type"], scope.get("client") or ("", 0)
        page = kind == "http" and scope["method"] == "GET" and "." not in scope["path"]
        opens = page and not scope["path"].startswith("/_stcore")
        if kind != "websocket" and not opens:
            await self.app(scope, receive, send)
            return
        full = self._full(address)
        if full:
            await _refuse(scope, send, full)
        elif opens:
            await self.app(scope, receive, send)
        else:
            self.here[address] += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.here[address] -= 1
                self.here = +self.here
                self.on_leave()

    def _full(self, address: str) -> str:
        """The reason for a refusal; empty if there is room."""
        if self.here.total() >= self.most:
            return f"{_tabs(self.most)} of this dashboard are open, and it serves no more at a time"
        if self.here[address] >= self.most_each:
            return (
                f"{_tabs(self.most_each)} are open from your address, {address}, and no more are "
                "served at a time"
            )
        return ""


async def _refuse(scope: Scope, send: Any, why: str) -> None:
    said = f"{why}. Close some, or try again later.\n".encode()
    # Before it is accepted, a WebSocket can be answered like any request if the server can.
    start = "http.response" if scope["type"] == "http" else "websocket.http.response"
    if scope["type"] == "websocket" and start not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1013})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"60")]
    await send({"type": f"{start}.start", "status": 503, "headers": headers})
    await send({"type": f"{start}.body", "body": said})


def _tabs(count: int) -> str:
    return "1 tab" if count == 1 else f"{count} tabs"


def release_closed() -> None:
    """Release the descriptors of closed tabs.

    Streamlit keeps a closed tab's session for a minute, in case the tab comes back, and the event
    loop of its scripts until garbage collection. A tab that comes back gets a new loop.
    """
    from streamlit import runtime

    for kept in runtime.get_instance()._session_mgr.list_sessions():
        session = kept.session
        gone = kept.client is None and session._scriptrunner is None
        if gone and not session._script_event_loop.is_running():
            session._script_event_loop.close()


def make_room() -> int:
    """Take as many descriptors as this process may have; return how many tabs they allow."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(1, (soft - _OTHERS) // _DESCRIPTORS_A_TAB)
