"""A full disk and a read-only one: one line that says so, nothing lost, and the next run goes on.

The disk is a small tmpfs; mounting one needs root, as CI has.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mmrag import EvalSet, ImageIndex, RunStore, load_encoder
from mmrag.encoders.encoder import Encoder
from mmrag.training.state import STATE_FILE

from ..helpers import everything, mmrag, servers, wait_until
from ..hub import Hub
from .conftest import QUICK, Disk


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed with one line that holds these words, and no stack trace."""
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_indexing_on_a_full_disk(
    disk: Disk, folder: Path, tiny: Encoder, tiny_folder: Path, tmp_path: Path
) -> None:
    store = disk.path / "gallery.db"
    command = ("index", str(folder), "--encoder", str(tiny_folder), "--precision", "fp32")
    where = ("--uri", str(store))
    for path in sorted(folder.rglob("*.png"))[6:]:
        path.rename(path.with_suffix(".later"))
    assert mmrag(*command, *where).returncode == 0
    for path in folder.rglob("*.later"):
        path.rename(path.with_suffix(".png"))
    assert wait_until(lambda: not servers(store))
    disk.fill(leave=4096)
    one_line(mmrag(*command, *where), "No space left on device")
    assert wait_until(lambda: not servers(store))
    disk.make_room()
    with ImageIndex.open(store, encoder=tiny) as index:
        assert index.info().rows >= 6, "what was there is kept"
    done = mmrag(*command, *where, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["unchanged"] + report["added"] == 12
    assert mmrag(*command, "--uri", str(tmp_path / "whole.db")).returncode == 0
    with ImageIndex.open(store, encoder=tiny) as index:
        rows, vectors = everything(index)
    with ImageIndex.open(tmp_path / "whole.db", encoder=tiny) as whole:
        expected, expected_vectors = everything(whole)
    assert rows == expected
    assert np.abs(vectors - expected_vectors).max() < 1e-5


def test_evaluating_on_a_full_disk(
    disk: Disk, colours: EvalSet, tiny_folder: Path, tmp_path: Path
) -> None:
    uri = str(tmp_path / "gallery.db")
    command = ("evaluate", str(colours.folder), "--encoder", str(tiny_folder), "--uri", uri)
    runs = {"MMRAG_RUNS_URL": str(disk.path / "runs.db")}
    whole = json.loads(mmrag(*command, "--json").stdout)
    first = json.loads(mmrag(*command, "--json", env=runs).stdout)
    disk.fill(leave=0)
    one_line(mmrag(*command, env=runs), "The run store", "disk")
    disk.make_room()
    with RunStore(runs["MMRAG_RUNS_URL"]) as store:
        assert store.load(first["run_id"]).metrics == first["metrics"], "what was there is kept"
    again = json.loads(mmrag(*command, "--json", env=runs).stdout)
    assert again["stages"] == whole["stages"]


def test_training_on_a_full_disk(disk: Disk, colours: EvalSet, tmp_path: Path) -> None:
    command = ("train", str(colours.folder), "--encoder", "new:visualized-bge-tiny", *QUICK)
    out = disk.path / "out"
    disk.fill(leave=100_000)
    one_line(mmrag(*command, "--out", str(out)), STATE_FILE, "space")
    disk.make_room()
    done = mmrag(*command, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert mmrag(*command, "--out", str(tmp_path / "whole")).returncode == 0
    prints = {load_encoder(str(place)).info.fingerprint for place in (out, tmp_path / "whole")}
    assert len(prints) == 1
    assert {f.name for f in out.iterdir()} == {f.name for f in (tmp_path / "whole").iterdir()}


def test_downloading_to_a_full_disk(disk: Disk) -> None:
    text = "BAAI/bge-base-en-v1.5"
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    served = {f"{text}/{name}": name.encode() for name in names}
    weights = "BAAI/bge-visualized/Visualized_base_en_v1.5.pth"
    hub = Hub({**served, weights: np.random.default_rng(0).bytes(600_000)})
    try:
        env = {"MMRAG_HOME": str(disk.path / "home"), "HF_ENDPOINT": hub.url}
        disk.fill(leave=300_000)
        done = mmrag("download", "visualized-bge-base", env=env)
        one_line(done, "No space left on device", "run it again to go on")
        disk.make_room()
        done = mmrag("download", "visualized-bge-base", "--no-load", "--json", env=env)
        assert done.returncode == 0, done.stderr
        (got,) = (disk.path / "home").rglob("*.pth")
        assert got.read_bytes() == hub.files[weights]
        assert hub.ranges[-1] not in (None, "bytes=0-"), "it went on where it was"
    finally:
        hub.close()


def test_exports_to_a_full_disk(disk: Disk, colours: EvalSet, tiny_folder: Path) -> None:
    done = mmrag("evaluate", str(colours.folder), "--encoder", str(tiny_folder), "--json")
    run_id = json.loads(done.stdout)["run_id"]
    disk.fill(leave=0)
    for kind in ("trec", "csv", "json", "parquet", "html"):
        out = disk.path / f"out.{kind}"
        one_line(mmrag("export", run_id, "--format", kind, "--out", str(out)), "space")
        assert not out.exists(), "no half file that could be taken for a whole one"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("index {pictures} --encoder {encoder}", "The store"),
        ("search --text red --encoder {encoder}", "The store"),
        ("evaluate {set} --encoder {encoder}", "Read-only file system"),
        ("runs", "Read-only file system"),
        ("train {set} --encoder new:visualized-bge-tiny --out {disk}/out", "Read-only file system"),
        ("download visualized-bge-base", "Read-only file system"),
        ("eval-set import grocery {set} {disk}/set", ""),
        ("demo", "Read-only file system"),
    ],
)
def test_a_read_only_state_directory(
    disk: Disk,
    folder: Path,
    colours: EvalSet,
    tiny_folder: Path,
    command: str,
    words: str,
) -> None:
    disk.read_only()
    places = {
        "pictures": folder,
        "encoder": tiny_folder,
        "set": colours.folder,
        "disk": disk.path,
    }
    hub = Hub({})
    arguments = [part.format(**places) for part in command.split()]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        hub.files[f"BAAI/bge-base-en-v1.5/{name}"] = b"{}"
    try:
        env = {"MMRAG_HOME": str(disk.path / "home"), "HF_ENDPOINT": hub.url}
        one_line(mmrag(*arguments, env=env), words)
    finally:
        hub.close()
    assert list(disk.path.iterdir()) == []
