"""CLIP through open_clip; image and text are composed by a weighted sum of their unit vectors."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer
from open_clip.transform import PreprocessCfg
from open_clip.transformer import ResidualAttentionBlock
from PIL import Image
from torch import nn

from mmrag.encoders.attention import QuickSelfAttention
from mmrag.encoders.checkpoints import (
    load_into,
    read_card,
    read_state_dict,
    write_card,
    write_safetensors,
)
from mmrag.encoders.clip_files import ClipFiles
from mmrag.encoders.clip_sources import CONFIG_FILE, ClipSource, read_config, refuse_code
from mmrag.encoders.fusion import check_fusion, fuse
from mmrag.encoders.model import Ability
from mmrag.errors import CheckpointError, MmragError
from mmrag.images.decode import Pixels
from mmrag.images.resize import fit
from mmrag.system.durable import put_through, write_file
from mmrag.system.hub import offline

if TYPE_CHECKING:
    from mmrag.encoders.checkpoints import StateDict

logger = logging.getLogger("mmrag")
# What open_clip's files hold besides the model's own weights.
_SPARE = frozenset(
    {
        "context_length",
        "input_resolution",
        "vocab_size",
        "text.transformer.embeddings.position_ids",
    }
)


# Mode and filter of `resize_and_crop`.
_SQUARE = ("shortest", "bicubic")


class CLIPModel(nn.Module):
    """Wraps an open_clip model.

    Args:
        clip: what `open_clip.create_model` returns.
        tokenizer: what `open_clip.get_tokenizer` returns.
        image_weight: w in `w * image + (1 - w) * text`, from 0 (text alone) to 1 (image alone).
        architecture: open_clip's own model configuration.
        fusion: one of `fusion.FUSIONS`.
    """

    abilities: frozenset[Ability] = frozenset({"specialise", "int8", "compile", "train", "graph"})
    folder_class = "clip"

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: SimpleTokenizer | HFTokenizer,
        image_weight: float,
        architecture: Mapping[str, Any],
        fusion: str = "sum-unit",
    ) -> None:
        super().__init__()
        check_fusion(fusion, image_weight)
        self.clip = clip
        self.tokenizer = tokenizer
        self.image_weight = image_weight
        self.fusion = fusion
        self.architecture = dict(architecture)
        self.dim = int(architecture["embed_dim"])
        self.preprocess_cfg = PreprocessCfg(**open_clip.get_model_preprocess_cfg(clip))
        size = self.preprocess_cfg.size
        self._height: int
        self._width: int
        self._height, self._width = (size, size) if isinstance(size, int) else size
        self.image_size = max(self._height, self._width)
        cfg = self.preprocess_cfg
        if self._height == self._width and (cfg.resize_mode, cfg.interpolation) == _SQUARE:
            self.abilities = self.abilities | {"square"}
        mean, std = torch.tensor(self.preprocess_cfg.mean), torch.tensor(self.preprocess_cfg.std)
        self.register_buffer("_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", std.view(1, 3, 1, 1), persistent=False)
        self._warned = False

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image to (height, width, 3) uint8, as the model's own preprocessing does."""
        cfg = self.preprocess_cfg
        linear = cfg.interpolation == "bilinear"
        resample = Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC
        size = self._height, self._width
        return fit(image, size, cfg.resize_mode, resample, cfg.fill_color)

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """Embed n inputs of one kind; see `EmbeddingModel.embed`. Returns (n, dim)."""
        return self.embed_tokens(pixels, *self.tokens(pixels, texts))

    def room(self, pixels: torch.Tensor | None) -> int:
        """The tokens of any text, as short ones are padded."""
        return self.tokenizer.context_length or DEFAULT_CONTEXT_LENGTH

    def tokens(
        self, pixels: torch.Tensor | None, texts: Sequence[str] | None
    ) -> tuple[torch.Tensor, None]:
        """See `GraphModel`; (n, 0) for pictures without words."""
        if texts is None:
            assert pixels is not None
            ids = torch.empty(len(pixels), 0, dtype=torch.long)
        else:
            self._warn_of_long(texts)
            ids = self.tokenizer(list(texts))
        return ids.to(next(self.clip.parameters()).device, non_blocking=True), None

    def embed_tokens(
        self, pixels: torch.Tensor | None, ids: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """See `GraphModel`; a text tower finds the end of a text by itself."""
        images = None if pixels is None else self._embed_images(pixels)
        if images is not None and not ids.shape[1]:
            return images
        words: torch.Tensor = self.clip.encode_text(ids)  # type: ignore[operator]
        return words if images is None else fuse(images, words, self.fusion, self.image_weight)

    def specialise(self, fused: bool) -> None:
        """Replace layers with quicker ones that cannot be trained; see `attend` for `fused`."""
        for block in self.clip.modules():
            attention = getattr(block, "attn", None)
            if (
                isinstance(block, ResidualAttentionBlock)
                and isinstance(attention, nn.MultiheadAttention)
                and attention.batch_first
                and not hasattr(block, "ln_1_kv")
            ):
                block.attn = QuickSelfAttention(attention, fused)

    def compile_images(self, n: int) -> None:
        """As `VisualizedBGE.compile_images`."""
        from mmrag.encoders.compiled import compiled_for

        visual: Any = self.clip.visual
        visual.forward = compiled_for((n, 3, self._height, self._width), visual.forward)

    def _embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = next(self.clip.parameters())
        scaled = pixels.to(weight.device).permute(0, 3, 1, 2).float() / 255
        normed = (scaled - self.get_buffer("_mean").float()) / self.get_buffer("_std").float()
        encoded: torch.Tensor = self.clip.encode_image(normed.to(weight.dtype))  # type: ignore[operator]
        return encoded

    def _warn_of_long(self, texts: Sequence[str]) -> None:
        if not self._warned and any(self._is_too_long(text) for text in texts):
            logger.warning(
                "A text is longer than CLIP's %d tokens and is cut off (said once).",
                self.tokenizer.context_length,
            )
            self._warned = True

    def _is_too_long(self, text: str) -> bool:
        room = (self.tokenizer.context_length or 0) - 2
        # A token has at least one character, so most texts need not be tokenised twice.
        if len(text) <= room:
            return False
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None:
            return len(inner(text, add_special_tokens=False)["input_ids"]) > room
        return len(self.tokenizer.encode(text)) > room


def load_source(
    source: ClipSource, files: ClipFiles, image_weight: float, fusion: str = "sum-unit"
) -> CLIPModel:
    """The model that a name stands for, from local files only.

    Raises:
        CheckpointError: a file is damaged, or not the one that belongs here.
    """
    architecture = copy.deepcopy(dict(source.model_cfg))
    model_cfg = copy.deepcopy(architecture)
    if files.text_model:
        model_cfg["text_cfg"]["hf_model_name"] = str(files.text_model)
    try:
        with offline():
            clip = _build(model_cfg, source.preprocess_cfg)
            tokenizer = _tokenizer(architecture, files.tokenizer)
        model = CLIPModel(clip, tokenizer, image_weight, architecture, fusion)
    except MmragError:
        raise
    # An invalid configuration or tokenizer fails in many ways.
    except Exception as error:
        where = f" Its tokenizer is in {files.tokenizer}." if files.tokenizer else ""
        raise CheckpointError(f"{source.what} cannot be built: {error}.{where}") from error
    state = as_open_clip(clip, read_state_dict(files.weights))
    load_into(clip, state, str(files.weights), spare=_SPARE)
    return model


def as_open_clip(clip: nn.Module, state: StateDict) -> StateDict:
    """The weights under open_clip's present names, as its `load_checkpoint` changes old ones."""
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    own = clip.state_dict()
    state = convert_state_dict(clip, state)
    if "positional_embedding" in state and "positional_embedding" not in own:
        state = convert_to_custom_text_state_dict(state)
    for scalar in {"logit_scale", "logit_bias"} & state.keys() & own.keys():
        if state[scalar].numel() == 1:
            state[scalar] = state[scalar].reshape(own[scalar].shape)
    return state


def load_folder(
    folder: Path, image_weight: float | None = None, fusion: str | None = None
) -> CLIPModel:
    """The model that `save_folder` wrote; arguments that are None stay as saved."""
    try:
        card = read_card(folder)
        weight = card["image_weight"] if image_weight is None else image_weight
        model = _from_folder(folder, weight, fusion or card.get("fusion", "sum-unit"))
    except MmragError:
        raise
    # An invalid configuration or tokenizer fails in many ways.
    except Exception as error:
        raise CheckpointError(f"{folder} is not an encoder of this project: {error}") from error
    load_into(model.clip, read_state_dict(folder / "model.safetensors"), str(folder))
    return model


def save_folder(model: CLIPModel, folder: Path, card: Mapping[str, Any]) -> None:
    """Write open_clip's own folder format, and `config.json` with `card` and the image weight."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(model.tokenizer, "save_pretrained"):
        model.tokenizer.save_pretrained(str(folder))
    _write_config(folder, model.architecture, vars(model.preprocess_cfg))
    write_safetensors(model.clip, folder / "model.safetensors")
    put_through(folder)
    how = {"image_weight": model.image_weight, "fusion": model.fusion}
    write_card(folder, {"class": "clip", **how, **card})


def create(config: Mapping[str, Any], texts: Iterable[str], seed: int = 0) -> CLIPModel:
    """A CLIP with fresh weights and a vocabulary of the words in `texts`.

    Args:
        config: `model_cfg` in open_clip's format and `vocab_size`.
        texts: a corpus of the domain, for the vocabulary.
        seed: of the weights.
    """
    from mmrag.encoders.visualized_bge_files import make_tokenizer

    tokenizer = make_tokenizer(texts, int(config.get("vocab_size", 4000)))
    text_cfg = {
        **config["model_cfg"]["text_cfg"],
        "vocab_size": len(tokenizer),
        "pool_type": "eos",
        "eos_id": tokenizer.sep_token_id,
        "pad_id": tokenizer.pad_token_id,
        # Any name makes open_clip use the tokenizer in the folder.
        "hf_tokenizer_name": "local",
    }
    architecture = {**config["model_cfg"], "text_cfg": text_cfg}
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # open_clip takes a custom tokenizer from a folder only.
        tokenizer.save_pretrained(scratch)
        size = architecture["vision_cfg"]["image_size"]
        _write_config(Path(scratch), architecture, {"size": size})
        return _from_folder(Path(scratch), float(config.get("image_weight", 0.5)))


def preprocessing(model: CLIPModel) -> dict[str, Any]:
    """Everything besides the weights that decides the vectors; part of the fingerprint."""
    inner = getattr(model.tokenizer, "tokenizer", None)
    return {
        "class": "clip",
        "tokenizer": sorted(inner.get_vocab().items()) if inner is not None else None,
        "image": vars(model.preprocess_cfg),
        "image_weight": model.image_weight,
        "precision": "float",
        "architecture": model.architecture,
        # Left out if it is the one way there was before there was a choice.
        **({} if model.fusion == "sum-unit" else {"fusion": model.fusion}),
    }


def _from_folder(folder: Path, image_weight: float, fusion: str = "sum-unit") -> CLIPModel:
    """The architecture and tokenizer of a folder in open_clip's format, with random weights."""
    config = read_config(folder / CONFIG_FILE)
    architecture = config["model_cfg"]
    refuse_code(architecture, folder)
    with offline():
        clip = _build(copy.deepcopy(architecture), config.get("preprocess_cfg") or {})
        tokenizer = _tokenizer(architecture, folder)
    return CLIPModel(clip, tokenizer, image_weight, architecture, fusion)


def _build(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]) -> nn.Module:
    """open_clip's model with random weights, through its own folder format."""
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        _write_config(Path(scratch), model_cfg, preprocess_cfg)
        made: nn.Module = open_clip.create_model(
            f"local-dir:{scratch}", load_weights=False, pretrained_text=False
        )
    return made


