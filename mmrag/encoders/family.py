"""The interface of a family of encoders; `registry.FAMILIES` is the table of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmrag.encoders.licences import is_non_commercial

if TYPE_CHECKING:
    from mmrag.encoders.model import EmbeddingModel


@dataclass(frozen=True)
class EncoderDescription:
    """An encoder as `list_encoders` shows it, without loading anything."""

    name: str
    dim: int
    image_size: int
    available: bool
    licence: str
    source: str
    how_to_get: str
    parameters: int = 0
    """0 if not known before loading."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """`EncoderInfo.settings`, as far as known before loading."""
    non_commercial: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "non_commercial", is_non_commercial(self.licence))

    @property
    def gigabytes(self) -> float:
        """Size in float32."""
        return self.parameters * 4e-9


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The arguments of `load_encoder` that some families use and others refuse.

    Args:
        checkpoint: weights file, a local path or a hub name `ORG/REPOSITORY/FILE`. Default: what
            `mmrag download` fetched.
        text_model: folder or hub name of the configuration and tokenizer for Visualized BGE.
        image_weight: CLIP's share of the image in a composed query, 0 to 1 (default 0.5).
        preprocess: preprocessing for open_clip's models, such as `mean=0.5,std=0.5,resize=squash`;
            see `clip_preprocess.parse_preprocess`.
        fusion: how models that encode pictures and texts separately compose them, one of
            `fusion.FUSIONS` (default `sum-unit`).
        query_instruction: text before every query (default: the model's own prompt).
        document_instruction: text before everything indexed, likewise.
        dim: cut vectors to this many values, for models trained for that.
        max_picture_tokens: shrink pictures that would become more tokens.
        revision: branch, tag or commit of a hub repository.
        trust_remote_code: run Python code that a model brings, with all rights of this process.
        embedding_max_cost: US dollars that a hosted encoder may cost this process (default:
            `MMRAG_EMBEDDING_MAX_COST`, else no limit).
        embedding_concurrency: requests to it under way at once (default:
            `MMRAG_EMBEDDING_CONCURRENCY`, else 4).
        embedding_timeout: seconds that one may take (default 60).
    """

    checkpoint: str | os.PathLike[str] | None = None
    text_model: str | None = None
    image_weight: float | None = None
    preprocess: str | None = None
    fusion: str | None = None
    query_instruction: str | None = None
    document_instruction: str | None = None
    dim: int | None = None
    max_picture_tokens: int | None = None
    revision: str | None = None
    trust_remote_code: bool | None = None
    embedding_max_cost: float | None = None
    embedding_concurrency: int | None = None
    embedding_timeout: float | None = None

    def given(self) -> list[str]:
        """Names of the fields that are not None."""
        return [one.name for one in fields(self) if getattr(self, one.name) is not None]


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 on the CPU.

    `preprocessing` is everything besides the weights that decides its vectors, as plain JSON
    values: it becomes part of the fingerprint. `settings` is the part that people want to read, and
    that collections and runs keep. `defaults` gives, for fields of `preprocessing` that concern
    composed inputs only, the values used in the fingerprint of pictures and texts alone; None
    leaves a field out. `known_vector` asks to compare a vector at each load; see `known`.
    """

    model: EmbeddingModel
    licence: str
    source: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    known_vector: bool = False


class Family(Protocol):
    """A module with these names, and a line in `FAMILIES`.

    It must import nothing heavy before `load` or `download`.
    """

    USAGE: str
    """The form of its encoders' names, for messages and help, such as `clip:ARCH/PRETRAINED`."""

    OPTIONS: frozenset[str]
    """The fields of `LoadOptions` that it uses."""

    def takes(self, name: str) -> bool:
        """Whether the family knows an encoder of this name."""

    def describe(self, search: str | None = None) -> list[EncoderDescription]:
        """Its encoders, as far as they can be listed.

        Args:
            search: also list encoders that are otherwise too many, if their names contain this,
                ignoring case; may import what knows them.
        """

    def load(self, name: str, options: LoadOptions) -> LoadedModel:
        """Load an encoder.

        Raises:
            MmragError: none has that name.
            CheckpointError: weights are absent, wrong or incomplete; says what to do.
        """

    def download(self, name: str, progress: Callable[..., Any] | None) -> list[Path]:
        """Fetch what loading needs, if anything.

        Raises:
            CheckpointError: no network, or a file arrived damaged.
        """
