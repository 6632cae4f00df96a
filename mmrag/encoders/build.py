"""From a loaded model to an `Encoder`: fingerprint, device, precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.encoders.checkpoints import combine, weight_hashes
from mmrag.encoders.device import (
    QUANTISED,
    keep_freed_memory,
    resolve_device,
    resolve_precision,
    torch_dtype,
)
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.encoders.packed import Int8Linear, PackedLinear, can_pack, pack_linear_layers
from mmrag.errors import MmragError

if TYPE_CHECKING:
    import torch

    from mmrag.encoders.family import LoadedModel


def build_encoder(loaded: LoadedModel, name: str, device: str, precision: str) -> Encoder:
    """Fingerprint a model, move it to its device and precision, and wrap it.

    Further steps depend on the abilities that the model declares.

    int8 and fp8 are precision classes of their own: their fingerprints differ from that of the
    float precisions, so a collection is both embedded and searched in int8, or neither. The gain of
    each step is in bench/NOTES.md.
    """
    model, preprocessing = loaded.model, loaded.preprocessing
    module: Any = model
    torch_device = resolve_device(device)
    precision = resolve_precision(precision, torch_device)
    on_cpu = torch_device.type == "cpu"
    if precision in QUANTISED:
        if "int8" not in model.abilities:
            raise MmragError(
                f"The encoder {name!r} does not run in {precision}; use --precision auto."
            )
        # A GPU quantises with a scale per row.
        kind = precision if on_cpu else f"{precision} by row"
        preprocessing = {**preprocessing, "precision": kind}
    hashes = weight_hashes(module)
    any_way = {key: value for key, value in loaded.defaults.items() if value is not None}
    others = {key: one for key, one in preprocessing.items() if key not in loaded.defaults}
    alone = combine(hashes, {**others, **any_way})
    composed = combine(hashes, preprocessing)
    info = EncoderInfo(
        name=name,
        dim=model.dim,
        image_size=model.image_size,
        fingerprint=alone,
        licence=loaded.licence,
        source=loaded.source,
        device=str(torch_device),
        precision=precision,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=loaded.settings,
        weights=combine(hashes, {}),
        composed=composed if composed != alone else "",
    )
    module.eval().requires_grad_(False)
    if precision != "fp32" and "specialise" in model.abilities:
        module.specialise(fused=not on_cpu)
    module.to(torch_device, torch_dtype(precision, torch_device))
    if on_cpu:
        keep_freed_memory()
        if precision == "int8":
            pack_linear_layers(module, Int8Linear)
        elif precision == "bf16" and "int8" in model.abilities and can_pack():
            pack_linear_layers(module, PackedLinear)
    elif precision in QUANTISED:
        from mmrag.encoders.packed_gpu import quantise_linear_layers

        quantise_linear_layers(module, precision)
    encoder = Encoder(model, info)
    if torch_device.type == "cuda":
        _take_path(encoder, torch_device)
    return encoder


def _take_path(encoder: Encoder, device: torch.device) -> None:
    """Take the quickest path on this GPU, as far as it was measured."""
    import torch

    from mmrag.encoders.gpu_path import path_for
    from mmrag.encoders.streams import Cuda

    path = path_for(torch.cuda.get_device_name(device))
    if config.compile_models():
        path = replace(path, compile=True)
    if path.name != "plain":
        encoder.take(path, Cuda(device), torch.cuda.mem_get_info(device)[0])