def _tokenizer(model_cfg: Mapping[str, Any], folder: Path | None) -> SimpleTokenizer | HFTokenizer:
    """The tokenizer as `open_clip.get_tokenizer` makes it; `folder` holds one of transformers'."""
    text = model_cfg["text_cfg"]
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    more = text.get("tokenizer_kwargs", {})
    if not text.get("hf_tokenizer_name"):
        return SimpleTokenizer(context_length=length, **more)
    mode = text.get("tokenizer_mode")
    return HFTokenizer(str(folder), context_length=length, tokenizer_mode=mode, **more)


def settings(model: CLIPModel) -> dict[str, Any]:
    """How the model sees pictures and composes, for people, as plain JSON values."""
    how = {**vars(model.preprocess_cfg), "quick_gelu": bool(model.architecture.get("quick_gelu"))}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in how.items()}
    return {**plain, "composition": f"fusion {model.fusion}", "image_weight": model.image_weight}


def _write_config(
    folder: Path, architecture: Mapping[str, Any], preprocess: Mapping[str, Any]
) -> None:
    config = {"model_cfg": architecture, "preprocess_cfg": preprocess}
    write_file(folder / CONFIG_FILE, json.dumps(config, indent=1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip's warning about random weights: real ones are loaded right afterwards."""
    root = logging.getLogger()

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return "initialized randomly" not in message and "no CLIP weights found" not in message

    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)
