"""CLIP through open_clip; image and text are composed by a weighted sum of their unit vectors."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from open_clip.transformer import ResidualAttentionBlock
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mmrag import config as settings
from mmrag.encoders.attention import QuickSelfAttention
from mmrag.encoders.checkpoints import (
    check_sizes,
    load_into,
    read_card,
    read_state_dict,
    write_card,
    write_safetensors,
)
from mmrag.encoders.encoder import Ability
from mmrag.errors import CheckpointError, MmragError
from mmrag.images.decode import Pixels
from mmrag.images.resize import fit
from mmrag.system.durable import write_file
from mmrag.system.text_files import read_text

if TYPE_CHECKING:
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

logger = logging.getLogger("mmrag")
_CONFIG_FILE = "open_clip_config.json"
_BY_HAND = "To do it by hand, get the file elsewhere and give it as checkpoint, with clip:ARCH."


class CLIPModel(nn.Module):
    """Wraps an open_clip model.

    Args:
        clip: what `open_clip.create_model` returns.
        tokenizer: what `open_clip.get_tokenizer` returns.
        image_weight: w in `w * image + (1 - w) * text`, from 0 (text alone) to 1 (image alone).
        architecture: open_clip's own model configuration.
    """

    abilities: frozenset[Ability] = frozenset({"specialise", "int8", "compile", "train"})
    folder_class = "clip"

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: SimpleTokenizer | HFTokenizer,
        image_weight: float,
        architecture: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if not 0 <= image_weight <= 1:
            raise MmragError(f"image_weight must be between 0 and 1, not {image_weight}.")
        self.clip = clip
        self.tokenizer = tokenizer
        self.image_weight = image_weight
        self.architecture = dict(architecture)
        self.dim = int(architecture["embed_dim"])
        self.preprocess_cfg = PreprocessCfg(**open_clip.get_model_preprocess_cfg(clip))
        size = self.preprocess_cfg.size
        self._height: int
        self._width: int
        self._height, self._width = (size, size) if isinstance(size, int) else size
        self.image_size = max(self._height, self._width)
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
        images = None if pixels is None else self._embed_images(pixels)
        words = None if texts is None else self._embed_texts(texts)
        if images is None:
            assert words is not None
            return words
        if words is None:
            return images
        unit = F.normalize(images.float(), dim=-1), F.normalize(words.float(), dim=-1)
        return self.image_weight * unit[0] + (1 - self.image_weight) * unit[1]

    def specialise(self, fused: bool) -> None:
        """Make it quicker in ways that cannot be trained any more; see `attend` for `fused`."""
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

    def _embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        if not self._warned and any(self._is_too_long(text) for text in texts):
            logger.warning(
                "A text is longer than CLIP's %d tokens and is cut. Said once.",
                self.tokenizer.context_length,
            )
            self._warned = True
        tokens = self.tokenizer(list(texts)).to(next(self.clip.parameters()).device)
        encoded: torch.Tensor = self.clip.encode_text(tokens)  # type: ignore[operator]
        return encoded

    def _is_too_long(self, text: str) -> bool:
        room = (self.tokenizer.context_length or 0) - 2
        # A token is at least one character, so most texts need not be tokenised twice.
        if len(text) <= room:
            return False
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None:
            return len(inner(text, add_special_tokens=False)["input_ids"]) > room
        return len(self.tokenizer.encode(text)) > room


def split_name(name: str) -> tuple[str, str | None]:
    """`clip:ARCH/PRETRAINED` as (ARCH, PRETRAINED), the second None for `clip:ARCH` alone."""
    arch = name.removeprefix("clip:")
    if Path(arch).is_file() or "/" not in arch:
        return arch, None
    arch, pretrained = arch.rsplit("/", 1)
    return arch, pretrained


def load_open_clip(
    arch: str, pretrained: str | None, checkpoint: str | None, image_weight: float
) -> CLIPModel:
    """A CLIP by architecture.

    Args:
        arch: a name that open_clip knows, or the path of a configuration file in its format.
        pretrained: a tag that open_clip knows for `arch`; its weights are downloaded if needed.
        checkpoint: a local file instead.
        image_weight: see `CLIPModel`.
    """
    if Path(arch).suffix == ".json" and Path(arch).is_file():
        _check_config_file(Path(arch))
        open_clip.add_model_config(Path(arch))
        arch = Path(arch).stem
    config = open_clip.get_model_config(arch)
    if config is None:
        raise MmragError(
            f"open_clip knows no architecture {arch!r}; "
            "`python -c 'import open_clip; print(open_clip.list_models())'` lists them."
        )
    _refuse_code(config, arch)
    extra: dict[str, Any] = {}
    if checkpoint is None:
        checkpoint, extra = fetch_published(arch, pretrained)
    with _quiet():
        clip = open_clip.create_model(arch, load_weights=False, pretrained_text=False, **extra)
    state = read_state_dict(checkpoint)
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    load_into(clip, state, str(checkpoint))
    if extra.get("force_quick_gelu"):
        config["quick_gelu"] = True
    return CLIPModel(clip, open_clip.get_tokenizer(arch), image_weight, config)


def load_folder(folder: Path, image_weight: float | None = None) -> CLIPModel:
    """The model that `save_folder` wrote; `image_weight` None takes the one it was saved with."""
    try:
        card = read_card(folder)
        weight = card["image_weight"] if image_weight is None else image_weight
        model = _from_folder(folder, weight)
    except MmragError:
        raise
    # Nonsense in a configuration or a tokenizer fails in many ways.
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
    write_card(folder, {"class": "clip", "image_weight": model.image_weight, **card})


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
        # Any name makes open_clip use the tokenizer that lies in the folder.
        "hf_tokenizer_name": "local",
    }
    architecture = {**config["model_cfg"], "text_cfg": text_cfg}
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # open_clip takes a tokenizer of one's own from a folder only.
        tokenizer.save_pretrained(scratch)
        size = architecture["vision_cfg"]["image_size"]
        _write_config(Path(scratch), architecture, {"size": size})
        return _from_folder(Path(scratch), float(config.get("image_weight", 0.5)))


def preprocessing(model: CLIPModel) -> dict[str, Any]:
    """What, beside the weights, decides the vectors; part of the fingerprint."""
    inner = getattr(model.tokenizer, "tokenizer", None)
    return {
        "class": "clip",
        "tokenizer": sorted(inner.get_vocab().items()) if inner is not None else None,
        "image": vars(model.preprocess_cfg),
        "image_weight": model.image_weight,
        "precision": "float",
        "architecture": model.architecture,
    }


def _from_folder(folder: Path, image_weight: float) -> CLIPModel:
    """The architecture and tokenizer of a folder in open_clip's format, with random weights."""
    name = f"local-dir:{folder}"
    config = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
    _refuse_code(config["model_cfg"], folder)
    with _quiet():
        clip = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    return CLIPModel(clip, open_clip.get_tokenizer(name), image_weight, config["model_cfg"])


