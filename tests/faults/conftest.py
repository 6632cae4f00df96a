"""What the fault tests share: processes that are killed, small disks, pictures, an eval set."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..evaluation_fixtures import colours as colours

QUICK = ("--steps", "4", "--batch-size", "4", "--device", "cpu", "--precision", "fp32")
ROUNDS = int(os.environ.get("MMRAG_TEST_ROUNDS", "20"))


@pytest.fixture
def rng() -> random.Random:
    """`MMRAG_TEST_SEED` repeats the moments of a round that failed, as far as a clock can."""
    seed = int(os.environ.get("MMRAG_TEST_SEED", "0")) or random.randrange(1, 10**9)
    print(f"MMRAG_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    # Each process would first run the script of this one, which a test of a page makes that page's.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.faults.jobs"])
    return context


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty small pictures, no two alike."""
    root = tmp_path / "pictures"
    root.mkdir()
    draw(root, range(40))
    return root


def draw(root: Path, numbers: Any, seed: int = 0) -> None:
    for i in numbers:
        noise = np.random.default_rng([seed, i]).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{i:03}.png")


class Killer:
    """Runs a job in a process of its own, whole or until a random moment."""

    def __init__(self, forks: ForkServerContext, rng: random.Random) -> None:
        self.forks, self.rng = forks, rng
        self.seconds = 1.0
        self.killed = self.finished = 0

    def measure(self, job: Callable[..., Any], *arguments: Any) -> None:
        """How long it takes when it is left alone: the least of three times."""
        seconds = []
        for _ in range(3):
            started = time.monotonic()
            process = self.start(job, *arguments)
            process.join()
            assert process.exitcode == 0
            seconds.append(time.monotonic() - started)
        self.seconds = min(seconds)

    def start(self, job: Callable[..., Any], *arguments: Any) -> Any:
        process = self.forks.Process(target=job, args=arguments)
        process.start()
        return process

    def kill(self, job: Callable[..., Any], *arguments: Any) -> bool:
        """SIGKILL at some moment of its usual time; whether it was still running."""
        process = self.start(job, *arguments)
        process.join(self.rng.uniform(0, self.seconds))
        return self._end(process)

    def kill_when(self, seen: Callable[[], bool], job: Callable[..., Any], *arguments: Any) -> bool:
        """SIGKILL as soon as something is seen of its work; whether it was still running."""
        process = self.start(job, *arguments)
        while process.is_alive() and not seen():
            time.sleep(0.002)
        return self._end(process)

    def _end(self, process: Any) -> bool:
        process.kill()
        process.join()
        killed = process.exitcode != 0
        assert process.exitcode in (0, -9), "it failed by itself"
        self.killed += killed
        self.finished += not killed
        return killed


@pytest.fixture
def killer(
    forks: ForkServerContext,
    rng: random.Random,
    record_property: Callable[[str, object], None],
) -> Iterator[Killer]:
    made = Killer(forks, rng)
    yield made
    record_property("tried", made.killed)


class Disk:
    """A file system of its own, that can be small, or read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: str) -> None:
        self._mount(f"remount,size={size}")

    def read_only(self, yes: bool = True) -> None:
        self._mount("remount,ro" if yes else "remount,rw")

    def fill(self, leave: int) -> None:
        """Until so many bytes are free."""
        free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
        with (self.path / "filler").open("wb") as file:
            file.write(bytes(max(0, free - leave)))

    def make_room(self) -> None:
        (self.path / "filler").unlink()

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, self.path], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """64 MB of tmpfs."""
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs, which only Linux has")
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "mmrag-test", path],
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not permitted here: {made.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", path], check=True, capture_output=True)
