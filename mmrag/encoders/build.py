"""From a loaded model to an `Encoder`: fingerprint, device, precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmrag.encoders.checkpoints import fingerprint
from mmrag.encoders.device import resolve_device, resolve_precision, torch_dtype
from mmrag.encoders.encoder import Encoder, EncoderInfo

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
    """Fingerprint `model`, move it to its device and precision, and wrap it."""
    torch_device = resolve_device(device)
    precision = resolve_precision(precision, torch_device)
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
    return Encoder(model.to(torch_device, torch_dtype(precision)), info)
