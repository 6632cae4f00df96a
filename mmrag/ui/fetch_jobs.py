"""What cannot be used here and why, and fetching weights in the background, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from mmrag.errors import Cancelled
from mmrag.system.jobs import Job, JobQueue, Progress, Work
from mmrag.ui.doors import only_owners


@dataclass(frozen=True)
class Missing:
    """Something a page cannot offer: its name, the reason, and the size to fetch, such as "0.4 GB".

    `fetches` is empty where a click does not help.
    """

    name: str
    why: str
    fetches: str = ""


@st.cache_resource
def queue() -> JobQueue:
    """The one queue of this process."""
    return JobQueue()


@st.cache_data(ttl=5, show_spinner=False)
def missing() -> list[Missing]:
    """Encoders and rerankers without weights, and vision models without a server."""
    from mmrag.encoders import list_encoders
    from mmrag.rerank import list_rerankers
    from mmrag.vision.endpoint import endpoint_or_problem

    found = [
        Missing(one.name, "its weights are not here", _size(one.how_to_get, one.gigabytes))
        for one in list_encoders()
        if not one.available
    ]
    found += [
        Missing(one.name, "its weights are not here", _size(one.how_to_get))
        for one in list_rerankers()
        if not one.available and one.how_to_get.startswith("mmrag download ")
    ]
    _, problem = endpoint_or_problem()
    return [*found, Missing("Vision models", problem)] if problem else found


def _size(how_to_get: str, gigabytes: float = 0.0) -> str:
    said = how_to_get.partition("(")[2].partition(")")[0]
    return said or (f"{gigabytes:.1f} GB" if gigabytes else "size not known")


def job_of(name: str) -> Job | None:
    """The latest job that fetches `name`."""
    return next((job for job in queue().jobs() if job.title == name), None)


def is_busy() -> bool:
    """Whether something is being fetched."""
    return any(not job.is_over for job in queue().jobs())


def submit(name: str) -> None:
    """Fetch an encoder or a reranker, unless that is in progress.

    Raises:
        MmragError: this visitor may not.
    """
    only_owners("Fetching weights")
    queue().submit(name, _work(name), name)


class _Bar:
    """A progress bar in the manner of tqdm, which reports a download to the page."""

    def __init__(
        self,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        *,
        total: int | None,
        initial: int,
        desc: str,
        **_: Any,
    ) -> None:
        self._on_progress, self._should_stop = on_progress, should_stop
        self._total, self._done, self._desc = total or 0, initial, desc

    def update(self, n: int) -> None:
        self._done += n
        self._on_progress(Progress(self._desc, self._done, self._total))
        if self._should_stop():
            raise Cancelled("Stopped; what has arrived is kept.")

    def close(self) -> None:
        pass


def _work(name: str) -> Work:
    def work(on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> str:
        from mmrag.encoders import download_encoder
        from mmrag.rerank import download_reranker, has_weights

        fetch = download_reranker if has_weights(name) else download_encoder
        # Checksums are verified; the weights are loaded only when used.
        try:
            fetch(name, partial(_Bar, on_progress, should_stop), prove=False)
        finally:
            missing.clear()
        return name

    return work
