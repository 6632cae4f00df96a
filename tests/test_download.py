"""Official weights: fetched with a checksum, resumed, and explained when there is no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from mmrag import config, load_encoder
from mmrag.encoders import clip_files, clip_sources, download_encoder
from mmrag.errors import CheckpointError, MmragError

from .helpers import PARITY, mmrag
from .hub import Hub

TEXT = "BAAI/bge-base-en-v1.5"
WEIGHTS = "BAAI/bge-visualized/Visualized_base_en_v1.5.pth"


@pytest.fixture
def hub(hub: Hub) -> Hub:
    rng = np.random.default_rng(0)
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    hub.files = {f"{TEXT}/{name}": name.encode() for name in names}
    hub.files[WEIGHTS] = rng.bytes(300_000)
    return hub


def fetch(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Without loading what arrived: most of it is no model here."""
    return download_encoder(name, progress, prove=False)


class Bar:
    """Counts as `tqdm` does."""

    last: Bar

    def __init__(self, total: int, initial: int, **_: object) -> None:
        self.total, self.n = total, initial
        Bar.last = self

    def update(self, n: int) -> None:
        self.n += n

    def close(self) -> None:
        pass


def test_files_arrive_once_with_progress(hub: Hub) -> None:
    files = fetch("visualized-bge-base", Bar)
    assert files[-1].read_bytes() == hub.files[WEIGHTS]
    assert files[0] == config.weights_dir() / "visualized-bge-base" / "text-model" / "config.json"
    assert (Bar.last.n, Bar.last.total) == (300_000, 300_000)
    requests = len(hub.ranges)
    fetch("visualized-bge-base")
    assert len(hub.ranges) == requests


def test_an_interrupted_download_goes_on(hub: Hub) -> None:
    hub.break_after = 100_000
    with pytest.raises(CheckpointError, match="run it again to go on"):
        download_encoder("visualized-bge-base")
    hub.break_after = None
    files = fetch("visualized-bge-base")
    assert files[-1].read_bytes() == hub.files[WEIGHTS]
    assert hub.ranges[-1] is not None
    assert 0 < int(hub.ranges[-1].removeprefix("bytes=").rstrip("-")) <= 100_000


def test_a_damaged_download_is_not_kept(hub: Hub) -> None:
    hub.corrupt = True
    with pytest.raises(CheckpointError, match="arrived damaged"):
        download_encoder("visualized-bge-base")
    assert not list(config.weights_dir().rglob("*.p*th*"))


def test_without_network_it_says_what_to_do_by_hand(hub: Hub) -> None:
    hub.close()
    done = mmrag("download", "visualized-bge-base", env={"HF_ENDPOINT": hub.url})
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert (
        "To do it by hand, put Visualized_base_en_v1.5.pth of BAAI/bge-visualized into" in lines[0]
    )
    assert "Traceback" not in done.stderr


def test_the_command_line_and_hub_names(hub: Hub, base_checkpoint: Path) -> None:
    """What `download` fetches is what `load_encoder` uses; other files go by their hub name."""
    for file in (PARITY / "text-model-base").iterdir():
        hub.files[f"{TEXT}/{file.name}"] = file.read_bytes()
    hub.files[WEIGHTS] = base_checkpoint.read_bytes()
    hub.files["me/mine/other.pth"] = hub.files[WEIGHTS]
    spec_files = ("config.json", "tokenizer_config.json", "vocab.txt")
    tokenizer = AutoTokenizer.from_pretrained(PARITY / "text-model-base")
    hub.files[f"{TEXT}/tokenizer.json"] = tokenizer.backend_tokenizer.to_str().encode()
    loaded = load_encoder(
        "visualized-bge-base",
        checkpoint="me/mine/other.pth",
        text_model=str(PARITY / "text-model-base"),
    )
    done = mmrag("download", "visualized-bge-base", "--json")
    assert done.returncode == 0, done.stderr
    folder = config.weights_dir() / "visualized-bge-base"
    assert {file.name for file in (folder / "text-model").iterdir()} >= set(spec_files)
    again = load_encoder("visualized-bge-base")
    assert again.info.fingerprint == loaded.info.fingerprint


