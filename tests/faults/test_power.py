"""The power fails: what was said to be stored is stored, and nothing is half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from mmrag import EvalSet, RunStore, load_encoder

from ..helpers import ROOT, mmrag
from ..hub import Hub
from .conftest import QUICK


def until_the_power_fails(
    folder: Path, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """A whole command, of whose work only what it put through to the disk remains."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.power", str(folder), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_tool_loses_what_was_not_synced(tmp_path: Path) -> None:
    """A file that is only written and renamed, as much of the world's software does, is empty."""
    code = (
        "import os, sys, mmrag.cli; from pathlib import Path\n"
        "def careless(arguments):\n"
        "    at = Path(arguments[0])\n"
        "    (at / 'a.part').write_text('new'); os.replace(at / 'a.part', at / 'a')\n"
        "    (at / 'b.part').write_text('new'); (at / 'b.part').replace(at / 'b')\n"
        "    folder = os.open(at, os.O_RDONLY); os.fsync(folder)\n"
        "    (at / 'c.part').write_text('new')\n"
        "    with (at / 'c.part').open() as file: os.fsync(file.fileno())\n"
        "    (at / 'c.part').replace(at / 'c')\n"
        "    return 0\n"
        "mmrag.cli.run = careless\n"
        "from tests.faults import power; sys.exit(power.main())"
    )
    for name in "abc":
        (tmp_path / name).write_text("old")
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    assert [(tmp_path / name).read_text() for name in "abc"] == ["", "", "old"]


def test_a_trained_encoder(colours: EvalSet, tmp_path: Path) -> None:
    command = ("train", str(colours.folder), "--encoder", "new:visualized-bge-tiny", *QUICK)
    until_the_power_fails(tmp_path, *command, "--out", str(tmp_path / "out"))
    assert mmrag(*command, "--out", str(tmp_path / "whole")).returncode == 0
    for file in (tmp_path / "whole").iterdir():
        if file.name != "training.json":  # it says how long it took
            assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name
    assert json.loads((tmp_path / "out" / "training.json").read_text())["steps"] == 4
    load_encoder(str(tmp_path / "out"))


def test_a_download(tmp_path: Path) -> None:
    text = "BAAI/bge-base-en-v1.5"
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    hub = Hub({f"{text}/{name}": name.encode() for name in names})
    weights = "BAAI/bge-visualized/Visualized_base_en_v1.5.pth"
    hub.files[weights] = np.random.default_rng(0).bytes(300_000)
    try:
        env = {"MMRAG_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
        until_the_power_fails(tmp_path, "download", "--no-load", "visualized-bge-base", **env)
    finally:
        hub.close()
    kept = [file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert sorted(kept) == sorted(hub.files.values())


@pytest.mark.parametrize("format_", ["csv", "json", "trec", "html"])
def test_a_run_and_its_export(
    colours: EvalSet, tiny_folder: Path, tmp_path: Path, format_: str
) -> None:
    done = mmrag("evaluate", str(colours.folder), "--encoder", str(tiny_folder), "--json")
    run_id = json.loads(done.stdout)["run_id"]
    out = tmp_path / f"out.{format_}"
    until_the_power_fails(tmp_path, "export", run_id, "--format", format_, "--out", str(out))
    assert mmrag("export", run_id, "--format", format_).stdout.encode() == out.read_bytes()


def test_commits_to_the_run_store_are_put_through(tmp_path: Path) -> None:
    """SQLite syncs its log at every commit when `synchronous` is FULL (2) and not in NORMAL (1)."""
    with RunStore(tmp_path / "runs.db") as store, store.database.begin("x") as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
