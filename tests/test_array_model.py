"""Small models in NumPy give the vectors that torch gives, and a search needs no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmrag import ImageIndex, load_encoder, open_gallery
from mmrag.encoders import load_for_one_query
from mmrag.encoders.array_model import ArrayComputing
from mmrag.encoders.encoder import Encoder
from mmrag.errors import CheckpointError

from .helpers import ROOT

LONG = "blue bag with a leopard " * 100


def in_numpy(encoder: Encoder) -> bool:
    return isinstance(encoder._computing, ArrayComputing)


@pytest.mark.parametrize("which", ["demo", "tiny"])
def test_vectors_and_fingerprint_are_those_of_torch(
    which: str, tiny_folder: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = which if which == "demo" else str(tiny_folder)
    expected = load_encoder(name, device="cpu", precision="fp32")
    found = load_for_one_query(name)
    assert in_numpy(found)
    assert found.info == expected.info
    picture = next(iter(sorted(folder.rglob("*.png"))))
    pictures = [picture, None, picture, picture]
    texts = [None, "a red bag", "the same in green", LONG]
    for one, text in zip(pictures, texts, strict=True):
        vectors = [encoder.encode([one], [text], query=True) for encoder in (expected, found)]
        np.testing.assert_allclose(vectors[0], vectors[1], atol=2e-6)
    cut = [record.getMessage() for record in caplog.records if "tokens" in record.getMessage()]
    assert len(cut) == 2
    assert cut[0] == cut[1]


def test_torch_is_taken_where_it_is_asked_for_or_needed(tiny_folder: Path) -> None:
    tiny = str(tiny_folder)
    assert not in_numpy(load_for_one_query(tiny, precision="bf16"))
    assert not in_numpy(load_for_one_query("photos"))
    assert not in_numpy(load_for_one_query("demo-clip", image_weight=0.3))


@pytest.mark.parametrize("kept", [0, 1000, -1000])
def test_a_damaged_folder_is_refused_as_ever(tiny_folder: Path, tmp_path: Path, kept: int) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="damaged"):
        load_for_one_query(str(damaged))


def test_search_does_without_torch(tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    """In a process of its own: this one has imported torch long since."""
    store = str(tmp_path / "store.db")
    tiny = load_encoder(str(tiny_folder), device="cpu", precision="fp32")
    with ImageIndex.open(store, encoder=tiny) as index:
        index.add(open_gallery(folder))
        [[best]] = index.search(tiny.encode(texts=["a red bag"]), 1)
        code = "import sys; sys.modules['torch'] = None; from mmrag.cli import run; sys.exit(run())"
        command = [sys.executable, "-c", code, "search", "--text", "a red bag", "-k", "1"]
        command += ["--uri", store, "--encoder", str(tiny_folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert best["image_id"] in done.stdout
    assert f"{best['score']:.4f}" in done.stdout
