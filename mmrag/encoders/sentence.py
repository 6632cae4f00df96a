"""Models of sentence-transformers, which take pictures of any shape, texts, or both."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules.transformer import Transformer
from torch import nn
from transformers import ProcessorMixin
from transformers.utils import logging as noise

from mmrag.encoders.any_shape import AnyShape
from mmrag.encoders.fusion import check_fusion, fuse
from mmrag.encoders.model import Ability
from mmrag.errors import CheckpointError, MmragError
from mmrag.images.decode import Pixels
from mmrag.system.hub import offline

# Checkpoint keys that later versions of transformers compute instead of reading.
_SPARE = re.compile(r"(^|\.)(position_ids|inv_freq)$")
_UNREAD = re.compile(_SPARE.pattern + r"|^lm_head\.")

Wrapped = TypeVar("Wrapped", bound=BaseModel)


@dataclass(frozen=True)
class SentenceOptions:
    """The settings that shape the vectors besides the weights.

    Args:
        fusion: one of `fusion.FUSIONS`, for models that take pictures and texts only separately.
        image_weight: the picture's share in it.
        query_instruction: text before every query; None is the model's own prompt.
        document_instruction: text before every picture or text of the gallery, likewise.
        dim: cut vectors to this many values, for models trained for that; None is all.
        max_picture_tokens: shrink pictures of more; None is the model's own limit.
    """

    fusion: str | None = None
    image_weight: float = 0.5
    query_instruction: str | None = None
    document_instruction: str | None = None
    dim: int | None = None
    max_picture_tokens: int | None = None


class SentenceModel(AnyShape):
    """Wraps a `SentenceTransformer`; the vectors are those of its own `encode_…` methods.

    Its own processor shrinks pictures that are too large.
    """

    def __init__(self, model: SentenceTransformer, options: SentenceOptions, name: str) -> None:
        super().__init__()
        self.model, self.options, self._name = model, options, name
        self.sees = model.supports("image")
        self.composes = model.supports(("image", "text"))
        # Several pictures go into one message: chat templates repeat the placeholder for each.
        several = self.composes and model.supports("message")
        self.abilities: frozenset[Ability] = frozenset(
            {"any-shape", "several"} if several else {"any-shape"}
        )
        if options.fusion is not None and (self.composes or not self.sees):
            raise MmragError(f"{name} does not fuse separate vectors; leave --fusion out.")
        self.fusion = options.fusion or "sum-unit"
        check_fusion(self.fusion, options.image_weight)
        full = int(model.get_embedding_dimension() or model.encode("").shape[-1])
        self.dim = options.dim or full
        if not 0 < self.dim <= full:
            raise MmragError(f"{name} has {full} dimensions; --dim must be from 1 to {full}.")
        self._side = _token_side(model) if self.sees else None
        if options.max_picture_tokens is not None and self._side is None:
            raise MmragError(f"{name} sees all pictures alike; leave --max-picture-tokens out.")

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image to (height, width, 3) uint8, shrunk if so configured."""
        if not self.sees:
            raise MmragError(
                f"{self._name} takes no pictures; index descriptions with --embed text and ask "
                "without a picture."
            )
        most = self.options.max_picture_tokens
        if most is not None and self.picture_tokens(image.height, image.width) > most:
            assert self._side is not None
            ratio = (most * self._side**2 / (image.width * image.height)) ** 0.5
            size = max(1, int(image.width * ratio)), max(1, int(image.height * ratio))
            image = image.resize(size, Image.Resampling.BICUBIC)
        return np.asarray(image)

    def picture_tokens(self, height: int, width: int) -> int:
        """Roughly how many tokens a picture becomes."""
        return 256 if self._side is None else max(1, height * width // self._side**2)

    def embed_any_shape(
        self, pictures: Sequence[Pixels] | None, texts: Sequence[str] | None, query: bool
    ) -> torch.Tensor:
        """Embed n inputs of one kind; see `EmbeddingModel`. Returns (n, dim)."""
        images = None if pictures is None else [Image.fromarray(pixels) for pixels in pictures]
        if images is None or texts is None or self.composes:
            return self._encode(images, texts, query)
        apart = self._encode(images, None, query), self._encode(None, texts, query)
        return fuse(*apart, self.fusion, self.options.image_weight)

    def embed_several(self, pictures: Sequence[Pixels], text: str | None) -> torch.Tensor:
        """One query of several pictures; see `AnyShapeModel`. Returns (1, dim)."""
        together = [[Image.fromarray(pixels) for pixels in pictures]]
        return self._encode(together, None if text is None else [text], query=True)

    def to(self, *args: Any, **kwargs: Any) -> SentenceModel:
        """As `torch.nn.Module.to`, but computed, unstored buffers keep their precision."""
        with exact_buffers(self):
            super().to(*args, **kwargs)
        return self

    def _encode(
        self,
        images: Sequence[Image.Image | list[Image.Image]] | None,
        texts: Sequence[str] | None,
        query: bool,
    ) -> torch.Tensor:
        # As dictionaries: a plain text that looks like a URL or a path would be opened.
        parts = {"image": images, "text": texts}
        named = {key: values for key, values in parts.items() if values is not None}
        inputs: list[Any] = [
            dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)
        ]
        o = self.options
        encode = self.model.encode_query if query else self.model.encode_document
        found: torch.Tensor = encode(
            inputs,
            prompt=o.query_instruction if query else o.document_instruction,
            batch_size=len(inputs),
            show_progress_bar=False,
            convert_to_tensor=True,
            truncate_dim=o.dim,
            device=str(self.model.device),
        )
        return found


