"""Visitors of the dashboard without a browser, which speak its websocket's protocol."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bench.awaiting import awaited

_PATIENCE = 120.0
_WAITING = re.compile(r"Waiting: (\d+) before you")


@dataclass
class Visit:
    """One run of a page: its time, the number of pictures, and what went wrong.

    `waited` is how many were ahead of this visitor when the page first said so, 0 for none.
    """

    seconds: float = 0.0
    pictures: int = 0
    waited: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass
class Load:
    """Measurements of simultaneous visitors, each of whom searches again on every answer."""

    visitors: int
    seconds: float
    visits: list[Visit]

    @property
    def per_second(self) -> float:
        """Pages with results per second."""
        return len(self.visits) / self.seconds

    @property
    def errors(self) -> list[str]:
        """All errors."""
        return [error for visit in self.visits for error in visit.errors]

    def percentile(self, share: float) -> float:
        """Seconds that this share of the visits did not exceed; NaN without visits."""
        times = sorted(visit.seconds for visit in self.visits)
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")

    def row(self, of: str, mb: float) -> dict[str, Any]:
        """The figures for a table, with the memory taken."""
        return {
            "of": of,
            "visitors": self.visitors,
            "searches": len(self.visits),
            "per_second": self.per_second,
            "p50": self.percentile(0.5),
            "p95": self.percentile(0.95),
            "most": self.percentile(1.0),
            "waited": sum(visit.waited > 0 for visit in self.visits),
            "errors": self.errors,
            "mb": mb,
        }


class Visitor:
    """One browser tab, as far as the server can tell; use as an async context manager."""

    def __init__(self, url: str, page: str = "") -> None:
        self._address = url.replace("http", "ws", 1) + "/_stcore/stream"
        self._page = page
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Visitor:
        self._socket = await connect(
            self._address,
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            compression=None,
            open_timeout=_PATIENCE,
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def visit(self, **query: str) -> Visit:
        """Open the page with this query string, in the present session."""
        assert self._socket is not None
        message = BackMsg()
        message.rerun_script.query_string = urlencode(query)
        message.rerun_script.page_name = self._page
        seen = Visit()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._socket.send(message.SerializeToString())
                while not _note(ForwardMsg.FromString(await self._receive()), seen):
                    pass
        except (OSError, TimeoutError, WebSocketException) as error:
            seen.errors.append(f"{type(error).__name__}: {error}")
        seen.seconds = time.perf_counter() - began
        return seen

    async def _receive(self) -> bytes:
        assert self._socket is not None
        data = await self._socket.recv()
        return data if isinstance(data, bytes) else data.encode()


def _note(message: ForwardMsg, seen: Visit) -> bool:
    """Process one message of the server; return whether it was the last of this run."""
    kind = message.WhichOneof("type")
    if kind == "delta":
        element = message.delta.new_element
        what = element.WhichOneof("type")
        if what == "exception":
            seen.errors.append(f"{element.exception.type}: {element.exception.message}")
        elif what == "markdown" and "Something went wrong" in element.markdown.body:
            seen.errors.append("Something went wrong")
        elif what == "alert" and (found := _WAITING.search(element.alert.body)):
            seen.waited = seen.waited or int(found[1])
        elif what == "bidi_component":
            seen.pictures += element.bidi_component.json.count('"badge"')
    if kind != "script_finished":
        return False
    return message.script_finished != ForwardMsg.ScriptFinishedStatus.FINISHED_EARLY_FOR_RERUN


def search_at_once(
    url: str,
    queries: Sequence[str],
    visitors: int,
    *,
    seconds: float | None = None,
    searches: int | None = None,
    per_session: int | None = None,
    watch: Callable[[int], object] | None = None,
) -> Load:
    """Let visitors search the catalogue simultaneously, query after query without a pause.

    Args:
        url: of the dashboard.
        queries: ids; each visitor starts at another one, and asks them in turn.
        visitors: number at a time.
        seconds: stop after this long.
        searches: stop after this many in all.
        per_session: a visitor leaves after this many, and another one comes.
        watch: called after each search with the number so far.
    """
    visits: list[Visit] = []
    began = time.perf_counter()

    def is_over() -> bool:
        return (searches is not None and len(visits) >= searches) or (
            seconds is not None and time.perf_counter() - began >= seconds
        )

    async def one(place: int) -> None:
        order = _from(queries, place * len(queries) // visitors)
        while not is_over():
            left = per_session or len(queries) * 1000
            async with Visitor(url) as visitor:
                while left and not is_over():
                    seen = await visitor.visit(set="catalogue", query=next(order))
                    if not seen.pictures and not seen.errors:
                        seen.errors.append("no pictures")
                    visits.append(seen)
                    left = 0 if seen.errors else left - 1
                    if watch is not None:
                        watch(len(visits))

    async def all_of_them() -> None:
        await asyncio.gather(*(one(place) for place in range(visitors)))

    awaited(all_of_them())
    return Load(visitors, time.perf_counter() - began, visits)


def _from(queries: Sequence[str], start: int) -> Iterator[str]:
    while True:
        yield from queries[start:]
        start = 0


def resident_mb(pid: int) -> float:
    """Resident set of a process, in MB."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6
