"""The model that is trained: an existing encoder's, or one with fresh weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag.encoders import load_encoder
from mmrag.encoders.encoder import EncoderInfo
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet

if TYPE_CHECKING:
    from mmrag.encoders.clip import CLIPModel
    from mmrag.encoders.visualized_bge import VisualizedBGE

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class EncoderFiles:
    """A model in float32, and how to write it."""

    model: VisualizedBGE | CLIPModel
    card: dict[str, Any]
    write: Callable[[Any, Path, dict[str, Any]], None]

    def info(self) -> EncoderInfo:
        """Enough for an `Encoder` that measures the model while it is trained."""
        model = self.model
        return EncoderInfo("", model.dim, model.image_size, "", "", "", "", "fp32", 0)

    def save(self, out: Path) -> None:
        """Write the folder that `load_encoder` takes."""
        card = {"dim": self.model.dim, "image_size": self.model.image_size, **self.card}
        self.write(self.model, out, card)


def open_model(
    encoder: str,
    eval_set: EvalSet,
    seed: int,
    checkpoint: str | None = None,
    text_model: str | None = None,
) -> EncoderFiles:
    """The model of `encoder`, ready to be trained.

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
    model.requires_grad_(True)
    return EncoderFiles(model, card, _writer("clip" if hasattr(model, "clip") else ""))


def _new(name: str, eval_set: EvalSet, seed: int) -> EncoderFiles:
    path = Path(name) if name.endswith(".json") else CONFIGS / f"{name}.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        shipped = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.json")))
        raise MmragError(
            f"No configuration new:{name}; use one of {shipped}, or the path of a JSON file."
        ) from error
    card = {"licence": "Apache-2.0", "source": f"trained from nothing on {eval_set.name}"}
    texts = list(_texts(eval_set))
    try:
        if config.get("class") == "clip":
            from mmrag.encoders import clip

            model: Any = clip.create(config, texts, seed)
        else:
            from mmrag.encoders import visualized_bge_files

            model = visualized_bge_files.create(config, texts, seed)
    except (KeyError, TypeError, ValueError) as error:
        raise MmragError(f"{path} is not a usable configuration: {error}") from error
    return EncoderFiles(model, card, _writer(str(config.get("class"))))


def _writer(kind: str) -> Callable[[Any, Path, dict[str, Any]], None]:
    if kind == "clip":
        from mmrag.encoders import clip

        return clip.save_folder
    from mmrag.encoders import visualized_bge_files

    return visualized_bge_files.save_folder


def _texts(eval_set: EvalSet) -> Iterable[str]:
    for query in eval_set.queries:
        yield from filter(None, [query.text, *query.paraphrases])
    for image in eval_set.images:
        if image.text:
            yield image.text