def load(folder: Path, name: str, options: SentenceOptions, trust: bool) -> SentenceModel:
    """The model in a folder, in the precision it was saved in; works offline.

    Args:
        folder: as sentence-transformers or transformers wrote it.
        name: for messages.
        options: see there.
        trust: run Python code in the folder.

    Raises:
        CheckpointError: weights are absent, pickled, or not those of the model.
    """
    return SentenceModel(open_folder(SentenceTransformer, folder, name, trust), options, name)


def open_folder(
    kind: type[Wrapped],
    folder: Path,
    name: str,
    trust: bool,
    option: str = "--trust-remote-code",
) -> Wrapped:
    """Load a model of one of the library's classes; other arguments are as for `load`.

    `option` is the command-line option that grants the trust.
    """
    if not any(folder.rglob("*.safetensors")):
        raise CheckpointError(
            f"{name} has no weights in safetensors format in {folder}, and pickled ones are not "
            "loaded; ask its author for them."
        )
    try:
        with offline(), _quiet():
            model = kind(
                str(folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=trust,
                model_kwargs={"use_safetensors": True, "dtype": "auto"},
            )
            _check_names(model, folder, name)
    except MmragError:
        raise
    # Third-party files can fail in any way.
    except Exception as error:
        text = " ".join(str(error).split())
        if "trust_remote_code" in text:
            raise CheckpointError(
                f"{name} runs Python code of its own, with all rights that you have. Read it in "
                f"{folder}; then {option} allows it."
            ) from error
        raise CheckpointError(f"{name} cannot be loaded from {folder}: {text[:300]}") from error
    return model


@contextlib.contextmanager
def exact_buffers(model: nn.Module) -> Iterator[None]:
    """Keep the precision of a model's computed, unstored buffers while it is moved."""
    kept = {
        (module, name): module._buffers[name]
        for module in model.modules()
        for name in module._non_persistent_buffers_set
    }
    yield
    device = next(model.parameters()).device
    for (module, name), value in kept.items():
        module._buffers[name] = None if value is None else value.to(device)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' bars and tables: `_check_names` reports what matters in them."""
    before = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()  # type: ignore[no-untyped-call]
    noise.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        noise.set_verbosity(before[0])
        if before[1]:
            noise.enable_progress_bar()  # type: ignore[no-untyped-call]


def preprocessing(model: SentenceModel, folder: Path) -> dict[str, Any]:
    """Everything besides the weights that decides the vectors; part of the fingerprint."""
    return {"class": "sentence-transformers", "files": digests(folder), **settings(model)}


def settings(model: SentenceModel) -> dict[str, Any]:
    """The model's settings for people to read, as plain JSON values."""
    o, prompts = model.options, model.model.prompts
    fused = model.sees and not model.composes
    return {
        "composition": f"fusion {model.fusion}" if fused else "by the model",
        **({"image_weight": o.image_weight} if fused else {}),
        "query_instruction": _first(o.query_instruction, prompts.get("query")),
        "document_instruction": _first(o.document_instruction, prompts.get("document")),
        "dim": model.dim,
        "max_picture_tokens": o.max_picture_tokens,
    }


def _first(*texts: str | None) -> str:
    return next((text for text in texts if text is not None), "")


def _token_side(model: SentenceTransformer) -> int | None:
    """Pixels along the side of a token's square; None if all pictures get one size."""
    processor = model.processor
    if isinstance(processor, ProcessorMixin):
        processor = processor.image_processor
    described = processor.to_dict()
    if "merge_size" not in described:
        return None
    return int(described["patch_size"]) * int(described["merge_size"])


def _check_names(model: BaseModel, folder: Path, name: str) -> None:
    """Raise CheckpointError if weights are missing, unexpected, or of another shape.

    transformers only logs that, and leaves random weights in place.
    """
    inner = model.transformers_model
    if inner is None or not isinstance(model[0], Transformer):
        return
    again: Any = type(inner).from_pretrained(
        _weights_folder(folder), output_loading_info=True, device_map="meta"
    )
    found = again[1]
    for what in ("missing", "unexpected", "mismatched"):
        spare = _UNREAD if what == "unexpected" else _SPARE
        keys = [str(key) for key in found[f"{what}_keys"] if not spare.search(str(key))]
        if keys:
            raise CheckpointError(
                f"The weights of {name} are not those of its configuration: {what} "
                f"{', '.join(sorted(keys)[:3])}{' …' if len(keys) > 3 else ''} ({len(keys)})."
            )


def _weights_folder(folder: Path) -> Path:
    """The folder of the first module, which may be separate."""
    file = folder / "modules.json"
    first = json.loads(file.read_text(encoding="utf-8"))[0]["path"] if file.is_file() else ""
    return folder / first


def digests(folder: Path) -> dict[str, str]:
    """Hashes of all small files that affect vectors: configurations, vocabularies, templates."""
    kinds = {".json", ".txt", ".model", ".jinja", ".py"}
    files = sorted(file for file in folder.rglob("*") if file.suffix in kinds and file.is_file())
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if not file.name.endswith(".index.json")
    }
