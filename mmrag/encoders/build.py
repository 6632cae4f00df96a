"""From a loaded model to an `Encoder`: fingerprint, device, precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.encoders.checkpoints import fingerprint
from mmrag.encoders.device import (
    keep_freed_memory,
    resolve_device,
    resolve_precision,
    torch_dtype,
)
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.encoders.packed import Int8Linear, PackedLinear, can_pack, pack_linear_layers

if TYPE_CHECKING:
    from mmrag.encoders.clip import CLIPModel
    from mmrag.encoders.visualized_bge import VisualizedBGE


def build_encoder(
    model: VisualizedBGE | CLIPModel,
    preprocessing: Mapping[str, Any],
    name: str,
    licence: str,
    source: str,
    device: str,
    precision: str,
) -> Encoder:
    """Fingerprint `model`, move it to its device and precision, and wrap it.

    int8 is a precision class of its own: its fingerprint is another one than that of the float
    precisions, so a collection is embedded and searched in int8, or not at all. What each step
    here brings is in bench/NOTES.md.
    """
    torch_device = resolve_device(device)
    precision = resolve_precision(precision, torch_device)
    if precision == "int8":
        preprocessing = {**preprocessing, "precision": "int8"}
    info = EncoderInfo(
        name=name,
        dim=model.dim,
        image_size=model.image_size,
        fingerprint=fingerprint(model, preprocessing),
        licence=licence,
        source=source,
        device=str(torch_device),
        precision=precision,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    model.eval().requires_grad_(False)
    on_cpu = torch_device.type == "cpu"
    if precision != "fp32":
        model.specialise(fused=not on_cpu)
    model.to(torch_device, torch_dtype(precision, torch_device))
    if on_cpu:
        keep_freed_memory()
        if precision == "int8":
            pack_linear_layers(model, Int8Linear)
        elif precision == "bf16" and can_pack():
            pack_linear_layers(model, PackedLinear)
    encoder = Encoder(model, info)
    if torch_device.type == "cuda" and config.compile_models():
        model.compile_images(encoder.batch_size)
    return encoder
