"""Two at once, a folder that changes meanwhile, a GPU that is too small, a clock that goes back."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import threading
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from mmrag import EvalSet, ImageIndex, MmragError, RunStore, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.system.processes import started_after_boot

from ..helpers import ROOT, everything, outcome
from ..hub import Hub
from . import jobs
from .conftest import Disk, draw


def same(index: ImageIndex, folder: Path, uri: str) -> None:
    """As an uninterrupted run into a collection of its own, row by row."""
    jobs.index_pictures(folder, uri, "whole")
    with ImageIndex.open(uri, "whole", jobs.encoder()) as whole:
        rows, vectors = everything(index)
        expected, expected_vectors = everything(whole)
    assert rows == expected
    assert np.array_equal(vectors, expected_vectors)


def test_two_indexers_of_one_collection(
    forks: ForkServerContext, pictures: Path, tmp_path: Path
) -> None:
    """One of them is killed in the last round; what the other one makes is whole."""
    uri = str(tmp_path / "gallery.db")
    with ImageIndex.open(uri, "both", jobs.encoder()) as index:
        for killed in (False, False, True):
            draw(pictures, range(10), seed=time.monotonic_ns())
            # Slow enough to be killed in the middle, whatever the machine is doing.
            speeds = (5.0 if killed else 0.02, 0.02)
            both = [
                forks.Process(target=jobs.index_pictures, args=(pictures, uri, "both", seconds))
                for seconds in speeds
            ]
            for process in both:
                process.start()
            if killed:
                time.sleep(0.2)
                both[0].kill()
            for process in both:
                process.join(60)
            assert [process.exitcode for process in both] == [-9 if killed else 0, 0]
            assert index.info().rows == 40
        same(index, pictures, uri)


def test_two_evaluations_of_one_set(
    forks: ForkServerContext, colours: EvalSet, tmp_path: Path
) -> None:
    """Neither takes the other's run over, and both measure the same."""
    uri, runs = str(tmp_path / "gallery.db"), str(tmp_path / "runs.db")
    arguments = (colours.folder, uri, runs, 0.03)
    with ImageIndex.open(uri, "keeps_the_server", jobs.encoder()):
        both = [forks.Process(target=jobs.evaluate_set, args=arguments) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(120)
        assert [process.exitcode for process in both] == [0, 0]
    with RunStore(runs) as store:
        first, second = (store.load(run.run_id) for run in store.runs())
    assert (first.state, second.state) == ("complete", "complete")
    assert outcome(first) == outcome(second)


def test_a_folder_that_changes_meanwhile(pictures: Path, tmp_path: Path) -> None:
    """Files vanish, change and appear: no crash, what could not be read is listed."""
    uri = str(tmp_path / "gallery.db")
    draw(pictures, range(200))
    gallery = open_gallery(pictures)
    stop = threading.Event()
    rng = random.Random(0)

    def change() -> None:
        while not stop.is_set():
            number = rng.randrange(200)
            path = pictures / f"{number:03}.png"
            kind = rng.choice(["vanish", "change", "appear", "half"])
            if kind == "vanish":
                path.unlink(missing_ok=True)
            elif kind == "half" and path.exists():
                path.write_bytes(path.read_bytes()[:60])
            else:
                draw(pictures, [number + 200 * (kind == "appear")], seed=rng.randrange(99))
            time.sleep(0.001)

    changing = threading.Thread(target=change)
    with ImageIndex.open(uri, "changing", jobs.encoder(0.01)) as index:
        changing.start()
        try:
            report = index.add(gallery, batch_size=2)
        finally:
            stop.set()
            changing.join()
        assert report.skipped, "something had vanished or was half a file"
        assert report.added + len(report.skipped) == 200
        assert index.info().rows == report.added
        for path in pictures.iterdir():
            # Of what is half a file the row may be there, as it was.
            if path.stat().st_size <= 60:
                path.unlink()
        jobs.index_pictures(pictures, uri, "changing")
        same(index, pictures, uri)


class SmallGPU(jobs.Colours):
    """More inputs than `room` at once raise what torch raises on a GPU."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def embed(self, pixels: torch.Tensor | None, texts: object) -> torch.Tensor:
        made = super().embed(pixels, texts)  # type: ignore[arg-type]
        if len(made) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return made


def test_a_gpu_that_is_too_small(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is halved until it fits, and stays so; the vectors are those of one batch."""
    model = SmallGPU(room=5)
    small = Encoder(model, jobs.encoder().info)
    paths = sorted(pictures.iterdir())
    expected = jobs.encoder().encode(paths)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(small.encode(paths, batch_size=32), expected)
    assert model.batches == [32, 16, 8, *[4] * 8, *[4] * 2]
    assert [r.getMessage() for r in caplog.records if "too small" in r.getMessage()] == [
        f"The memory of cpu is too small for {n} inputs at once; going on with {n // 2}."
        for n in (32, 16, 8)
    ]
    uri = str(tmp_path / "gallery.db")
    with ImageIndex.open(uri, "small", small) as index:
        assert index.add(open_gallery(pictures), batch_size=32).added == 40
        same(index, pictures, uri)
    none = Encoder(SmallGPU(room=0), jobs.encoder().info)
    with pytest.raises(MmragError, match="too small for a single input"):
        none.encode(paths)


BACKWARDS = """
import datetime, sys
from pathlib import Path
looks = 0
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        global looks
        looks += 1
        return datetime.datetime.now(tz) - datetime.timedelta(seconds=30 * looks)
from mmrag.runs import store
from tests.faults import jobs
store.datetime = Jumping
folder, labelled, uri, runs = sys.argv[1:]
report = jobs.index_pictures(Path(folder), uri, "clock")
assert report.added == 40 and 0 < report.seconds < 60, report
for _ in range(2):
    run = jobs.evaluate_set(Path(labelled), uri, runs)
    assert run.state == "complete"
    assert all(v >= 0 for ms in run.timings_ms.values() for v in ms.values()), run.timings_ms
assert looks > 4, looks
print(run.run_id)
"""


def test_a_clock_that_goes_back(pictures: Path, colours: EvalSet, tmp_path: Path) -> None:
    """Each look at the time of day is half a minute before the last one.

    It is the package's own looks that jump: a clock that jumps for Python alone, and not for the
    C library below it, would end every gRPC request at once.
    """
    uri, runs = str(tmp_path / "gallery.db"), str(tmp_path / "runs.db")
    arguments = [str(pictures), str(colours.folder), uri, runs]
    done = subprocess.run(
        [sys.executable, "-c", BACKWARDS, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    with ImageIndex.open(uri, "clock", jobs.encoder()) as index:
        same(index, pictures, uri)
        with RunStore(runs) as store:
            assert len(store.runs()) == 2
            after = jobs.evaluate_set(colours.folder, uri, runs)
            assert outcome(store.load(done.stdout.strip())) == outcome(store.load(after.run_id))


def test_setting_the_clock_makes_nobody_dead(disk: Disk) -> None:
    """Linux derives a process's start from the clock; `/proc/stat` here is one set back by a day.

    Otherwise a running store would get a second server, and a running evaluation a second owner.
    """
    lines = Path("/proc/stat").read_text().splitlines()
    moved = [
        f"btime {int(line.split()[1]) - 86_400}" if line.startswith("btime") else line
        for line in lines
    ]
    (disk.path / "stat").write_text("\n".join(moved) + "\n")
    me = psutil.Process()
    code = (
        "import json, psutil, sys; from mmrag.system.processes import started_after_boot;"
        "p = psutil.Process(int(sys.argv[1]));"
        "print(json.dumps([started_after_boot(p), p.create_time()]))"
    )
    setting = 'mount --bind "$0" /proc/stat && exec "$@"'
    inside = ["unshare", "-m", "sh", "-c", setting, str(disk.path / "stat")]
    done = subprocess.run(
        [*inside, sys.executable, "-c", code, str(me.pid)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode != 0 and "mount" in done.stderr + done.stdout:
        pytest.skip(f"mounting over /proc/stat is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    after_boot, of_day = json.loads(done.stdout)
    assert abs(of_day - me.create_time()) > 80_000, "the clock was set"
    assert after_boot == pytest.approx(started_after_boot(me), abs=0.02)


def test_downloads_at_once(forks: ForkServerContext, tmp_path: Path) -> None:
    """One fetches each file and the others wait for it; so it is when they go on in the middle."""
    text = "BAAI/bge-base-en-v1.5"
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    weights = "BAAI/bge-visualized/Visualized_base_en_v1.5.pth"
    served = {f"{text}/{name}": name.encode() for name in names}
    hub = Hub({**served, weights: np.random.default_rng(0).bytes(400_000)})
    hub.pause = 0.02
    try:
        for number, begun in enumerate([0, 100_000]):
            home = tmp_path / str(number)
            if begun:
                part = home / "weights" / "visualized-bge-base" / f"{Path(weights).name}.part"
                part.parent.mkdir(parents=True)
                part.write_bytes(hub.files[weights][:begun])
            hub.ranges.clear()
            together = [forks.Process(target=jobs.download, args=(home, hub.url)) for _ in range(3)]
            for process in together:
                process.start()
            for process in together:
                process.join(120)
            assert [process.exitcode for process in together] == [0, 0, 0]
            got = [file.read_bytes() for file in home.rglob("*") if file.is_file()]
            assert sorted(got) == sorted(hub.files.values())
            assert len(hub.ranges) == len(hub.files), "each file was fetched once"
            assert (f"bytes={begun}-" in hub.ranges) == bool(begun)
    finally:
        hub.close()
