"""Measuring is ended, runs out of space, or is begun twice: no result is lost, nothing runs on."""

from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from mmrag.cli import run
from mmrag.errors import MmragError
from mmrag.measurements import list_results, read_results, save_result
from mmrag.system.measuring import alone, measure_alone
from mmrag.ui import speed_jobs

from ..helpers import ROOT, made_file, wait_until
from .conftest import Disk

PROGRAMS = [f"bench.{name}" for name in ("capacity", "dashboard", "first_batch", "gpu", "scaling")]
MEASURE = ["bench", "--quick", "--only", "decode and jpg-small"]


@pytest.fixture
def measuring(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`bench`, once its pytest is at work. Its lock is in a folder that no other test uses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mmrag", *MEASURE],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "MMRAG_TEST_MILVUS": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_until(lambda: bool(suites(process.pid)), 60)
    yield process
    process.kill()
    process.communicate()


def suites(pid: int) -> list[psutil.Process]:
    """The processes of a measurement that run pytest, below the process `pid`."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [one for one in below if "pytest" in _command(one) and "leash" not in _command(one)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_children_go_with_the_parent(
    measuring: subprocess.Popen[str], number: signal.Signals
) -> None:
    below = psutil.Process(measuring.pid).children(recursive=True)
    assert below
    measuring.send_signal(number)
    measuring.wait(20)
    assert wait_until(lambda: not any(one.is_running() for one in below), 20)


def test_two_measurements_at_once(
    measuring: subprocess.Popen[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    second = subprocess.run(
        [sys.executable, "-m", "mmrag", *MEASURE],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert f"Another measurement of this machine is running (process {measuring.pid})" in (
        second.stderr
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert measure_alone(lambda: pytest.fail("it measured")) == 1
    for program in PROGRAMS:
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(program, run_name="__main__")
        assert ended.value.code == 1, program
    said = capsys.readouterr().err
    assert said.count("Another measurement of this machine is running") == 1 + len(PROGRAMS)
    with pytest.raises(MmragError, match="did not finish: Another measurement of this machine"):
        speed_jobs._measure(lambda _: None, lambda: False)
    assert measuring.poll() is None, "the first one goes on"


def test_what_a_measurement_starts_is_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = "from mmrag.system.measuring import measure_alone as m; raise SystemExit(m(lambda: 7))"
    with alone():
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 7


def test_a_full_disk_is_noticed_before_measuring(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def suite(command: Sequence[str]) -> int:
        raise AssertionError("it measured")

    monkeypatch.setattr("mmrag.cli.bench._suite", suite)
    monkeypatch.setattr("mmrag.measurements.SHIPPED_RESULTS", disk.path / "results")
    disk.fill(leave=100_000)
    assert run(["bench", "--save"]) == 1
    assert "could not be saved" in capsys.readouterr().err


def test_a_disk_that_fills_while_measuring(
    disk: Disk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was stored before stays, and what was measured is not lost."""

    def suite(command: Sequence[str]) -> int:
        made_file(Path(command[-1].removeprefix("--benchmark-json=")), "2026-01-02T10:00:00", 3.0)
        disk.fill(leave=0)
        return 0

    results = disk.path / "results"
    results.mkdir()
    earlier = made_file(results / "amd-epyc-2-cores-01234567.json", "2026-01-01T10:00:00", 2.0)
    before = earlier.read_bytes()
    monkeypatch.setattr("mmrag.cli.bench._suite", suite)
    monkeypatch.setattr("mmrag.measurements.SHIPPED_RESULTS", results)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["bench", "--save"]) == 1
    said = capsys.readouterr().err
    assert "make room and copy it there" in said
    (kept,) = tmp_path.glob("amd-epyc-2-cores-01234567-*.json")
    assert str(kept) in said
    assert read_results(kept).rows[0].seconds == 3.0
    assert earlier.read_bytes() == before
    assert [path.name for path in results.iterdir()] == [earlier.name]


def test_killed_while_a_result_is_written(tmp_path: Path, rng: random.Random) -> None:
    new = made_file(tmp_path / "new.json", "2026-01-02T10:00:00", 3.0)
    document = json.loads(new.read_text())
    one = document["benchmarks"][0]
    document["benchmarks"] = [{**one, "fullname": str(n)} for n in range(5000)]
    new.write_text(json.dumps(document))
    saved = save_result(read_results(new), tmp_path / "results")
    code = (
        "import sys; from pathlib import Path\n"
        "from mmrag.measurements import read_results, save_result\n"
        "new = read_results(Path(sys.argv[1])); print('on', flush=True)\n"
        "while True: save_result(new, Path(sys.argv[2]))\n"
    )
    for _ in range(8):
        command = [sys.executable, "-c", code, str(new), str(saved.parent)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert len(read_results(saved).rows) == 5000


def test_results_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are named and left out; the one that would be added to is moved aside."""
    for number, when in enumerate(["01", "02", "03"]):
        made_file(tmp_path / f"{number}.json", f"2026-01-{when}T10:00:00", 2.0)
    (tmp_path / "1.json").write_text((tmp_path / "1.json").read_text()[:200])
    target = tmp_path / "amd-epyc-2-cores-01234567.json"
    target.write_text('{"benchmarks": [')

    def suite(command: Sequence[str]) -> int:
        made_file(Path(command[-1].removeprefix("--benchmark-json=")), "2026-01-04T10:00:00", 2.0)
        return 0

    monkeypatch.setattr("mmrag.cli.bench._suite", suite)
    monkeypatch.setattr("mmrag.measurements.SHIPPED_RESULTS", tmp_path)
    assert run(["bench", "--save"]) == 0
    assert read_results(target).datetime == "2026-01-04T10:00:00"
    (aside,) = tmp_path.glob("*.broken-*")
    assert aside.read_text() == '{"benchmarks": ['
    assert run(["bench", "compare"]) == 0
    assert [file.path.name for file in list_results(tmp_path)] == ["0.json", "2.json", target.name]
