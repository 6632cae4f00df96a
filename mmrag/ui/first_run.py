"""Something to look at on a fresh clone: photographs and drawings, with the shipped encoders."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.errors import MmragError
from mmrag.system.jobs import Progress
from mmrag.ui import resources

if TYPE_CHECKING:
    from mmrag.demo import Show
    from mmrag.index.collections import CollectionInfo

# Set by `mmrag dashboard`, unless it was told --no-prepare.
PREPARE = "MMRAG_DASHBOARD_PREPARE"


@dataclass
class _Indexing:
    """Indexing of the first pictures; `error` if it failed."""

    share: float = 0.0
    what: str = "Indexing the pictures that ship with mmrag …"
    error: MmragError | None = None
    is_over: bool = False

    def run(self) -> None:
        from mmrag import demo

        try:
            with resources.model_turns().turn():
                # These make the page usable; the others are indexed when they are scored.
                demo.index_galleries(self._tell, demo.possible()[:1])
        except MmragError as error:
            self.error = error
        # The waiting page must be told.
        except Exception as error:  # noqa: BLE001
            self.error = MmragError(f"The pictures could not be indexed: {error}")
        finally:
            self.is_over = True

    def _tell(self, share: float, what: str) -> None:
        self.share, self.what = share, what


@st.cache_resource(show_spinner=False)
def _under_way() -> list[_Indexing]:
    """The indexing that this process has begun, if any."""
    return []


@st.cache_resource(show_spinner=False)
def _beginning() -> threading.Lock:
    return threading.Lock()


@st.cache_resource(show_spinner=False)
def prepare() -> None:
    """Once per process, in the background: index what ships, and score it for the Runs page."""
    from mmrag import demo

    if os.environ.get(PREPARE) == "1" and demo.possible():
        threading.Thread(target=_prepare, name="mmrag-prepare", daemon=True).start()


def _prepare() -> None:
    work = None if usable_collections() else _begin()
    while work is not None and not work.is_over:
        threading.Event().wait(0.5)
    # Brings in torch; the first page is drawn meanwhile.
    from mmrag import demo
    from mmrag.ui import evaluation_jobs

    for show in reversed(demo.possible()):
        title = f"The {show.title}, for the Runs page"
        evaluation_jobs.queue().submit(title, partial(_score, show))


def _score(
    show: Show, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
) -> str:
    from mmrag import demo

    def tell(share: float, what: str) -> None:
        on_progress(Progress(what, int(100 * share), 100))

    return demo.runs(resources.runs(), tell, show)[-1].run_id


def ensure_something_to_search() -> dict[str, CollectionInfo]:
    """Collections that an available encoder can search, by name; without any, the demo is made.

    Stop the page with a sentence if there is nothing to search, or not yet.
    """
    begun = _under_way()
    found = usable_collections()
    if found and not (begun and not begun[-1].is_over):
        return found
    from mmrag import demo

    if not found and not demo.possible():
        st.info(
            "No collection to search yet. Index a folder on the Gallery page, or run "
            "`mmrag index FOLDER`."
        )
        st.stop()
    work = _begin()
    if work.error is None:
        _show_progress()
        st.stop()
    begun.clear()
    raise work.error


def _begin() -> _Indexing:
    """Start indexing, unless it is in progress."""
    begun = _under_way()
    with _beginning():
        if not begun or (begun[-1].is_over and begun[-1].error is None):
            begun.append(_Indexing())
            threading.Thread(target=begun[-1].run, name="mmrag-indexing", daemon=True).start()
        return begun[-1]


@st.fragment(run_every=0.5)
def _show_progress() -> None:
    """Show the progress; redraw the page when indexing is over."""
    begun = _under_way()
    if not begun or begun[-1].is_over:
        resources.collections.clear()
        st.rerun()
    work = begun[-1]
    st.progress(min(1.0, work.share), work.what)
    st.caption("This happens once, and takes half a minute or so. The other pages work meanwhile.")


def usable_collections() -> dict[str, CollectionInfo]:
    """Collections with rows."""
    return {c.name: c for c in resources.collections(resources.uri()) if c.rows}
