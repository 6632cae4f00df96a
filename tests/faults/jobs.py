"""What the fault tests run in processes of their own, to be killed there.

A fork server imports this once, so that a process is at work some 50 ms after it was started.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip  # noqa: F401  (imported before the fork)
import pymilvus  # noqa: F401
import timm  # noqa: F401
import torch
import transformers  # noqa: F401
from PIL import Image

from mmrag import EvalSet, ImageIndex, RunStore, Searcher, evaluate, index_eval_set, open_gallery
from mmrag.encoders import download_encoder
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.evaluation.ablations import Ablations
from mmrag.index import replace
from mmrag.index import update as indexing
from mmrag.index.kinds import BuildOptions
from mmrag.index.update import IndexReport
from mmrag.runs.run import Run
from mmrag.training.train import TrainingReport, TrainingSettings, train

DIM, SIDE = 16, 16
TRAINING = TrainingSettings(steps=12, batch_size=4, device="cpu", precision="fp32")


class Colours:
    """A model of whole numbers: its vectors are the same bits in batches of any size."""

    dim = DIM
    image_size = SIDE
    abilities: frozenset[str] = frozenset()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        rng = np.random.default_rng(0)
        self.weights = torch.from_numpy(rng.integers(-8, 9, (SIDE * SIDE * 3, DIM))).float()
        self.batches: list[int] = []

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((SIDE, SIDE)))

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """Takes `seconds`, so that a kill meets it at work."""
        time.sleep(self.seconds)
        n = len(pixels) if pixels is not None else len(texts or ())
        self.batches.append(n)
        made = torch.ones(n, DIM)
        if pixels is not None:
            made += pixels.reshape(n, -1).float() @ self.weights
        for row, text in zip(made, texts or (), strict=False):
            row += torch.tensor(list(hashlib.sha256(text.encode()).digest()[:DIM])) * 1000.0
        return made

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        return iter(())


def encoder(seconds: float = 0.0, device: str = "cpu") -> Encoder:
    """An encoder that any process makes in no time; each batch takes `seconds`."""
    info = EncoderInfo("colours", DIM, SIDE, "colours1", "", "", device, "fp32", 0)
    return Encoder(Colours(seconds), info)


def index_pictures(
    folder: Path, uri: str, collection: str, seconds: float = 0.0, anew: bool = False
) -> IndexReport:
    """Small writes, so that there is something between nothing and everything."""
    indexing._WRITE_ROWS = 4
    replace.GRACE_SECONDS = 0.0
    made = encoder(seconds)
    with ImageIndex.open(uri, collection, made) as index:
        return index.add(
            open_gallery(folder), batch_size=2, build=BuildOptions(replace=anew, prune=True)
        )


def evaluate_set(folder: Path, uri: str, runs: str, seconds: float = 0.0) -> Run:
    labelled, made = EvalSet.load(folder), encoder(seconds)
    index, _ = index_eval_set(labelled, made, uri)
    with index, RunStore(runs) as store:
        return evaluate(
            labelled,
            Searcher(index, made),
            10,
            store=store,
            batch_size=4,
            ablations=Ablations(modality=True),
        )


def train_encoder(folder: Path, config: Path, out: Path) -> TrainingReport:
    """Its state is saved after every step."""
    torch.set_num_threads(1)
    labelled = EvalSet.load(folder)
    return train(labelled, f"new:{config}", out, TRAINING, checkpoint_seconds=0.0)


def download(home: Path, hub: str) -> list[Path]:
    os.environ["MMRAG_HOME"] = str(home)
    constants = huggingface_hub.constants
    constants.ENDPOINT = hub
    constants.HUGGINGFACE_CO_URL_TEMPLATE = hub + "/{repo_id}/resolve/{revision}/{filename}"
    return download_encoder("visualized-bge-base", prove=False)
