"""EfficientNet-Lite0 as a picture tower, with its batch norms folded into the convolutions.

Method: M. Tan, Q. V. Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019; the Lite form of TensorFlow's, timm's `tf_efficientnet_lite0`.
tests/test_pretrained.py compares it with timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from mmrag.errors import CheckpointError

# Kernel, stride, expansion, channels, blocks of each stage.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_HEAD = 1280
_NORM_EPS = 1e-3


@dataclass(frozen=True)
class ConvConfig:
    """Pictures of `img_size` pixels become `grid` x `grid` tokens.

    With fewer than all `stages`, the tower ends there, without the head: smaller and cheaper.
    """

    img_size: int = 224
    grid: int = 1
    stages: int = len(_STAGES)


class ConvTower(nn.Module):
    """Turns a picture into tokens, as `EvaTower` does."""

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.image_size, self.grid = config.img_size, config.grid
        self.patches = config.grid**2
        self.conv_stem = _Conv(3, 32, 3, stride=2)
        stages, width = [], 32
        for kernel, stride, expansion, out, count in _STAGES[: config.stages]:
            blocks = []
            for number in range(count):
                blocks.append(_Block(width, out, kernel, stride if number == 0 else 1, expansion))
                width = out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        is_whole = config.stages >= len(_STAGES)
        self.conv_head = _Conv(width, _HEAD, 1) if is_whole else None
        self.dim = _HEAD if is_whole else width

    def layers(self) -> list[nn.Module]:
        """From the picture upwards: the stem, the stages, and the head if there is one."""
        return [m for m in (self.conv_stem, *self.blocks, self.conv_head) if m is not None]

    def lower(self, images: torch.Tensor, depth: int) -> torch.Tensor:
        """(n, 3, size, size) through the first `depth` layers; `forward` continues from `begin`."""
        x = self._through(images, 0, depth)
        return x if depth < len(self.layers()) else F.adaptive_avg_pool2d(x, self.grid)

    def forward(self, x: torch.Tensor, begin: int = 0) -> torch.Tensor:
        """(n, 3, size, size), or what `lower` gives, to (n, patches, dim)."""
        x = self._through(x, begin, len(self.layers()))
        return F.adaptive_avg_pool2d(x, self.grid).flatten(2).transpose(1, 2)

    def _through(self, x: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        for layer in self.layers()[begin:end]:
            x = layer(x)
            # Stages end without it; stem and head are single convolutions.
            x = F.relu6(x) if isinstance(layer, _Conv) else x
        return x

    def specialise(self, fused: bool) -> None:
        """Do nothing: its norms are folded already."""


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the odd pixel goes right and down."""

    def __init__(self, inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = 0 if stride > 1 else kernel // 2
        super().__init__(inputs, out, kernel, stride, padding, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride[0] > 1:
            pads = [_same(x.shape[axis], self.kernel_size[0], self.stride[0]) for axis in (3, 2)]
            x = F.pad(x, [side for pad in pads for side in (pad // 2, pad - pad // 2)])
        return super().forward(x)


def _same(size: int, kernel: int, stride: int) -> int:
    return max(0, (-(-size // stride) - 1) * stride + kernel - size)


class _Block(nn.Module):
    """An inverted bottleneck: wider, by channel, narrower."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        grown = width * expansion
        self.conv_pw = _Conv(width, grown, 1) if expansion > 1 else None
        self.conv_dw = _Conv(grown, grown, kernel, stride, groups=grown)
        self.conv_pwl = _Conv(grown, out, 1)
        self._adds = stride == 1 and width == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.conv_pw is None else F.relu6(self.conv_pw(x))
        y = self.conv_pwl(F.relu6(self.conv_dw(y)))
        return x + y if self._adds else y


def load_pretrained(tower: ConvTower, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Put timm's weights of `tf_efficientnet_lite0` into the tower, or EfficientNet-PyTorch's.

    Both list each convolution before its batch norm, from the picture upwards.

    Raises:
        CheckpointError: they belong to another architecture.
    """
    convolutions = [module for module in tower.modules() if isinstance(module, _Conv)]
    weights = [key for key, value in state.items() if value.ndim == 4]
    norms = [key.removesuffix("running_mean") for key in state if key.endswith("running_mean")]
    shapes = [tuple(conv.weight.shape) for conv in convolutions]
    given = [tuple(state[key].shape) for key in weights[: len(shapes)]]
    if given != shapes or len(norms) != len(weights):
        raise CheckpointError(f"{where} does not hold the weights of EfficientNet-Lite0.")
    with torch.no_grad():
        # A tower of fewer stages takes only those.
        for conv, key, norm in zip(convolutions, weights, norms, strict=False):
            variance = state[f"{norm}running_var"].float()
            scale = state[f"{norm}weight"].float() / torch.sqrt(variance + _NORM_EPS)
            conv.weight.copy_(state[key].float() * scale[:, None, None, None])
            assert conv.bias is not None
            conv.bias.copy_(state[f"{norm}bias"] - state[f"{norm}running_mean"] * scale)
