"""The power fails: what was said to be stored is stored, and nothing is half there."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag import EvalSet, ImageIndex, RunStore, list_collections, load_encoder
from mmrag.runs.exports import export_run

from ..helpers import everything, mmrag, outcome
from ..hub import Hub
from .conftest import QUICK, ROUNDS
from .power import Power, build


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("power") / "power.so"
    if not build(made):
        pytest.skip("needs Linux and a C compiler (Debian: apt-get install gcc)")
    return made


@pytest.fixture
def power(tmp_path: Path, library: Path) -> Power:
    root = tmp_path / "disk"
    root.mkdir()
    return Power(root, library)


def until_the_power_fails(power: Power, *arguments: str, **env: str) -> str:
    """What a whole command said, of whose work only what it put through remains."""
    done = power.until_it_fails(["-m", "mmrag", *arguments], **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


CARELESS = """
import os, sys
from pathlib import Path
at = Path(sys.argv[1])
(at / "a.part").write_text("new"); os.replace(at / "a.part", at / "a")
os.rename(at / "moved", at / "z")
handle = os.open(at, os.O_RDONLY); os.fsync(handle)
(at / "b.part").write_text("new")
with (at / "b.part").open() as file: os.fsync(file.fileno())
(at / "b.part").replace(at / "b")
(at / "c").write_text("new"); (at / "d").unlink()
(at / "in" / "it").mkdir(parents=True); (at / "in" / "it" / "e").write_text("new")
with (at / "in" / "it" / "e").open() as file: os.fsync(file.fileno())
(at / "out").mkdir(); (at / "out" / "f").write_text("new")
"""


def test_the_tool_loses_what_was_not_synced(power: Power) -> None:
    """A file that is only written and renamed, as much of the world's software does, is empty."""
    for name in ("a", "b", "c", "d", "moved"):
        (power.root / name).write_text("old")
    done = power.until_it_fails(["-c", CARELESS, str(power.root)])
    assert (done.returncode, power.syncs()) == (0, 3), done.stderr
    left = {p.name: p.read_text() for p in power.root.rglob("*") if p.is_file()}
    assert left == {"a": "", "b": "old", "c": "old", "d": "old", "z": "old"}
    assert {p.name for p in power.root.rglob("*") if p.is_dir()} == {"in", "it"}
    sync = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY)); print('on')"
    done = power.until_it_fails(["-c", sync, str(power.root)], syncs=0)
    assert (done.returncode, done.stdout) == (-9, ""), "it was the last thing that it did"


def test_a_trained_encoder(colours: EvalSet, power: Power, tmp_path: Path) -> None:
    command = ("train", str(colours.folder), "--encoder", "new:visualized-bge-tiny", *QUICK)
    out = power.root / "out"
    until_the_power_fails(power, *command, "--out", str(out))
    assert mmrag(*command, "--out", str(tmp_path / "whole")).returncode == 0
    for file in (tmp_path / "whole").iterdir():
        if file.name != "training.json":  # it says how long it took
            assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert json.loads((out / "training.json").read_text())["steps"] == 4
    load_encoder(str(out))


def test_a_download(power: Power) -> None:
    text = "BAAI/bge-base-en-v1.5"
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    hub = Hub({f"{text}/{name}": name.encode() for name in names})
    weights = "BAAI/bge-visualized/Visualized_base_en_v1.5.pth"
    hub.files[weights] = np.random.default_rng(0).bytes(300_000)
    try:
        env = {"MMRAG_HOME": str(power.root / "home"), "HF_ENDPOINT": hub.url}
        until_the_power_fails(power, "download", "--no-load", "visualized-bge-base", **env)
    finally:
        hub.close()
    kept = [file.read_bytes() for file in power.root.rglob("*") if file.is_file()]
    assert sorted(kept) == sorted(hub.files.values())


@pytest.fixture
def evaluation(colours: EvalSet, tiny_folder: Path) -> list[str]:
    """Indexes the set's pictures into the local store, and stores a run."""
    encoder = ["--encoder", str(tiny_folder), "--precision", "fp32"]
    return ["evaluate", str(colours.folder), *encoder, "-k", "10", "--json"]


def test_exports(evaluation: list[str], power: Power) -> None:
    run_id = json.loads(mmrag(*evaluation).stdout)["run_id"]
    with RunStore() as store:
        run = store.load(run_id)
    for kind in ("csv", "json", "trec", "html"):
        out = power.root / f"out.{kind}"
        until_the_power_fails(power, "export", run_id, "--format", kind, "--out", str(out))
        assert export_run(run, kind)[0][1] == out.read_bytes(), kind


def test_a_run_and_the_rows_of_the_local_store(
    evaluation: list[str],
    power: Power,
    tmp_path: Path,
    rng: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    """The power fails at the end, and at any sync before that: then the same command goes on."""
    expected = stored(tmp_path / "whole", mmrag(*evaluation, env=at(tmp_path / "whole")))
    home = power.root / "home"
    done = power.until_it_fails(["-m", "mmrag", *evaluation], **at(home))
    syncs = power.syncs()
    assert stored(home, done) == expected
    rounds = max(1, ROUNDS // 15)
    for _ in range(rounds):
        shutil.rmtree(home)
        until = rng.randrange(1, syncs)
        power.until_it_fails(["-m", "mmrag", *evaluation], until, **at(home))
        assert stored(home, mmrag(*evaluation, env=at(home))) == expected, f"{until} of {syncs}"
    record_property("tried", rounds)


def at(home: Path) -> dict[str, str]:
    return {"MMRAG_HOME": str(home)}


def stored(home: Path, done: subprocess.CompletedProcess[str]) -> Any:
    """The run that a command made, and the rows of its collection with their vectors' bits."""
    assert done.returncode == 0, done.stderr
    with RunStore(home / "runs.db") as store:
        run = outcome(store.load(json.loads(done.stdout)["run_id"]))
    (found,) = list_collections(str(home / "gallery.db"))
    with ImageIndex.open(home / "gallery.db", found.name) as index:
        rows, vectors = everything(index)
    return run, rows, vectors.tobytes()
