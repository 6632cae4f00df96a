"""Background indexing: it continues when its visitor leaves, and others see it too."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from mmrag.errors import Cancelled, RemovalError
from mmrag.index.kinds import BuildOptions
from mmrag.index.update import IndexReport
from mmrag.system.jobs import Job, JobQueue, Progress, Work
from mmrag.ui import background_models as patient
from mmrag.ui import gallery_data, kept_jobs, resources
from mmrag.ui.doors import only_owners

KIND = "index"
_REPORTS_KEPT = 50


@dataclass(frozen=True)
class IndexingPlan:
    """A folder to be made into a collection."""

    folder: str
    collection: str
    encoder: str
    embed: str = "image"
    metadata: str | None = None
    prune: bool = False

    def title(self) -> str:
        """The plan in words."""
        return f"{self.collection}: {self.folder} with {self.encoder}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a plan; `note` is a warning about the encoder."""

    plan: IndexingPlan
    report: IndexReport
    note: str | None


@st.cache_resource
def queue() -> JobQueue:
    """The one queue of this process."""
    return JobQueue()


@st.cache_resource
def _outcomes() -> OrderedDict[str, Outcome]:
    return OrderedDict()


def outcome(key: str | None) -> Outcome | None:
    """The outcome of a finished job, by the job's `run_id`."""
    return _outcomes().get(key) if key else None


@st.cache_resource
def _plans() -> dict[int, IndexingPlan]:
    return {}


def submit(plan: IndexingPlan) -> int:
    """Put a plan into the queue; return the job's number."""
    only_owners("Indexing")
    number = kept_jobs.submit(queue(), KIND, plan, _work(plan))
    _plans()[number] = plan
    return number


def stopped_before_removing(job: Job) -> bool:
    """Whether a job failed because it would have removed much without being asked to."""
    return job.error_type == RemovalError.__name__ and job.job_id in _plans()


def submit_with_removal(job: Job) -> None:
    """Queue the plan of a job that stopped before removing again, this time with removal."""
    submit(replace(_plans().pop(job.job_id), prune=True))


def is_busy(collection: str) -> bool:
    """Whether a job that is not over writes to the collection."""
    begins = f"{collection}: "
    return any(not job.is_over and job.title.startswith(begins) for job in queue().jobs())


_numbers = itertools.count(1)


def _work(plan: IndexingPlan) -> Work:
    def work(on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> str:
        from mmrag.demo import knows_only
        from mmrag.galleries.gallery import open_gallery
        from mmrag.index.image_index import ImageIndex

        gallery = open_gallery(plan.folder, plan.metadata)
        total = len(gallery.images)
        on_progress(Progress("loading the encoder", 0, total))
        encoder = patient.encoder(plan.encoder)
        done = 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            on_progress(Progress("indexing", done, total))
            if should_stop():
                raise Cancelled("Stopped; what was indexed is kept.")

        try:
            with ImageIndex.open(resources.uri(), plan.collection, encoder) as index:
                try:
                    report = index.add(
                        gallery,
                        embed=plan.embed,
                        progress=advance,
                        build=BuildOptions(prune=plan.prune),
                    )
                except Cancelled:
                    index.finish()
                    raise
        finally:
            gallery_data.forget()
        note = knows_only(plan.encoder, (image.path for image in gallery.images))
        key = str(next(_numbers))
        kept = _outcomes()
        kept[key] = Outcome(plan, report, note)
        while len(kept) > _REPORTS_KEPT:
            kept.popitem(last=False)
        return key

    return work
