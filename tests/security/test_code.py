# ruff: noqa: PT017
"""No file that is loaded runs code of its own."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mmrag import load_encoder, load_reranker
from mmrag.errors import CheckpointError, MmragError
from mmrag.training.state import STATE_FILE, TrainingState

from ..helpers import PARITY, mmrag


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "pwned"


@pytest.fixture
def evil(tmp_path: Path, mark: Path) -> Path:
    path = tmp_path / "evil.pth"
    torch.save({"visual_proj.weight": torch.zeros(3), "x": Evil(mark)}, path)
    return path


def test_the_bait_bites_where_pickles_are_trusted(evil: Path, mark: Path) -> None:
    torch.load(evil, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    "encoder",
    [
        ("--encoder", "visualized-bge-base", "--text-model", str(PARITY / "text-model-base")),
        ("--encoder", "clip:ViT-B-32/laion2b_s34b_b79k"),
    ],
)
def test_commands_refuse_pickled_code(
    evil: Path, mark: Path, folder: Path, encoder: tuple[str, ...]
) -> None:
    done = mmrag("index", str(folder), *encoder, "--checkpoint", str(evil))
    assert done.returncode == 1
    assert "holds more than tensors (pickled code), so it is not loaded" in done.stderr
    assert "Traceback" not in done.stderr
    assert not mark.exists()


def test_an_interrupted_training_is_no_way_in(evil: Path, mark: Path, tmp_path: Path) -> None:
    shutil.copy(evil, tmp_path / STATE_FILE)
    module = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="damaged"):
        TrainingState(tmp_path, "key").load(module, torch.optim.AdamW(module.parameters()))
    assert not mark.exists()


def test_an_encoder_folder_brings_no_code(tiny_folder: Path, tmp_path: Path, mark: Path) -> None:
    """Python files beside the tokenizer, and pickled weights beside the others."""
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_folder, folder)
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Tokenizer: pass\n"
    for name in ("tokenizer.py", "tokenization.py", "modeling.py", "__init__.py"):
        (folder / name).write_text(code)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))
    card = json.loads((folder / "tokenizer_config.json").read_text())
    card["auto_map"] = {"AutoTokenizer": ["tokenizer.Tokenizer", "tokenizer.Tokenizer"]}
    card["tokenizer_class"] = "Tokenizer"
    card["trust_remote_code"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(card))
    try:
        load_encoder(str(folder), device="cpu")
    except MmragError as error:
        assert str(error)
    assert not mark.exists()


def test_a_clip_configuration_brings_no_code(tmp_path: Path) -> None:
    config = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_tokenizer_name": "x"}}
    config["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}  # type: ignore[index]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="asks to run code of its own"):
        load_encoder(f"clip:{path}", checkpoint=path)


def test_a_cross_encoder_with_pickled_code_is_refused(tmp_path: Path, mark: Path) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from mmrag.encoders.visualized_bge_files import make_tokenizer

    folder = tmp_path / "reranker"
    make_tokenizer(["a red mug"], 300).save_pretrained(str(folder))
    config = XLMRobertaConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=1,
    )  # fmt: skip
    model = XLMRobertaForSequenceClassification(config)
    model.config.save_pretrained(folder)
    torch.save({**model.state_dict(), "x": Evil(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_reranker(f"bge-reranker:{folder}")
    assert not mark.exists()


def test_a_metric_is_no_expression(mark: Path) -> None:
    from mmrag.metrics.metrics import canonical

    for name in (
        f"__import__('pathlib').Path({str(mark)!r}).touch()",
        f"nDCG(dcg=__import__('pathlib').Path({str(mark)!r}).touch())@10",
    ):
        with pytest.raises(MmragError, match="Unknown metric"):
            canonical(name)
    assert not mark.exists()
