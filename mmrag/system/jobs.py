"""Background work, one job after the other, with its progress."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from mmrag.errors import Cancelled, MmragError
from mmrag.system.memory import out_of_memory


@dataclass(frozen=True)
class Progress:
    """Progress of a stage: `done` of `total` queries."""

    stage: str
    done: int
    total: int


State = Literal["waiting", "running", "done", "failed", "cancelled"]
Work = Callable[[Callable[[Progress], None], Callable[[], bool]], str]
JOBS_KEPT = 50


@dataclass(frozen=True)
class Job:
    """One evaluation in the queue. Times are seconds of `time.monotonic`."""

    job_id: int
    title: str
    state: State = "waiting"
    progress: Progress | None = None
    started: float | None = None
    stage_started: float | None = None
    finished: float | None = None
    run_id: str | None = None
    error: str | None = None
    error_type: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")

    def remaining_seconds(self, now: float | None = None) -> float | None:
        """Remaining seconds of the current stage, at its rate so far; None while unknown."""
        done = self.progress.done if self.progress else 0
        if self.progress is None or not done or self.stage_started is None:
            return None
        elapsed = (time.monotonic() if now is None else now) - self.stage_started
        return elapsed / done * (self.progress.total - done)


class JobQueue:
    """A queue with one worker thread; safe to use from any thread."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._work: dict[int, Work] = {}
        self._keys: dict[int, Hashable] = {}
        self._told: dict[int, Callable[[State], None]] = {}
        self._cancelled: set[int] = set()
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="evaluations", daemon=True).start()

    def submit(
        self,
        title: str,
        work: Work,
        key: Hashable = None,
        keep: Callable[[], Callable[[State], None]] | None = None,
    ) -> int:
        """Add a job unless the same one is waiting or running.

        Args:
            title: shown in the list.
            work: called with `on_progress` and `should_stop` as `evaluate` takes them; returns
                the id of the run.
            key: jobs with equal keys are the same; None equals no other.
            keep: called when the job is new; what it returns is called on each change of state.

        Returns:
            The number of the job, or of the same earlier one.
        """
        with self._changed:
            for number, job in self._jobs.items():
                if key is not None and self._keys.get(number) == key and not job.is_over:
                    return number
            told = keep() if keep else None
            job_id = next(self._numbers)
            self._jobs[job_id] = Job(job_id, title)
            self._work[job_id] = work
            self._keys[job_id] = key
            if told:
                self._told[job_id] = told
            over = [number for number, job in self._jobs.items() if job.is_over]
            for number in over[: max(0, len(self._jobs) - JOBS_KEPT)]:
                del self._jobs[number], self._keys[number]
            self._changed.notify_all()
        return job_id

    def jobs(self) -> list[Job]:
        """All jobs, latest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def cancel(self, job_id: int) -> None:
        """Stop a job; what it has done is kept."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None or job.is_over:
                return
            self._cancelled.add(job_id)
            if job.state == "waiting":
                self._jobs[job_id] = replace(job, state="cancelled")
                self._work.pop(job_id, None)
                self._tell(job_id, "cancelled")

    def wait(self, job_id: int, timeout: float) -> Job:
        """Wait for a job; return it when it is over, or as it is after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs[job_id].is_over, timeout)
            return self._jobs[job_id]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._work))
                job_id = min(self._work)
                work = self._work.pop(job_id)
                self._update(job_id, state="running", started=time.monotonic())
            self._tell(job_id, "running")
            try:
                run_id = work(partial(self._progress, job_id), partial(self._is_cancelled, job_id))
                state: State = "cancelled" if job_id in self._cancelled else "done"
                self._finish(job_id, state, run_id=run_id)
            except Cancelled:
                self._finish(job_id, "cancelled")
            except MmragError as error:
                self._finish(job_id, "failed", error=error)
            # The worker must outlive any job.
            except Exception as error:  # noqa: BLE001
                # Escaped: it may quote data.
                trace = "".join(traceback.format_exception(error))
                logging.getLogger(__name__).error("A job failed: %s", ascii(trace))
                self._finish(job_id, "failed", error=error)

    def _is_cancelled(self, job_id: int) -> bool:
        return job_id in self._cancelled

    def _progress(self, job_id: int, progress: Progress) -> None:
        with self._changed:
            before = self._jobs[job_id].progress
            if before is None or before.stage != progress.stage:
                self._update(job_id, stage_started=time.monotonic())
            self._update(job_id, progress=progress)

    def _finish(
        self, job_id: int, state: State, run_id: str | None = None, error: Exception | None = None
    ) -> None:
        name = type(error).__name__ if error else None
        words = f"{name}: {error}"
        if error is not None:
            known = str(error) if isinstance(error, MmragError) else None
            words = known or out_of_memory(error) or words
        self._tell(job_id, state)
        with self._changed:
            self._update(
                job_id,
                state=state,
                finished=time.monotonic(),
                run_id=run_id,
                error=words if error else None,
                error_type=name,
            )
            self._cancelled.discard(job_id)
            self._changed.notify_all()

    def _tell(self, job_id: int, state: State) -> None:
        told = self._told.get(job_id) if state == "running" else self._told.pop(job_id, None)
        if told:
            try:
                told(state)
            except MmragError as error:
                logging.getLogger(__name__).warning("A job's state is not kept: %s", error)

    def _update(self, job_id: int, **changes: object) -> None:
        self._jobs[job_id] = replace(self._jobs[job_id], **changes)  # type: ignore[arg-type]
