"""Checkpoints and encoder folders: a model, or a sentence; never code, never all the memory."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from mmrag import load_encoder
from mmrag.encoders.checkpoints import load_into, read_card, read_state_dict
from mmrag.training.state import TrainingState

from .cases import VALUES, case, fuzz, spoil_bytes, spoil_value

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def saved(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


WHOLE = {
    "zip.pth": saved(STATE),
    "legacy.pth": saved(STATE, _use_new_zipfile_serialization=False),
    "nested.pt": saved({"state_dict": STATE, "epoch": 3}),
    "plain.safetensors": save(STATE),
}


def load(path: Path) -> None:
    module = torch.nn.Module()
    module.add_module("a", torch.nn.Linear(3, 2))
    load_into(module, read_state_dict(path), path.name)
    assert module.a(torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize("name", WHOLE)
def test_spoiled_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    @fuzz(150)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        path.write_bytes(spoil_bytes(data.draw, WHOLE[name]))
        with case(__file__):
            state = read_state_dict(path)
            assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
        if name == "zip.pth":
            with case(__file__):
                TrainingState(tmp_path, "key").path.write_bytes(path.read_bytes())
                module = torch.nn.Linear(3, 2)
                TrainingState(tmp_path, "key").load(module, torch.optim.AdamW(module.parameters()))

    run()


@fuzz(200)
@given(st.data(), st.integers(0, 2**63) | st.integers(0, 400))
def test_headers_of_safetensors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, length: int
) -> None:
    header = json.loads(WHOLE["plain.safetensors"][8:].split(b"}}")[0] + b"}}")
    text = json.dumps(spoil_value(data.draw, header)).encode()
    said = length if data.draw(st.booleans()) else len(text)
    path = tmp_path_factory.getbasetemp() / "spoiled.safetensors"
    path.write_bytes(struct.pack("<Q", min(said, 2**64 - 1)) + text + bytes(32))
    with case(__file__):
        load(path)


@fuzz(200)
@given(st.data())
def test_what_is_no_state_dict(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kinds = [
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(2, 3, dtype=torch.complex64),
        torch.zeros(2, 3).to_sparse(),
        torch.zeros(1, 1).expand(2, 3),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.zeros(0),
        torch.quantize_per_tensor(torch.zeros(2, 3), 0.1, 0, torch.qint8),
        torch.zeros(1).expand(10**6, 10**6),
    ]
    value: Any = {**STATE, "a.weight": data.draw(st.sampled_from(kinds) | VALUES)}
    if data.draw(st.booleans()):
        value = data.draw(VALUES)
    path = tmp_path_factory.getbasetemp() / "kinds.pth"
    path.write_bytes(saved(value))
    with case(__file__):
        load(path)


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.safetensors", "evil.bin"])
@pytest.mark.parametrize("how", ["plain", "torch zip", "torch legacy"])
def test_pickled_code_is_not_run(tmp_path: Path, name: str, how: str) -> None:
    mark = tmp_path / "pwned"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    path = tmp_path / name
    state = {**STATE, "x": Evil()}
    if how == "plain":
        path.write_bytes(pickle.dumps(state))
    else:
        path.write_bytes(saved(state, _use_new_zipfile_serialization=how == "torch zip"))
    with case(__file__, refused="pickled code|damaged|not a checkpoint"):
        read_state_dict(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil()))  # noqa: S301
    assert mark.exists(), "the bait does bite where pickles are trusted"


def test_an_archive_that_grows_is_refused(tmp_path: Path) -> None:
    """4 MB that would be 4 GB in memory, as deflated entries or as many entries over the same."""
    path = tmp_path / "bomb.pth"
    whole = zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(4)})))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in whole.infolist():
            archive.writestr(info.filename, whole.read(info))
        with archive.open("archive/data/1", "w", force_zip64=True) as out:
            for _ in range(100):
                out.write(bytes(10_000_000))
    with case(__file__, refused="compressed"):
        read_state_dict(path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_spoiled_encoder_folders(tiny_folder: Path, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_folder, folder)
    whole = (folder / file).read_bytes()
    value = json.loads(whole)

    @fuzz(120 if file == "config.json" else 40)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            content = json.dumps(spoil_value(data.draw, value)).encode()
        else:
            content = spoil_bytes(data.draw, whole)
        (folder / file).write_bytes(content)
        with case(__file__):
            load_encoder(str(folder), device="cpu", precision="fp32")

    run()


@fuzz(100)
@given(
    st.sampled_from(["depth", "embed_dim", "img_size", "patch_size", "num_heads", "timm", "x"]),
    st.sampled_from([0, -1, 1, 3, 10**6, 10**9, 10**12, 1e308, 0.5, "x", None, [7, 7], {}]),
    st.sampled_from(["vision", "text"]),
    st.sampled_from(["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads"]),
)
def test_architectures_that_no_model_has(
    tiny_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    key: str,
    value: Any,
    tower: str,
    text_key: str,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "architecture"
    if not folder.exists():
        shutil.copytree(tiny_folder, folder)
    card = json.loads((tiny_folder / "config.json").read_text())
    card[tower][key if tower == "vision" else text_key] = value
    (folder / "config.json").write_text(json.dumps(card))
    with case(__file__):
        encoder = load_encoder(str(folder), device="cpu", precision="fp32")
        assert encoder.encode(texts=["a mug"]).shape == (1, encoder.info.dim)


def test_cards_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a":' * 100_000)
    with case(__file__, refused="cannot be read"):
        read_card(tmp_path)
