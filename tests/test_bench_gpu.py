"""The prepared measurement of a GPU, run on the CPU; and what a wished rate needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import torch

from bench.gpu.__main__ import main
from bench.gpu.bare import fill_in
from bench.gpu.parts import PARTS
from bench.gpu.session import Part, Session
from bench.schedule import Rates, needs, simulate
from bench.schedule import main as schedule
from mmrag.measurements import read_results


def test_every_part_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With tiny models; what is measured is for nobody, but every line has been run."""
    # The compiler takes longer than all the rest.
    monkeypatch.setattr(torch, "compile", lambda forward, dynamic: forward)
    monkeypatch.setenv("OUT", str(tmp_path))
    assert main(["--device", "cpu", "--quick"]) == 0
    path = Path(capsys.readouterr().out.strip())
    document = json.loads(path.read_text())
    outcomes = {name: part["outcome"] for name, part in document["parts"].items()}
    assert outcomes == dict.fromkeys([part.name for part in PARTS], "done")
    result = read_results(path)
    assert result.quick
    assert result.machine_name in path.name
    rows = {(row.group, row.name): row for row in result.rows}
    for precision in ("fp32", "bf16", "fp16"):
        assert rows["parity", f"base {precision}"].figures["within_bounds"] == "yes"
    for way in ("overlap", "graphs", "overlap and graphs", "compile", "all"):
        assert rows["encode", f"arrays {way} 4"].figures["cosine_min"] > 0.999
    for size in (2, 4):
        wanted = ("arrays plain", "arrays graphs", "arrays compile", "files plain")
        assert all(rows["encode", f"{one} {size}"].value > 0 for one in wanted)
    assert rows["decode", "processes jpg 640"].figures["levels_most"] == 0
    assert rows["decode", "device jpg 640"].figures["cosine_min"] > 0.999
    assert {"overlap", "graphs", "compile", "batch_size", "why"} <= document["choices"].keys()


def test_stand_ins_do_for_packages_that_a_lent_machine_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("orjson", "pillow_heif"):
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    fill_in(frozenset({"orjson", "pillow_heif"}))
    made: Any = sys.modules["orjson"]
    assert made is not orjson
    value = {"text": "grün", "grades": [1, 2.5, None, True]}
    assert made.loads(orjson.dumps(value)) == value
    line = made.dumps(value, option=made.OPT_APPEND_NEWLINE)
    assert orjson.loads(line) == value
    assert (line.count(b"\n"), made.dumps(value, made.OPT_INDENT_2).count(b"\n")) == (1, 0)
    with pytest.raises(made.JSONDecodeError):
        made.loads(b"{")
    sys.modules["pillow_heif"].register_heif_opener()


def test_a_part_that_fails_and_a_deadline_cost_only_what_they_touch(tmp_path: Path) -> None:
    """The file is whole after every part; what needs more time than is left is not begun."""
    session = Session("cpu", quick=False, seconds=100, out=tmp_path)
    seen: list[list[str]] = []

    def good(run: Session) -> None:
        if run.file.is_file():
            seen.append([row.name for row in read_results(run.file).rows])
        run.row("limits", f"row {len(seen)}", [0.5], {}, "img/s", 10)

    def bad(run: Session) -> None:
        good(run)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nand more")

    parts = [Part("a", good, 10), Part("b", bad, 10), Part("c", good, 1000), Part("d", good, 10)]
    session.run(parts)
    parts_done = {k: v["outcome"] for k, v in session.document["parts"].items()}
    assert parts_done["a"] == parts_done["d"] == "done"
    assert parts_done["b"].startswith("OutOfMemoryError: CUDA out of memory.")
    assert parts_done["c"] == "left out: no time"
    assert seen == [["row 0"], ["row 0", "row 1"]]
    assert read_results(session.file).rows[0].value == 20


def test_on_a_gpu_events_keep_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The few lines that are for a GPU alone, on stand-ins of torch's."""
    waited: list[object] = []

    def event(enable_timing: bool) -> Any:
        assert enable_timing
        return SimpleNamespace(record=lambda: None, elapsed_time=lambda end: 250.0)

    monkeypatch.setattr(torch.cuda, "Event", event)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**30))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    session = Session("cuda", quick=True, seconds=100, out=tmp_path)
    assert session.times(lambda: None) == [0.25]
    assert len(waited) == 2
    taken: list[Any] = []
    encoder: Any = SimpleNamespace(take=lambda *arguments: taken.extend(arguments))
    session.take(encoder, session.path)
    assert taken[0] == session.path
    assert taken[2] == 2**30


def test_the_slowest_stage_decides_and_copies_beside_computing_are_free() -> None:
    rates = Rates(decode=1000, copy=2000, compute=500, cores=4)
    assert simulate(rates, overlap=True) == pytest.approx(500, rel=0.01)
    assert simulate(rates, overlap=False) == pytest.approx(400, rel=0.01)
    starved = Rates(decode=100, copy=2000, compute=500, cores=2)
    assert simulate(starved, overlap=True) == pytest.approx(200, rel=0.01)


def test_what_a_wished_rate_needs(capsys: pytest.CaptureFixture[str]) -> None:
    need = needs(4400, decode=215, file_kb=100)
    assert (need.cores, need.disk_mb) == (21, 440)
    assert need.copy_gb == pytest.approx(0.66, abs=0.01)
    assert need.tflop == pytest.approx(4400 * 70.4 / 0.6 / 1000)
    assert schedule(["--wish", "4400", "--cores", "16"]) == 0
    shown = capsys.readouterr().out
    assert "4,400 images/s need 21 cores" in shown
    assert "decoding        3,440 images/s  the slowest" in shown
