"""A pytest plugin that, instead of running the tests that were collected, tries mutants on them.

`tests/mutation.py` starts it in its copy of the package. First every file of tests runs once, which
says what functions each test reaches and how long it takes; then for each mutant those tests that
reach its function, until one fails. Each time in a process that is forked from this one, where all
is imported and collected.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mutmut.mutation import trampoline

from tests.slow import slow_tests

# A mutant may take so many times as long as its tests did, and so many seconds more; what it waits
# for a core does not count, so that a busy machine kills none.
TIMES, SECONDS = 5.0, 20.0
# A loop that a mutant makes endless may fill so many bytes.
MEMORY = 16 << 30
# Tests that take longer than the first are not tried; those of one mutant, quickest first, while
# they take no longer than the second together.
LONGEST, ENOUGH = 5.0, 20.0


@dataclass
class Child:
    """A process that runs tests."""

    name: str
    folder: Path
    limit: float
    started: float = field(default_factory=time.monotonic)

    def seconds(self, pid: int) -> float:
        """How long it has been running or waiting for anything but a core."""
        return time.monotonic() - self.started - _queued(pid)


def _queued(pid: int | str) -> float:
    """Seconds for which a process stood in the queue for a core; 0 where Linux does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _clock() -> float:
    """A clock of this process that stands still while it waits for a core."""
    return time.monotonic() - _queued("self")


def in_children(
    jobs: Iterable[tuple[str, Callable[[Path], int], float]], deadline: float
) -> Iterator[tuple[str, int | None, Path, float]]:
    """Run jobs in processes, as many at a time as there are cores.

    Args:
        jobs: name, what to do in an empty folder, and the seconds that it may take.
        deadline: seconds since 1970 after which no job is begun, and none goes on.

    Yields:
        Name, exit status (None where the time was over), folder, seconds of processor.
    """
    running: dict[int, Child] = {}
    cores = os.cpu_count() or 1
    waiting = iter(jobs)
    while True:
        while len(running) < cores and time.time() < deadline:
            job = next(waiting, None)
            if job is None:
                break
            name, work, seconds = job
            folder = Path(tempfile.mkdtemp(prefix="mutant-"))
            pid = os.fork()
            if pid == 0:
                _work(work, folder)
            running[pid] = Child(name, folder, seconds)
        if not running:
            return
        pid, status, used = os.wait4(-1, os.WNOHANG)
        over = time.time() > deadline
        late = [one for one, child in running.items() if over or child.seconds(one) > child.limit]
        if pid not in running and not late:
            time.sleep(0.02)
            continue
        for one in [pid] if pid in running else late:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one, signal.SIGKILL)
            if one != pid:
                _, _, used = os.wait4(one, 0)
            child = running.pop(one)
            ended = os.waitstatus_to_exitcode(status) if one == pid else None
            yield child.name, ended, child.folder, used.ru_utime + used.ru_stime
            shutil.rmtree(child.folder, ignore_errors=True)


def _work(work: Callable[[Path], int], folder: Path) -> None:
    """The rest of a child's life."""
    status = 3
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        # With its parent it ends, too.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None
        status = work(folder)
    finally:
        os._exit(status)


class Trials:
    """What is reached by which test, and what becomes of each mutant."""

    def __init__(self, session: pytest.Session, plan: dict[str, Any]) -> None:
        self.session = session
        self.plan = plan
        self.items = {item.nodeid: item for item in session.items}
        self.reached: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}

    def run(self, items: list[pytest.Item]) -> int:
        """Run tests until one fails; whether one did."""
        for item, after in itertools.zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.session.testsfailed:
                return 1
        return 0

    def measure(self) -> None:
        """Run every file once, as it is."""
        files: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in self.session.items:
            files[item.nodeid.partition("::")[0]].append(item)

        def work(items: list[pytest.Item]) -> Callable[[Path], int]:
            def job(folder: Path) -> int:
                hits: set[str] = set()
                trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
                trampoline.set_mutant_under_test("stats")
                found = {}
                for item, after in itertools.zip_longest(items, items[1:]):
                    start, failed = _clock(), self.session.testsfailed
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                    passed = self.session.testsfailed == failed
                    found[item.nodeid] = (sorted(hits), _clock() - start, passed)
                    hits.clear()
                (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
                return 0

            return job

        jobs = ((name, work(items), 600.0) for name, items in files.items())
        for name, status, folder, seconds in in_children(jobs, self.plan["deadline"]):
            _say(f"{name}: {len(files[name])} tests, {seconds:.0f} s of processor")
            if status is None:
                _say(f"{name} took too long: its tests are left out")
                continue
            if status != 0:
                raise RuntimeError(f"{name} ended with {status}")
            found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
            for test, (hits, took, passed) in found.items():
                if not passed:
                    _say(f"fails without any change, and is left out: {test}")
                    continue
                self.seconds[test] = took
                for function in hits:
                    self.reached[function].add(test)

    def tests_of(self, mutant: dict[str, Any]) -> list[str]:
        """The tests of a mutant's room that reach its function: files by the mean time of their
        tests, as tests of a file share what they set up, and within these the quickest first."""
        files: dict[str, list[str]] = defaultdict(list)
        for test in self.reached[mutant["name"].partition("__mutmut_")[0]]:
            file = test.partition("::")[0]
            if file in mutant["tests"]:
                files[file].append(test)
        chosen, total = [], 0.0
        for tests in sorted(files.values(), key=lambda t: sum(map(self.seconds.get, t)) / len(t)):
            for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
                total += self.seconds[test]
                if not chosen or total <= ENOUGH:
                    chosen.append(test)
        return chosen

    def try_all(self) -> dict[str, str]:
        """What became of each mutant."""
        outcomes = {mutant["name"]: "not tried" for mutant in self.plan["mutants"]}
        tests = {mutant["name"]: self.tests_of(mutant) for mutant in self.plan["mutants"]}
        if time.time() < self.plan["deadline"]:
            outcomes |= {name: "not reached" for name, own in tests.items() if not own}

        def work(name: str) -> Callable[[Path], int]:
            def job(folder: Path) -> int:
                trampoline.set_mutant_under_test(name)
                return self.run([self.items[test] for test in tests[name]])

            return job

        jobs = (
            (name, work(name), SECONDS + TIMES * sum(map(self.seconds.__getitem__, own)))
            for name, own in tests.items()
            if own
        )
        start = time.monotonic()
        ended = in_children(jobs, self.plan["deadline"])
        for done, (name, status, _, seconds) in enumerate(ended, 1):
            if status is not None:
                outcomes[name] = "killed" if status else "survived"
            elif time.time() < self.plan["deadline"]:
                outcomes[name] = "timed out"
            if seconds > 20:
                _say(f"{outcomes[name]} after {seconds:.0f} s of processor: {name}")
            if done % 50 == 0:
                _say(f"{done} mutants in {time.monotonic() - start:.0f} s")
        return outcomes


def _say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without tests that are known to take long."""
    slow = slow_tests()
    items[:] = [one for one in items if slow.get(one.nodeid.partition("[")[0], 0) <= LONGEST]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Trials in place of the tests; what is found goes to outcomes.json."""
    trials = Trials(session, json.loads(Path("plan.json").read_text(encoding="utf-8")))
    trials.measure()
    Path("outcomes.json").write_text(json.dumps(trials.try_all()), encoding="utf-8")
    return True
