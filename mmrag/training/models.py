"""The model to train: an existing encoder's, or one with fresh weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag.encoders import load_encoder
from mmrag.encoders.encoder import EncoderInfo
from mmrag.encoders.folders import class_files
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.system.text_files import read_text

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class EncoderFiles:
    """A `TrainableModel` in float32, with the description in its folder."""

    model: Any
    card: dict[str, Any]

    def info(self) -> EncoderInfo:
        """Enough for an `Encoder` that measures the model during training."""
        model = self.model
        return EncoderInfo("", model.dim, model.image_size, "", "", "", "", "fp32", 0)

    def save(self, out: Path) -> None:
        """Write the folder that `load_encoder` takes."""
        card = {"dim": self.model.dim, "image_size": self.model.image_size, **self.card}
        class_files(self.model.folder_class).save_folder(self.model, out, card)


def open_model(
    encoder: str,
    eval_set: EvalSet,
    seed: int,
    checkpoint: str | None = None,
    text_model: str | None = None,
) -> EncoderFiles:
    """Open the model of `encoder`, ready for training.

    Args:
        encoder: as `load_encoder` takes it, or `new:CONFIGURATION`.
        eval_set: the vocabulary of a new model is learned from its texts.
        seed: of a new model's weights.
        checkpoint: as `load_encoder` takes it.
        text_model: as `load_encoder` takes it.
    """
    if encoder.startswith("new:"):
        return _new(encoder.removeprefix("new:"), eval_set, seed)
    loaded = load_encoder(
        encoder, checkpoint=checkpoint, text_model=text_model, device="cpu", precision="fp32"
    )
    card = {
        "licence": loaded.info.licence,
        "source": f"{loaded.info.source}, fine-tuned on {eval_set.name}",
    }
    model: Any = loaded.model
    if "train" not in model.abilities:
        raise MmragError(f"The encoder {encoder!r} cannot be trained here.")
    model.requires_grad_(True)
    return EncoderFiles(model, card)


def _new(name: str, eval_set: EvalSet, seed: int) -> EncoderFiles:
    path = Path(name) if name.endswith(".json") else CONFIGS / f"{name}.json"
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        shipped = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.json")))
        raise MmragError(
            f"No configuration new:{name}; use one of {shipped}, or the path of a JSON file."
        ) from error
    card = {"licence": "Apache-2.0", "source": f"trained from nothing on {eval_set.name}"}
    texts = list(_texts(eval_set))
    files = class_files(str(config.get("class", "visualized-bge")))
    try:
        model = files.create(config, texts, seed)
    except (KeyError, TypeError, ValueError) as error:
        raise MmragError(f"{path} is not a usable configuration: {error}") from error
    return EncoderFiles(model, card)


def _texts(eval_set: EvalSet) -> Iterable[str]:
    for query in eval_set.queries:
        yield from filter(None, [query.text, *query.paraphrases])
    for image in eval_set.images:
        if image.text:
            yield image.text
