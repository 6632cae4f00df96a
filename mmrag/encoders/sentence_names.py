"""Models of sentence-transformers by name: `st:OWNER/NAME[@REVISION]` of a hub, or `st:FOLDER`.

Cross-encoders, `ce:…`, are found and fetched the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.encoders.family import EncoderDescription, LoadedModel, LoadOptions
from mmrag.encoders.licences import licence_of
from mmrag.errors import CheckpointError, MmragError
from mmrag.system.hub import check_repository, download_file, list_files

USAGE = "st:NAME_OR_FOLDER"
OPTIONS = frozenset(
    {
        "image_weight",
        "fusion",
        "query_instruction",
        "document_instruction",
        "dim",
        "max_picture_tokens",
        "revision",
        "trust_remote_code",
    }
)
# By name: dimension, parameters, licence, as the model cards said in November 2026.
_KNOWN = {
    "Qwen/Qwen3-VL-Embedding-2B": (2048, 2_000_000_000, "Apache-2.0"),
    "Qwen/Qwen3-VL-Embedding-8B": (4096, 8_000_000_000, "Apache-2.0"),
    "Alibaba-NLP/gme-Qwen2-VL-2B-Instruct": (1536, 2_200_000_000, "Apache-2.0"),
    "jinaai/jina-clip-v2": (1024, 900_000_000, "CC-BY-NC-4.0"),
}
_UNWANTED = re.compile(
    r"(^|/)(\.|onnx|openvino|flax|tf_model|rust_model)|\.(bin|pt|pth|h5|ckpt|msgpack)$"
)


def takes(name: str) -> bool:
    """Whether the name begins with `st:`."""
    return name.startswith("st:")


def describe(search: str | None = None) -> list[EncoderDescription]:
    """Models that were fetched, and with `search` also some well-known ones."""
    here = names_here("st")
    names = here if search is None else dict.fromkeys([*here, *_KNOWN])
    return [_describe(name) for name in names]


def load(name: str, options: LoadOptions) -> LoadedModel:
    """Load from a folder, or from what `download` or the hub's own client fetched."""
    return load_as(name, options, options.fusion)


def load_as(name: str, options: LoadOptions, fusion: str | None) -> LoadedModel:
    """`load` with a fusion other than the user's."""
    folder = find(name, options.revision)
    from mmrag.encoders import sentence

    shared = {one.name: getattr(options, one.name) for one in fields(sentence.SentenceOptions)}
    weight = 0.5 if options.image_weight is None else options.image_weight
    chosen = sentence.SentenceOptions(**{**shared, "fusion": fusion, "image_weight": weight})
    model = sentence.load(folder, name, chosen, bool(options.trust_remote_code))
    repository = name.removeprefix("st:")
    return LoadedModel(
        model,
        licence_of(repository, folder),
        f"sentence-transformers {repository}",
        sentence.preprocessing(model, folder),
        sentence.settings(model),
        dict.fromkeys(("composition", "image_weight", "query_instruction")),
        known_vector=True,
    )


def download(name: str, progress: Callable[..., Any] | None = None) -> list[Path]:
    """Fetch all files of a hub repository that loading needs, weights last, into `MMRAG_HOME`."""
    if Path(_bare(name)).is_dir():
        raise MmragError(f"Nothing to download for {name!r}: it is a folder that is here.")
    repository, revision = _split(name, None)
    folder = _folder(_kind(name), repository, revision)
    wanted = [file for file in list_files(repository, revision) if not _UNWANTED.search(file)]
    if not any(file.endswith(".safetensors") for file in wanted):
        raise CheckpointError(
            f"{repository} has no weights in safetensors format, and pickled ones are not loaded."
        )
    wanted.sort(key=lambda file: (file.endswith(".safetensors"), file))
    return [
        download_file(repository, file, _inside(folder, file), progress, revision)
        for file in wanted
    ]


def find(name: str, revision: str | None = None) -> Path:
    """The folder of a local model.

    Raises:
        CheckpointError: it is not here; says what to do.
    """
    path = Path(_bare(name))
    if path.is_dir():
        if revision is not None:
            raise MmragError(f"{path} is a folder; leave --revision out.")
        return path
    repository, revision = _split(name, revision)
    kind = _kind(name)
    folder = _folder(kind, repository, revision)
    if _complete(folder):
        return folder
    import huggingface_hub

    try:
        kept = huggingface_hub.snapshot_download(
            repository, revision=revision, local_files_only=True
        )
    # Whatever is wrong with the hub client's cache, the model is not there.
    except (OSError, ValueError) as error:
        at = f"@{revision}" if revision else ""
        raise CheckpointError(
            f"The weights of {kind}:{repository}{at} are not here; `mmrag download "
            f"{kind}:{repository}{at}` brings them, or give a folder as {kind}:FOLDER."
        ) from error
    return Path(kept)


def is_here(repository: str) -> bool:
    """Whether `download` fetched it."""
    return _complete(_folder("st", repository, None))


def names_here(kind: str) -> list[str]:
    """Repositories, with their revisions, of which `download` fetched something."""
    root = config.weights_dir() / kind
    return [folder.relative_to(root).as_posix() for folder in sorted(root.glob("*/*"))]


def _kind(name: str) -> str:
    return "ce" if name.startswith("ce:") else "st"


def _bare(name: str) -> str:
    return name.removeprefix(f"{_kind(name)}:")


def _complete(folder: Path) -> bool:
    return any(folder.rglob("*.safetensors")) and not any(folder.rglob("*.part"))


def _split(name: str, revision: str | None) -> tuple[str, str | None]:
    """`st:OWNER/NAME@REVISION` as its two parts."""
    repository, _, named = _bare(name).partition("@")
    revision = revision or named or None
    check_repository(repository)
    if revision is not None and not re.fullmatch(r"[\w.-]*\w[\w.-]*", revision):
        raise MmragError(f"{revision!r} is no branch, tag or commit.")
    return repository, revision


def _folder(kind: str, repository: str, revision: str | None) -> Path:
    return config.weights_dir() / kind / (repository + (f"@{revision}" if revision else ""))


def _inside(folder: Path, file: str) -> Path:
    target = (folder / file).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise CheckpointError(f"The hub names a file outside of its folder: {file!r}.")
    return target


def _describe(name: str) -> EncoderDescription:
    dim, parameters, licence = _KNOWN.get(name, (0, 0, ""))
    folder = _folder("st", name, None)
    sizes = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return EncoderDescription(
        f"st:{name}",
        dim,
        0,
        _complete(folder),
        licence or licence_of(name, folder),
        f"sentence-transformers {name}",
        f"mmrag download st:{name}",
        parameters or sizes // 4,
    )
