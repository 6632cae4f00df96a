"""Read and write weights: never pickled code, never half a model."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag.errors import CheckpointError, one_line
from mmrag.system.durable import replacing, write_file

if TYPE_CHECKING:
    import torch

StateDict = dict[str, "torch.Tensor"]


def read_state_dict(path: str | os.PathLike[str]) -> StateDict:
    """Read a `.safetensors` file or a torch checkpoint with `weights_only=True`.

    Raises:
        CheckpointError: the file is absent, damaged, holds pickled code, or is no state dict.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors (pickled code), so it is not loaded; "
            "ask its author for a safetensors file or a plain state dict."
        ) from error
    except CheckpointError:
        raise
    # torch and safetensors raise many kinds of error on a damaged file.
    except Exception as error:
        # For a file that is no checkpoint, torch names a number, the type it takes its bytes for.
        reason = "" if isinstance(error, KeyError) else f" ({one_line(error).rstrip('.')})"
        raise CheckpointError(f"{path} is damaged, or not a checkpoint{reason}.") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise CheckpointError(f"{path} is not a state dict of tensors.")
    return dict(loaded)


def load_into(
    module: torch.nn.Module,
    state: StateDict,
    what: str,
    spare: Collection[str] | None = None,
    name_of: Callable[[str], str] = str,
) -> None:
    """Copy `state` into `module`; every parameter must be there in the right shape.

    Args:
        module: whose weights are replaced.
        state: the weights.
        what: the start of messages.
        spare: keys of `state` that need not be in the module; None allows any.
        name_of: what a key of the module is called in the file, for messages.

    Raises:
        CheckpointError: names the keys that are missing or unexpected, or whose shapes or kinds
            differ.
    """
    import torch

    own = module.state_dict()
    missing = [key for key in own if key not in state]
    if missing:
        raise CheckpointError(
            f"{what} is not complete: {len(missing)} of {len(own)} keys are missing: "
            f"{_some(map(name_of, missing))}. Is it the checkpoint of another model?"
        )
    unknown = [] if spare is None else list(state.keys() - own.keys() - {*spare})
    if unknown:
        raise CheckpointError(
            f"{what} holds keys that the model does not have ({len(unknown)}): "
            f"{_some(sorted(unknown))}. Is it the checkpoint of another model?"
        )
    wrong = [
        f"{name_of(key)} is {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if state[key].shape != value.shape
    ]
    if wrong:
        raise CheckpointError(f"{what} has {len(wrong)} keys of the wrong shape: {_some(wrong)}.")
    odd = [
        name_of(key)
        for key, value in own.items()
        if state[key].layout != torch.strided
        or state[key].is_quantized
        or state[key].is_floating_point() != value.is_floating_point()
    ]
    if odd:
        raise CheckpointError(f"{what} has {len(odd)} keys of the wrong kind: {_some(odd)}.")
    # Official files hold half precision; the fingerprint and fp32 need float32.
    full = {
        key: state[key].float() if state[key].is_floating_point() else state[key] for key in own
    }
    module.load_state_dict(full, assign=True)


def fingerprint(module: torch.nn.Module, preprocessing: Mapping[str, Any]) -> str:
    """SHA-256 (first 16 hex digits) of the weights as loaded and of `preprocessing`.

    Call it before the weights are cast to a lower precision.
    """
    return combine(weight_hashes(module), preprocessing)


def weight_hashes(module: torch.nn.Module) -> list[str]:
    """SHA-256 of each of a module's tensors, with its name, shape and kind."""
    import torch

    def digest(item: tuple[str, torch.Tensor]) -> str:
        key, value = item
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        raw = value.contiguous().reshape(-1).view(torch.uint8).numpy()
        return weight_hash(key, tuple(value.shape), str(value.dtype), raw.data)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(digest, sorted(module.state_dict().items())))


def weight_hash(key: str, shape: tuple[int, ...], kind: str, raw: bytes | memoryview) -> str:
    """SHA-256 of one tensor; `kind` is its dtype as torch names it."""
    header = f"{key} {shape} {kind}".encode()
    return hashlib.sha256(header + hashlib.sha256(raw).digest()).hexdigest()


def combine(hashes: Sequence[str], preprocessing: Mapping[str, Any]) -> str:
    """The fingerprint of weights with these hashes and of `preprocessing`."""
    parts = [*hashes, json.dumps(preprocessing, sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def write_safetensors(module: torch.nn.Module, path: Path) -> None:
    """Write the module's weights; an interrupted write leaves no file of that name."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with replacing(path) as part:
        save_file(state, part)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write `config.json`, whose presence makes a folder an encoder: call it last."""
    card = {"format": "mmrag-encoder", **card}
    write_file(folder / "config.json", json.dumps(card, indent=1, sort_keys=True))


def read_card(folder: Path) -> dict[str, Any]:
    """The card that `write_card` wrote; raises CheckpointError for anything else."""
    try:
        card = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder}/config.json cannot be read: {error}") from error
    if not isinstance(card, dict) or card.get("format") != "mmrag-encoder":
        raise CheckpointError(f"{folder} is not an encoder of this project.")
    return card


def _check_archive(path: Path) -> None:
    """Refuse a zip bomb: torch writes archives uncompressed, so none may grow when read."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    grown = sum(part.file_size for part in parts)
    if grown > path.stat().st_size or any(part.compress_type for part in parts):
        raise CheckpointError(
            f"{path} is compressed to less than it holds ({grown:,} bytes), which no checkpoint "
            "of torch is; it is not loaded."
        )


def check_sizes(config: Mapping[str, Any], where: object) -> None:
    """Refuse an impossibly large architecture: building it would take all memory.

    Args:
        config: of Visualized BGE's towers, or open_clip's.
        where: the start of the message.

    Raises:
        CheckpointError: more than 1,000 layers, or some 10 billion parameters.
    """
    numbers: dict[str, float] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            check_sizes(value, where)
        listed = value if isinstance(value, list | tuple) else [value]
        found = [abs(number) for number in listed if isinstance(number, int | float)]
        numbers |= {key: max(found)} if found else {}

    def largest(*parts: str) -> float:
        return max((n for key, n in numbers.items() if any(p in key for p in parts)), default=0)

    width, layers = largest("width", "embed_dim", "hidden_size", "intermediate"), largest("layers")
    layers = max(layers, largest("depth"))
    patches = (largest("image_size", "img_size") / max(1, numbers.get("patch_size", 1))) ** 2
    tokens = largest("vocab", "context_length", "position") + patches
    # Written so that NaN is refused too.
    if not (layers <= 1000 and width * (tokens + 4 * layers * width) <= 1e10):
        raise CheckpointError(f"{where} describes a model too large to be one.")


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
