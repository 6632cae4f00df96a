"""SIGKILL at random moments: run again, and the result is that of an uninterrupted run.

`MMRAG_TEST_ROUNDS=500 pytest tests/faults/test_killed.py` for more rounds than CI's 20.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mmrag import EvalSet, ImageIndex, RunStore, config
from mmrag.training.state import STATE_FILE

from ..helpers import everything, outcome, servers, wait_until
from ..hub import Hub
from . import jobs
from .conftest import ROUNDS, Killer, draw


def assert_same(index: ImageIndex, whole: ImageIndex) -> None:
    """Row by row: ids, hashes, fields and the vectors' bits."""
    rows, vectors = everything(index)
    expected, expected_vectors = everything(whole)
    assert rows == expected
    assert np.array_equal(vectors, expected_vectors)


def test_indexing(killer: Killer, pictures: Path, tmp_path: Path) -> None:
    """A new collection, one that holds other pictures, and one that is replaced, in turn.

    In every tenth round the store's server dies as well. Every sixth, of a new collection, is
    killed as soon as rows are seen.
    """
    store = tmp_path / "gallery.db"
    uri = str(store)
    other = tmp_path / "other"
    other.mkdir()
    draw(other, range(30), seed=1)
    draw(other, range(35, 45))
    kept = []
    with ImageIndex.open(uri, "whole", jobs.encoder()) as whole:
        jobs.index_pictures(pictures, uri, "whole")
        killer.measure(jobs.index_pictures, pictures, uri, "measured", 0.02, True)
        for number in range(ROUNDS):
            name, anew = f"round_{number}", number % 3 == 2
            if number % 3:
                jobs.index_pictures(other, uri, name)
            if number % 6 == 0:
                with ImageIndex.open(uri, name, jobs.encoder()) as index:
                    seen = partial(_has_rows, index)
                    killer.kill_when(seen, jobs.index_pictures, pictures, uri, name, 0.1)
            else:
                killer.kill(jobs.index_pictures, pictures, uri, name, 0.02, anew)
            if number % 10 == 9:
                for server in servers(store):
                    server.kill()
            with ImageIndex.open(uri, name, jobs.encoder()) as index:
                if number % 3 == 0:
                    kept.append(index.info().rows if index.exists() else 0)
                if anew:
                    # Whenever it was killed, a whole collection answers: the old or the new one.
                    assert_same_as_a_whole(index, pictures, other)
                report = jobs.index_pictures(pictures, uri, name, anew=anew)
                if number % 3 == 0:
                    assert (report.unchanged, report.added) == (kept[-1], 40 - kept[-1])
                assert_same(index, whole)
                index.drop()
    assert killer.killed > ROUNDS / 10
    assert any(0 < rows < 40 for rows in kept), "some were killed half-way"
    assert wait_until(lambda: not servers(store))


def _has_rows(index: ImageIndex) -> bool:
    return index.exists() and index.info().rows > 0


def assert_same_as_a_whole(index: ImageIndex, *folders: Path) -> None:
    names = {row["image_id"]: row["content_hash"] for row in everything(index)[0]}
    wholes = [
        {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}
        for folder in folders
    ]
    assert names in wholes


def test_evaluating(killer: Killer, colours: EvalSet, tmp_path: Path) -> None:
    """Every sixth is killed as soon as some of its queries are kept."""
    uri = str(tmp_path / "gallery.db")
    with ImageIndex.open(uri, "keeps_the_server", jobs.encoder()):
        runs = str(tmp_path / "whole.db")
        whole = jobs.evaluate_set(colours.folder, uri, runs)
        with RunStore(runs) as store:
            stored = store.load(whole.run_id)
        assert whole.state == stored.state == "complete"
        killer.measure(jobs.evaluate_set, colours.folder, uri, str(tmp_path / "measured.db"), 0.01)
        resumed = 0
        for number in range(ROUNDS):
            runs = str(tmp_path / f"{number}.db")
            arguments = colours.folder, uri, runs, 0.01
            if number % 6 == 0:
                killer.kill_when(partial(_has_rankings, runs), jobs.evaluate_set, *arguments)
            else:
                killer.kill(jobs.evaluate_set, *arguments)
            with RunStore(runs) as store:
                begun = [run for run in store.runs() if run.state != "complete"]
            assert {run.state for run in begun} <= {"interrupted"}
            run = jobs.evaluate_set(colours.folder, uri, runs)
            if begun:
                assert run.run_id == begun[0].run_id
                resumed += 1
            assert outcome(run) == outcome(whole)
            with RunStore(runs) as store:
                assert outcome(store.load(run.run_id)) == outcome(stored)
    assert killer.killed > ROUNDS / 10
    assert resumed, "some went on from where they were killed"


