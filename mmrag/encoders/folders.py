"""Encoders in folders: those that ship with mmrag, and those that `train` wrote.

A folder's `config.json` names the class of its model; `CLASSES` says which module reads it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrag.encoders.checkpoints import read_card
from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.errors import MmragError

USAGE = "a folder that `mmrag train` wrote"
OPTIONS: frozenset[str] = frozenset({"image_weight", "fusion"})
SHIPPED_DIR = Path(__file__).parent / "shipped"
# Each module defines load_folder, save_folder, create (fresh weights) and preprocessing.
CLASSES = {
    "visualized-bge": "mmrag.encoders.visualized_bge_files",
    "clip": "mmrag.encoders.clip",
}


def takes(name: str) -> bool:
    """Whether the name is a shipped encoder or the path of a folder with one."""
    return (folder_of(name) / "config.json").is_file()


def is_shipped(name: str) -> bool:
    """Whether the name is a shipped encoder's, whatever folders exist."""
    return "/" not in name and (SHIPPED_DIR / name / "config.json").is_file()


def describe(search: str | None = None) -> list[EncoderDescription]:
    """The shipped ones."""
    return [_describe(file.parent) for file in sorted(SHIPPED_DIR.glob("*/config.json"))]


def load(name: str, options: LoadOptions) -> LoadedModel:
    """Load it as written; `options` override a CLIP's own composition."""
    folder = folder_of(name)
    card = read_card(folder)
    kind = str(card.get("class", "visualized-bge"))
    files = class_files(kind)
    more = {option: getattr(options, option) for option in options.given()}
    if more and kind != "clip":
        raise MmragError(
            f"The encoder {name!r} composes by itself; leave --image-weight and --fusion out."
        )
    model = files.load_folder(folder, **more)
    licence, source = str(card.get("licence", "unknown")), str(card.get("source", folder))
    # A CLIP's saved composition: pictures alone do not depend on it.
    fusion = card.get("fusion", "sum-unit")
    saved = {
        "image_weight": card.get("image_weight"),
        "fusion": None if fusion == "sum-unit" else fusion,
    }
    defaults = saved if kind == "clip" else {}
    return LoadedModel(model, licence, source, files.preprocessing(model), defaults=defaults)


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch nothing: it is here."""
    raise MmragError(f"Nothing to download for {name!r}: it is here.")


def class_files(name: str) -> Any:
    """The module that reads and writes folders of a class.

    Raises:
        MmragError: no such class.
    """
    if name not in CLASSES:
        raise MmragError(f"Unknown class of encoder {name!r}; use {' or '.join(CLASSES)}.")
    return importlib.import_module(CLASSES[name])


def folder_of(name: str) -> Path:
    """The folder of a shipped encoder, or of one named by its path."""
    return SHIPPED_DIR / name if is_shipped(name) else Path(name)


def _describe(folder: Path) -> EncoderDescription:
    card = read_card(folder)
    return EncoderDescription(
        folder.name,
        int(card["dim"]),
        int(card["image_size"]),
        True,
        str(card["licence"]),
        str(card["source"]),
        "ships with mmrag",
    )
