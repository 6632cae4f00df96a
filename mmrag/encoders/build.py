"""From a loaded model to an `Encoder`: fingerprint, device, precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.encoders.checkpoints import combine, weight_hashes
from mmrag.encoders.device import (
    keep_freed_memory,
    resolve_device,
    resolve_precision,
    torch_dtype,
)
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.encoders.packed import Int8Linear, PackedLinear, can_pack, pack_linear_layers
from mmrag.errors import MmragError

if TYPE_CHECKING:
    from mmrag.encoders.family import LoadedModel


def build_encoder(loaded: LoadedModel, name: str, device: str, precision: str) -> Encoder:
    """Fingerprint a model, move it to its device and precision, and wrap it.

    What it does beyond that depends on the abilities that the model declares.

    int8 is a precision class of its own: its fingerprint is another one than that of the float
    precisions, so a collection is embedded and searched in int8, or not at all. What each step
    here brings is in bench/NOTES.md.
    """
    model, preprocessing = loaded.model, loaded.preprocessing
    module: Any = model
    torch_device = resolve_device(device)
    precision = resolve_precision(precision, torch_device)
    if precision == "int8" and "int8" not in model.abilities:
        raise MmragError(f"The encoder {name!r} does not run in int8; use --precision auto.")
    if precision == "int8":
        preprocessing = {**preprocessing, "precision": "int8"}
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
    on_cpu = torch_device.type == "cpu"
    if precision != "fp32" and "specialise" in model.abilities:
        module.specialise(fused=not on_cpu)
    module.to(torch_device, torch_dtype(precision, torch_device))
    if on_cpu:
        keep_freed_memory()
        if precision == "int8":
            pack_linear_layers(module, Int8Linear)
        elif precision == "bf16" and "int8" in model.abilities and can_pack():
            pack_linear_layers(module, PackedLinear)
    encoder = Encoder(model, info)
    compiles = torch_device.type == "cuda" and config.compile_models()
    if compiles and "compile" in model.abilities:
        module.compile_images(encoder.batch_size)
    return encoder
