"""Linear layers in the layout that a CPU multiplies fastest, with bf16 or int8 weights.

Both use oneDNN, which comes with torch. For inference only: the layers have no gradients.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

# Rows that the layout is optimised for, about five images; it works for any number.
_ROWS = 1024
# Values quantised at a time, so that intermediate results stay in the cache.
_CHUNK = 2**18
_TINY = 1e-12


class PackedLinear(nn.Module):
    """A bf16 linear layer whose weight is laid out once instead of at each call."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        # A layer's dtype and device are read from its weight.
        self.register_buffer("weight", linear.weight.new_empty(0), persistent=False)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out), both bf16."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, "none", [], ""
        )
        return product


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, quantised symmetrically with a scale per output channel.

    Inputs are quantised to 8 bits on arrival, with one scale and zero point per call (dynamic
    quantisation); outputs have their dtype.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.register_buffer("weight", linear.weight.new_empty(0), persistent=False)
        self._scales = weight.abs().amax(1).clamp_min(_TINY) / 127
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        levels = (weight / self._scales[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(levels, [_ROWS, weight.shape[1]])
        self._bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return self.multiply(*quantise(x), x.dtype)

    def multiply(
        self, levels: torch.Tensor, scale: float, zero: int, dtype: torch.dtype
    ) -> torch.Tensor:
        """The layer's output for quantised inputs."""
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(levels, scale, zero, self._packed, self._scales, self._zeros, self._bias),
            *(1.0, 0, dtype, "none", [], ""),
        )
        return product


def quantise(x: torch.Tensor) -> tuple[torch.Tensor, float, int]:
    """`x` as uint8 levels, with the scale and the zero point: x is about scale * (level - zero)."""
    least, most = (float(value) for value in torch.aminmax(x))
    least, most = min(least, 0.0), max(most, 0.0)
    # 254 steps for 255 levels, as rounding the zero point may shift all by half a level.
    scale = max(most - least, _TINY) / 254
    zero = round(-least / scale)
    half_up = torch.tensor(zero + 0.5)
    levels = torch.empty(x.shape, dtype=torch.uint8)
    rows = max(1, _CHUNK // x.shape[-1])
    flat = x.flatten(0, -2), levels.flatten(0, -2)
    for start in range(0, len(flat[0]), rows):
        part, out = (tensor[start : start + rows] for tensor in flat)
        # Via int16, because torch converts float32 to uint8 slowly.
        out.copy_(torch.add(half_up, part.float(), alpha=1 / scale).to(torch.int16))
    return levels, scale, zero


def pack_linear_layers(module: nn.Module, layer: type[PackedLinear] | type[Int8Linear]) -> None:
    """Replace every `nn.Linear` in `module`, not its subclasses, which other code looks into."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, layer(child))
        else:
            pack_linear_layers(child, layer)


@cache
def can_pack() -> bool:
    """Whether this torch and this CPU have what `PackedLinear` needs, found by trying."""
    try:
        PackedLinear(nn.Linear(8, 8, dtype=torch.bfloat16))(torch.zeros(1, 8, dtype=torch.bfloat16))
    except (AttributeError, RuntimeError):
        return False
    return True