def _check_config_file(path: Path) -> None:
    try:
        config = json.loads(read_text(path))
        if not all(isinstance(config[key], dict) for key in ("vision_cfg", "text_cfg")):
            raise ValueError("vision_cfg and text_cfg must be objects")
        int(config["embed_dim"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no configuration of open_clip: {error}.") from error


def _refuse_code(model_cfg: Mapping[str, Any], where: object) -> None:
    """A configuration must not switch on the tokenizer's loading of Python files."""
    if "trust_remote_code" in json.dumps(model_cfg):
        raise CheckpointError(f"{where} asks to run code of its own (trust_remote_code): refused.")
    check_sizes(model_cfg, where)


def _write_config(
    folder: Path, architecture: Mapping[str, Any], preprocess: Mapping[str, Any]
) -> None:
    config = {"model_cfg": architecture, "preprocess_cfg": preprocess}
    write_file(folder / _CONFIG_FILE, json.dumps(config, indent=1))


def fetch_published(
    arch: str,
    pretrained: str | None,
    progress: Callable[..., Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """The file of published weights, fetched if needed, and what they ask of the architecture.

    Args:
        arch: a name that open_clip knows.
        pretrained: a tag that open_clip knows for `arch`.
        progress: `tqdm` or something with its interface.

    Raises:
        MmragError: no such weights; names those that are published.
        CheckpointError: they cannot be fetched.
    """
    from mmrag.system.hub import download_file

    cache = settings.weights_dir() / "clip"
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if pretrained not in tags:
        wanted = f"has no weights {pretrained!r}" if pretrained else "was given no weights"
        raise MmragError(
            f"clip:{arch} {wanted}; name them as clip:{arch}/PRETRAINED "
            f"({', '.join(tags) or 'none are published'}) or give a checkpoint file."
        )
    known = open_clip.get_pretrained_cfg(arch, pretrained)
    extra = {
        "force_quick_gelu": bool(known.get("quick_gelu")),
        "force_preprocess_cfg": {
            key: known[key]
            for key in ("mean", "std", "interpolation", "resize_mode")
            if key in known
        },
    }
    hub = known.get("hf_hub", "")
    if hub:
        repository, _, file = hub.rpartition("/")
        file = file or "open_clip_model.safetensors"
        try:
            return str(download_file(repository, file, cache / repository / file, progress)), extra
        except CheckpointError as error:
            raise CheckpointError(f"{error} {_BY_HAND}") from error
    try:
        return str(open_clip.download_pretrained(known, cache_dir=str(cache))), extra
    # Network and checksum failures arrive as many types.
    except Exception as error:
        raise CheckpointError(
            f"The weights of clip:{arch}/{pretrained} cannot be fetched "
            f"({type(error).__name__}). {_BY_HAND}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warning about random weights: they are loaded right afterwards."""
    root = logging.getLogger()

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return "initialized randomly" not in message and "no CLIP weights found" not in message

    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)