def test_clip_weights_are_fetched_by_their_tag(hub: Hub) -> None:
    name = "timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors"
    hub.files[name] = bytes(5000)
    with pytest.raises(CheckpointError, match=r"open_clip_model\.safetensors is damaged"):
        download_encoder("clip:ViT-B-32/openai", Bar)
    file = config.weights_dir() / "clip" / name
    assert file.read_bytes() == bytes(5000)
    assert Bar.last.n == 5000
    hub.files.clear()
    file.unlink()
    with pytest.raises(CheckpointError, match="To do it by hand, get the file elsewhere"):
        download_encoder("clip:ViT-B-32/openai")


def test_unknown_names() -> None:
    with pytest.raises(MmragError, match="clip:ViT-B-32 has no weights 'nope'"):
        download_encoder("clip:ViT-B-32/nope")
    with pytest.raises(MmragError, match="Nothing to download for 'demo'"):
        download_encoder("demo")


def test_a_name_of_sentence_transformers_brings_its_repository(hub: Hub) -> None:
    hub.files = {
        f"BAAI/BGE-VL-base/{name}": name.encode()
        for name in ("config.json", "model.safetensors", "tokenizer/vocab.json", "old.bin")
    }
    folder = config.weights_dir() / "st" / "BAAI" / "BGE-VL-base"
    files = fetch("bge-vl-base")
    names = ["config.json", "tokenizer/vocab.json", "model.safetensors"]
    assert files == [folder / name for name in names], "weights come last"
    assert all((folder / name).read_bytes() == name.encode() for name in names)


def test_a_named_text_model_is_fetched(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"No text model at .*bge-base-en-v1\.5"):
        load_encoder("visualized-bge-base", checkpoint=tmp_path / "mine.pth", text_model=TEXT)
    folder = config.weights_dir() / "hub" / TEXT
    assert (folder / "vocab.txt").read_bytes() == b"vocab.txt"


def test_a_clip_is_here_when_all_its_files_are(hub: Hub) -> None:
    """Weights, a tokenizer and the configuration of a text tower, each of its own repository."""
    hub.files = {
        "me/clip/open_clip_config.json": json.dumps(
            {
                "model_cfg": {
                    "embed_dim": 8,
                    "vision_cfg": {},
                    "text_cfg": {"hf_model_name": "me/text", "hf_tokenizer_name": "me/words"},
                }
            }
        ).encode(),
        "me/clip/open_clip_model.safetensors": b"weights",
        "me/words/tokenizer.json": b"words",
    }
    source = clip_sources.resolve("clip:hf-hub:me/clip")
    assert source.what == "hf-hub:me/clip"
    assert source.tokenizer == "me/words"
    folder = clip_sources.clip_folder("me/clip")
    assert not clip_files.is_here(source)
    with pytest.raises(CheckpointError, match="me/text"):
        clip_files.fetch(source)
    assert (folder / "open_clip_model.safetensors").read_bytes() == b"weights"
    assert not clip_files.is_here(source), "the text tower's configuration is missing"
    hub.files["me/text/config.json"] = b"text"
    made = clip_files.fetch(source)
    assert made.weights == folder / "open_clip_model.safetensors"
    assert made.tokenizer is not None
    assert made.text_model is not None
    assert (made.tokenizer / "tokenizer.json").read_bytes() == b"words"
    assert (made.text_model / "config.json").read_bytes() == b"text"
    assert clip_files.is_here(source)
    local = clip_sources.resolve(f"clip:local-dir:{folder}")
    assert (local.what, local.weights) == (f"local-dir:{folder}", made.weights)
    assert local.model_cfg == source.model_cfg
    with pytest.raises(CheckpointError, match=f"local-dir:{folder} has no tokenizer in {folder}"):
        clip_files.fetch(local)
