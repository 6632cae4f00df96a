"""Encoders by name: `load_encoder(name)` loads one, `list_encoders()` describes all of them.

A new family of encoders is one file and one line in `registry.FAMILIES`; other packages add
encoders through the entry points `mmrag.encoders` (see `plugins`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.encoders import folders
from mmrag.encoders.family import EncoderDescription, LoadOptions
from mmrag.encoders.folders import SHIPPED_DIR, is_shipped
from mmrag.encoders.registry import family_of, list_encoders, usages
from mmrag.errors import MmragError
from mmrag.system.hub_client import asked_once

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder

__all__ = [
    "SHIPPED_DIR",
    "EncoderDescription",
    "default_encoder_name",
    "download_encoder",
    "list_encoders",
    "load_encoder",
    "load_for_one_query",
    "usages",
]


def default_encoder_name() -> str:
    """`MMRAG_ENCODER`, else the shipped `demo`, else the official Visualized BGE base."""
    return config.default_encoder() or ("demo" if is_shipped("demo") else "visualized-bge-base")


@asked_once()
def load_encoder(
    name: str | None = None, *, device: str = "auto", precision: str = "auto", **options: Any
) -> Encoder:
    """Load an encoder.

    Args:
        name: one that `list_encoders` lists, `clip:` and any name that open_clip knows
            (`clip:ARCH/PRETRAINED`, `clip:hf-hub:OWNER/NAME`, `clip:local-dir:PATH`, or `clip:ARCH`
            with `checkpoint`, where ARCH may also be the path of a configuration in its format), or
            a folder that `mmrag train` wrote. Default: `default_encoder_name()`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16`, `fp16` or `int8`; `auto` is bf16 if the hardware
            multiplies in bf16.
        options: fields of `family.LoadOptions`, such as `checkpoint=` and `image_weight=`; None is
            the default for each.

    Raises:
        MmragError: unknown name, device or precision, an option that is not for this encoder, or
            something the model cannot do.
        CheckpointError: weights are absent, wrong or incomplete; the message says what to do.
    """
    from mmrag.encoders.device import resolve_device

    chosen = LoadOptions(**options)
    resolve_device(device)
    name = name or default_encoder_name()
    family = family_of(name)
    unused = [option for option in chosen.given() if option not in family.OPTIONS]
    if unused:
        named = ", ".join("--" + option.replace("_", "-") for option in unused)
        raise MmragError(f"The encoder {name!r} does not take {named}; leave it out.")
    loaded = family.load(name, chosen)
    from mmrag.encoders.build import build_encoder

    encoder = build_encoder(loaded, name, device, precision)
    if loaded.known_vector:
        from mmrag.encoders.known import compare_known

        compare_known(encoder)
    return encoder


def load_for_one_query(
    name: str | None = None, *, device: str = "auto", precision: str = "auto", **options: Any
) -> Encoder:
    """`load_encoder` for a process that embeds one query and ends.

    Small encoders in folders compute on the CPU in NumPy, unless `device` or `precision` asks for
    something else: that takes less time than importing torch. Their vectors are the same.
    """
    name = name or default_encoder_name()
    plain = device in ("auto", "cpu") and precision in ("auto", "fp32")
    if plain and not LoadOptions(**options).given() and family_of(name) is folders:
        from mmrag.encoders.array_model import open_array_encoder

        encoder = open_array_encoder(folders.folder_of(name), name)
        if encoder is not None:
            return encoder
    return load_encoder(name, device=device, precision=precision, **options)


def download_encoder(
    name: str, progress: Callable[..., Any] | None = None, *, prove: bool = True
) -> list[Path]:
    """Fetch everything an encoder needs into `MMRAG_HOME`, and load it once offline.

    Complete files are not fetched again; interrupted downloads resume.

    Args:
        name: of an encoder that is not here, such as `visualized-bge-base`.
        progress: `tqdm` or a class with its interface; None shows nothing.
        prove: load it afterwards; False if there is not enough memory.

    Returns:
        The files.

    Raises:
        MmragError: an unknown name, or one that needs no download.
        CheckpointError: no network, a wrong checksum, or files that cannot be loaded; says what to
            do by hand.
    """
    from mmrag.system.hub import offline

    family = family_of(name)
    files = family.download(name, progress)
    if prove:
        with offline():
            family.load(name, LoadOptions())
    return files