def _has_rankings(runs: str) -> bool:
    if not Path(runs).exists():
        return False
    with RunStore(runs) as store:
        return any(len(store.load(run.run_id).rankings) > 0 for run in store.runs())


@pytest.fixture
def little_model(tmp_path: Path) -> Path:
    """So small that a step takes some milliseconds."""
    made = {
        "class": "visualized-bge",
        "vocab_size": 200,
        "vision": {
            "timm": "eva02_base_patch16_clip_224",
            "img_size": 16,
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 1,
            "num_heads": 2,
            "ref_feat_shape": [2, 2],
        },
        "text": {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        },
    }
    path = tmp_path / "little.json"
    path.write_text(json.dumps(made))
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the other processes: sums do not depend on how many threads add them up."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_training(
    killer: Killer, colours: EvalSet, little_model: Path, tmp_path: Path, one_thread: None
) -> None:
    """One training is killed again and again until it is finished, then the next one begins.

    Every third is killed as soon as it has saved a step.
    """
    whole = tmp_path / "whole"
    jobs.train_encoder(colours.folder, little_model, whole)
    expected = written(whole)
    arguments = (colours.folder, little_model)
    killer.measure(train_anew, *arguments, tmp_path / "measured")
    number, resumed = 0, 0
    while killer.killed < ROUNDS:
        out = tmp_path / str(number)
        resumed += (out / STATE_FILE).is_file()
        if number % 3 == 0 and not out.exists():
            saved = (out / STATE_FILE).is_file
            killed = killer.kill_when(saved, jobs.train_encoder, *arguments, out)
        else:
            killed = killer.kill(jobs.train_encoder, *arguments, out)
        # A kill may also come when all is written and only the process is left to end.
        if killed and ((out / STATE_FILE).exists() or not (out / "config.json").exists()):
            continue
        assert written(out) == expected
        number += 1
    out = tmp_path / str(number)
    jobs.train_encoder(*arguments, out)
    assert written(out) == expected
    assert resumed > 0
    assert number > 0


def train_anew(folder: Path, model: Path, out: Path) -> None:
    """Into a folder of its own each time."""
    number = len(list(out.glob("*"))) if out.exists() else 0
    jobs.train_encoder(folder, model, out / str(number))


def written(out: Path) -> dict[str, object]:
    """All files of an encoder, byte by byte, but for the seconds and the place."""
    assert not (out / STATE_FILE).exists()
    files: dict[str, object] = {f.name: f.read_bytes() for f in out.iterdir()}
    log = json.loads((out / "training.json").read_text())
    files["training.json"] = {k: v for k, v in log.items() if k not in ("seconds", "out")}
    return files


def test_downloading(killer: Killer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = "BAAI/bge-base-en-v1.5"
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    served = {f"{text}/{name}": name.encode() for name in names}
    weights = "BAAI/bge-visualized/Visualized_base_en_v1.5.pth"
    hub = Hub({**served, weights: rng.bytes(400_000)})
    hub.pause = 0.01
    whole = [*sorted(served.values()), hub.files[weights]]
    resumed = 0
    try:
        killer.measure(download_anew, tmp_path / "measured", hub.url)
        for number in range(ROUNDS // 2):
            home = tmp_path / str(number)
            if number % 2:
                killer.kill(jobs.download, home, hub.url)
            else:
                # On a slow machine a moment of the whole time is hardly ever one of the large file.
                kill_in_the_large_file(killer, home, hub.url)
            parts = {part: part.read_bytes() for part in home.rglob("*.part")}
            process = killer.start(jobs.download, home, hub.url)
            process.join()
            assert process.exitcode == 0
            got = [f for f in home.rglob("*") if f.is_file()]
            assert sorted(f.read_bytes() for f in got) == sorted(whole)
            # A small file may lie there whole, about to be renamed.
            large = [part for path, part in parts.items() if path.name.startswith("Visualized")]
            if large and 0 < len(large[0]) < 400_000:
                assert hub.files[weights].startswith(large[0])
                assert hub.ranges[-1] == f"bytes={len(large[0])}-"
                resumed += 1
    finally:
        hub.close()
    assert killer.killed > ROUNDS / 20
    assert resumed, "some went on in the middle of the file"
    assert config.home().is_dir()


def kill_in_the_large_file(killer: Killer, home: Path, hub: str) -> None:
    process = killer.start(jobs.download, home, hub)

    # It may be renamed between two looks.
    with contextlib.suppress(FileNotFoundError):
        while process.is_alive():
            if any(part.stat().st_size for part in home.rglob("Visualized*.part")):
                break
            time.sleep(0.002)
    process.join(killer.rng.uniform(0, 0.05))
    process.kill()
    process.join()
    killer.killed += process.exitcode != 0


def download_anew(home: Path, hub: str) -> None:
    jobs.download(home / str(len(list(home.glob("*"))) if home.exists() else 0), hub)
