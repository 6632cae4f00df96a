"""Sources of a `clip:` name: configuration, preprocessing, weights and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip

from mmrag import config as settings
from mmrag.encoders.checkpoints import check_sizes
from mmrag.encoders.clip_preprocess import parse_preprocess
from mmrag.encoders.licences import licence_of
from mmrag.errors import CheckpointError, MmragError
from mmrag.system.hub import MissingFileError, check_repository, download_file
from mmrag.system.text_files import read_text

CONFIG_FILE = "open_clip_config.json"
# In the order that open_clip looks for them.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class ClipSource:
    """The sources behind a name, before anything large is fetched.

    Args:
        what: its name in messages and as its source, such as `ViT-B-32, openai`.
        model_cfg: open_clip's configuration of the model.
        preprocess_cfg: the known fields of open_clip's `PreprocessCfg`; others get its defaults.
        weights: a local file, a hub file `OWNER/NAME/FILE`, or a hub repository `OWNER/NAME/`.
        tokenizer: a folder or a hub repository; None is open_clip's own.
        licence: of the weights, if known.
    """

    what: str
    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any]
    weights: Path | str
    tokenizer: Path | str | None
    licence: str


def clip_folder(repository: str = "") -> Path:
    """The folder of a hub repository."""
    return settings.weights_dir() / "clip" / repository


def split_name(name: str) -> tuple[str, str | None]:
    """`clip:ARCH/PRETRAINED` as (ARCH, PRETRAINED), the second None for `clip:ARCH` alone.

    As for open_clip, `ViT-B/32` is `ViT-B-32`.
    """
    arch = name.removeprefix("clip:")
    if Path(arch).is_file():
        return arch, None
    whole = arch.replace("/", "-")
    if "/" not in arch or open_clip.get_model_config(whole) is not None:
        return whole, None
    arch, pretrained = arch.rsplit("/", 1)
    return arch.replace("/", "-"), pretrained


def resolve(name: str, checkpoint: Path | None = None, preprocess: str | None = None) -> ClipSource:
    """The model that `name` stands for; a hub's configuration is fetched if needed.

    Args:
        name: `clip:` and any name that open_clip takes.
        checkpoint: weights to use instead of those that the name stands for.
        preprocess: see `parse_preprocess`; takes precedence over the name's.

    Raises:
        MmragError: nothing has that name, or it may be read in several ways.
        CheckpointError: its configuration is invalid, or cannot be fetched.
    """
    chosen = parse_preprocess(preprocess) if preprocess else {}
    rest = name.removeprefix("clip:")
    kind, _, where = rest.partition(":")
    if kind in _SCHEMAS and where:
        source = _SCHEMAS[kind](where)
    elif Path(rest).suffix == ".json" and Path(rest).is_file():
        source = _of_file(Path(rest), checkpoint)
    else:
        source = _of_open_clip(name, checkpoint, bool(chosen))
    refuse_code(source.model_cfg, source.what)
    return replace(
        source,
        preprocess_cfg={**source.preprocess_cfg, **chosen},
        weights=checkpoint or source.weights,
    )


def _of_hub(repository: str) -> ClipSource:
    check_repository(repository)
    folder = clip_folder(repository)
    try:
        file = download_file(repository, CONFIG_FILE, folder / CONFIG_FILE)
    except MissingFileError as error:
        raise MmragError(
            f"{repository} is no model of open_clip's: it has no {CONFIG_FILE}."
        ) from error
    config = read_config(file)
    return ClipSource(
        f"hf-hub:{repository}",
        config["model_cfg"],
        config.get("preprocess_cfg") or {},
        f"{repository}/",
        config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"),
        licence_of(repository, folder),
    )


def _of_folder(path: str) -> ClipSource:
    folder = Path(path)
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"{folder} is no folder of open_clip's: it has no {CONFIG_FILE}.")
    config = read_config(folder / CONFIG_FILE)
    found = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    named = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    return ClipSource(
        f"local-dir:{folder}",
        config["model_cfg"],
        config.get("preprocess_cfg") or {},
        found[0] if found else folder / WEIGHTS[0],
        folder if named else None,
        licence_of("", folder),
    )


_SCHEMAS: dict[str, Callable[[str], ClipSource]] = {"hf-hub": _of_hub, "local-dir": _of_folder}


def _of_file(path: Path, checkpoint: Path | None) -> ClipSource:
    if checkpoint is None:
        raise MmragError(f"clip:{path} is a configuration; give its weights with --checkpoint.")
    config = read_config(path)
    named = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    return ClipSource(
        path.stem,
        config["model_cfg"],
        config.get("preprocess_cfg") or {},
        checkpoint,
        Path(named) if named and Path(named).is_dir() else named,
        licence_of(""),
    )


def _of_open_clip(name: str, checkpoint: Path | None, chosen: bool) -> ClipSource:
    """Resolve architecture and tag, or architecture with a checkpoint."""
    arch, tag = split_name(name)
    model_cfg = open_clip.get_model_config(arch)
    if model_cfg is None:
        raise MmragError(
            f"open_clip knows no architecture {arch!r}; `mmrag encoders --search TEXT` lists what "
            "it knows."
        )
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if tag is None and checkpoint is None:
        raise MmragError(
            f"clip:{arch} was given no weights; name them as clip:{arch}/PRETRAINED "
            f"({', '.join(tags) or 'none are published'}) or give a file with --checkpoint."
        )
    if tag is None and not chosen:
        tag = _only_way(arch, tags)
    known = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    if tag and not known:
        raise MmragError(
            f"clip:{arch} has no weights {tag!r}; name them as clip:{arch}/PRETRAINED "
            f"({', '.join(tags) or 'none are published'}) or give a file with --checkpoint."
        )
    if known.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    weights = checkpoint or known.get("hf_hub")
    if not weights:
        raise MmragError(f"clip:{arch}/{tag} is on no hub; give its file with --checkpoint.")
    repository = known.get("hf_hub", "").rpartition("/")[0]
    return ClipSource(
        f"{arch}, {tag}" if tag else arch,
        model_cfg,
        {key: known[key] for key in _PREPROCESS_KEYS if key in known},
        weights,
        model_cfg["text_cfg"].get("hf_tokenizer_name"),
        licence_of(repository, clip_folder(repository) if repository else None),
    )


def _only_way(arch: str, tags: list[str]) -> str | None:
    """A tag whose configuration all published weights share; None if there are none."""
    ways: dict[str, str] = {}
    for tag in tags:
        known = open_clip.get_pretrained_cfg(arch, tag)
        way = [known.get(key) for key in _PREPROCESS_KEYS]
        ways.setdefault(json.dumps([*way, bool(known.get("quick_gelu"))]), tag)
    if len(ways) > 1:
        named = " or ".join(f"clip:{arch}/{tag}" for tag in ways.values())
        raise MmragError(
            f"Weights of {arch} are published for {len(ways)} different configurations. Name the "
            f"one that yours is of, {named}, together with --checkpoint; or give "
            "--preprocess mean=…,std=…,resize=…."
        )
    return next(iter(ways.values()), None)


def read_config(path: Path) -> dict[str, Any]:
    """open_clip's JSON with `model_cfg` and perhaps `preprocess_cfg`, or the former alone."""
    try:
        config = json.loads(read_text(path))
        config = config if "model_cfg" in config else {"model_cfg": config}
        model = config["model_cfg"]
        if not all(isinstance(model[key], dict) for key in ("vision_cfg", "text_cfg")):
            raise ValueError("vision_cfg and text_cfg must be objects")
        int(model["embed_dim"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no configuration of open_clip: {error}.") from error
    return dict(config)


def refuse_code(model_cfg: Mapping[str, Any], where: object) -> None:
    """Refuse a configuration that lets the tokenizer load Python files."""
    if "trust_remote_code" in json.dumps(model_cfg):
        raise CheckpointError(f"{where} asks to run code of its own (trust_remote_code): refused.")
    check_sizes(model_cfg, where)
