"""Training from existing weights: which are taken, which frozen, and which changed slowly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmrag.encoders import load_encoder
from mmrag.encoders.checkpoints import read_state_dict
from mmrag.encoders.conv_tower import ConvTower, load_pretrained
from mmrag.errors import CheckpointError, MmragError
from mmrag.system.words import counted


def init_from(model: Any, source: str) -> int:
    """Load the weights that fit from a weights file or an encoder.

    Args:
        model: with fresh weights.
        source: a `.safetensors` or torch file with the weights of its picture tower under timm's
            names (or those of EfficientNet-PyTorch) or of all of it; or an encoder's name.

    Returns:
        Number of tensors taken.

    Raises:
        CheckpointError: less than half of the picture tower was found.
    """
    tower = picture_tower(model)
    is_file = Path(source).suffix in (".safetensors", ".pth", ".pt", ".bin")
    if is_file:
        state = read_state_dict(source)
    else:
        loaded: Any = load_encoder(source, device="cpu", precision="fp32").model
        state = loaded.state_dict()
    if isinstance(tower, ConvTower) and any(key.endswith("running_mean") for key in state):
        load_pretrained(tower, state, source)
        return len(tower.state_dict())
    own = model.state_dict()
    prefix = next(name for name, module in model.named_modules() if module is tower)
    given = {**{f"{prefix}.{key}": value for key, value in state.items()}, **state}
    taken = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    in_tower = sum(key.startswith(f"{prefix}.") for key in taken)
    if 2 * in_tower < len(tower.state_dict()):
        raise CheckpointError(
            f"{source} has {in_tower} of the {len(tower.state_dict())} tensors of the picture "
            "tower, by name and shape; name weights of the same architecture."
        )
    model.load_state_dict(taken, strict=False)
    return len(taken)


def picture_tower(model: Any) -> torch.nn.Module:
    """The part of a model that sees pictures."""
    tower = model.vision if model.folder_class == "visualized-bge" else model.clip.visual
    assert isinstance(tower, torch.nn.Module)
    return tower


def picture_layers(model: Any) -> list[torch.nn.Module]:
    """The picture tower's layers, from the picture upwards."""
    tower: Any = picture_tower(model)
    if model.folder_class == "visualized-bge":
        return list(tower.layers())
    try:
        return [tower.conv1, *tower.transformer.resblocks]
    except AttributeError:
        raise MmragError(
            "The layers of this CLIP's picture tower are not known here; leave out --freeze and "
            "--layer-decay."
        ) from None


def freeze(model: Any, depth: int) -> None:
    """Leave the picture tower's first `depth` layers as they are."""
    layers = picture_layers(model)
    if depth > len(layers):
        raise MmragError(
            f"The picture tower has {counted(len(layers), 'layer')}; freeze at most that many."
        )
    for layer in layers[:depth]:
        layer.requires_grad_(False)


def parameter_groups(
    model: Any, weight_decay: float, learning_rate: float, layer_decay: float
) -> list[dict[str, Any]]:
    """The trained parameters, with `lr` by layer; norms, biases and other vectors are not decayed.

    The picture tower's last layer has `layer_decay` times the learning rate of the layers above
    it, and so on downwards.
    """
    rates: dict[int, float] = {}
    if layer_decay != 1:
        for above, layer in enumerate(reversed(picture_layers(model)), start=1):
            rates |= {id(p): learning_rate * layer_decay**above for p in layer.parameters()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = rates.get(id(parameter), learning_rate)
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), parameters in sorted(groups.items(), key=lambda one: -one[0][1])
    ]
