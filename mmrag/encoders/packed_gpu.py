"""Linear layers with 8-bit products on NVIDIA GPUs: int8, and fp8 (e4m3). For inference only.

Weights have a scale per output channel; inputs are quantised on arrival, with a scale per row. Both
are precision classes of their own, by choice only (`--precision int8`, `fp8`).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

_TINY = 1e-12
# The fewest rows that torch's int8 product takes, and the multiple that sides are zero-padded to.
_ROWS, _STEP = 32, 16
_FP8_MOST = 448.0


class _RowScaled(nn.Module):
    most: float

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        # A layer's dtype and device are read from its weight.
        self.register_buffer("weight", linear.weight.new_empty(0), persistent=False)
        self._out, spare = linear.out_features, -linear.out_features % _STEP
        self._spare = -linear.in_features % _STEP
        weight = F.pad(linear.weight.detach().float(), (0, self._spare, 0, spare))
        scales = weight.abs().amax(1).clamp_min(_TINY) / self.most
        self.register_buffer("_scales", scales, persistent=False)
        levels = self.quantise(weight / scales[:, None])
        self.register_buffer("_levels", levels, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out), in the dtype of `x`."""
        rows = x.flatten(0, -2).float()
        n = len(rows)
        rows = F.pad(rows, (0, self._spare, 0, max(0, _ROWS - n)))
        scales = rows.abs().amax(1).clamp_min(_TINY) / self.most
        levels = self.quantise(rows / scales[:, None])
        made = self.multiply(levels, scales)[:n, : self._out].to(x.dtype)
        if self.bias is not None:
            made = made + self.bias.to(x.dtype)
        return made.view(*x.shape[:-1], self._out)

    def quantise(self, scaled: torch.Tensor) -> torch.Tensor:
        """Values from -most to most as levels of the kind."""
        raise NotImplementedError

    def multiply(self, levels: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """(n, in) levels with n scales to (n, out)."""
        raise NotImplementedError


class RowInt8Linear(_RowScaled):
    """int8 levels, products summed in int32."""

    most = 127.0

    def quantise(self, scaled: torch.Tensor) -> torch.Tensor:
        """See `_RowScaled`."""
        return scaled.round().to(torch.int8)

    def multiply(self, levels: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """See `_RowScaled`."""
        weight, own = self.get_buffer("_levels"), self.get_buffer("_scales")
        return torch._int_mm(levels, weight.t()).float() * scales[:, None] * own


class Fp8Linear(_RowScaled):
    """8-bit floats, products summed in float32."""

    most = _FP8_MOST

    def quantise(self, scaled: torch.Tensor) -> torch.Tensor:
        """See `_RowScaled`."""
        return scaled.to(torch.float8_e4m3fn)

    def multiply(self, levels: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """See `_RowScaled`."""
        weight, own = self.get_buffer("_levels"), self.get_buffer("_scales")
        made: torch.Tensor = torch._scaled_mm(
            levels,
            weight.t(),
            scale_a=scales[:, None],
            scale_b=own[None],
            out_dtype=torch.bfloat16,
        )
        return made


LAYERS: dict[str, type[_RowScaled]] = {"int8": RowInt8Linear, "fp8": Fp8Linear}


def quantise_linear_layers(module: nn.Module, precision: str) -> None:
    """Replace every `nn.Linear` in `module`, not its subclasses, which other code looks into."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, LAYERS[precision](child))
        else:
            quantise_linear_layers(child, precision)
