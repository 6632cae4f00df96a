"""Small Visualized BGE models in NumPy, for a process that embeds one query and ends.

Importing torch takes longer than everything else in such a process. Arithmetic and fingerprint are
those of `towers` in float32; tests/test_array_model.py compares the two.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mmrag.encoders import tower_config
from mmrag.encoders.checkpoints import combine, read_card, weight_hash
from mmrag.encoders.computing import Batch, Computing, Item, Prepared, Vectors
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.encoders.fast_tokenizer import FastTokenizer
from mmrag.encoders.model import Ability
from mmrag.encoders.tower_config import BertConfig, EvaConfig
from mmrag.errors import MmragError
from mmrag.images.decode import Pixels
from mmrag.images.resize import resize_and_crop

if TYPE_CHECKING:
    from PIL import Image

Floats = npt.NDArray[np.float32]
# A larger model takes longer to compute than torch to import.
_MOST_BYTES = 40_000_000
_EVA_EPS = 1e-6
_erf = np.frompyfunc(math.erf, 1, 1)


def open_array_encoder(folder: Path, name: str) -> Encoder | None:
    """The encoder of a folder that `mmrag train` wrote; None if only torch can compute it.

    A damaged folder is also left to torch's loader, which reports what is wrong.
    """
    weights = folder / "model.safetensors"
    try:
        card = read_card(folder)
        vision = card["vision"]
        if card.get("class", "visualized-bge") != "visualized-bge":
            return None
        if vision["timm"] not in tower_config.EVA_TOWERS or not FastTokenizer.can_read(folder):
            return None
        if weights.stat().st_size > _MOST_BYTES:
            return None
        eva = tower_config.EVA_TOWERS[vision["timm"]]
        eva = replace(eva, **tower_config.changes(vision))
        model = ArrayModel(eva, BertConfig.of(card["text"]), FastTokenizer(folder), _read(weights))
        # Missing weights, and wrong shapes, show up here.
        blank = np.zeros((eva.img_size, eva.img_size, 3), np.uint8)
        model.embed_one(blank, "a")
    # Invalid files fail in many ways.
    except (MmragError, OSError, ValueError, KeyError, TypeError, IndexError, ArithmeticError):
        return None
    mean, std = tower_config.EVA_MEAN, tower_config.EVA_STD
    vocabulary = model.tokenizer.get_vocab().items()
    seen = tower_config.preprocessing(eva.img_size, mean, std, vocabulary)
    hashes = [
        weight_hash(key, value.shape, "torch.float32", value.data)
        for key, value in sorted(model.weights.items())
    ]
    info = EncoderInfo(
        name=name,
        dim=model.dim,
        image_size=model.image_size,
        fingerprint=combine(hashes, seen),
        licence=str(card.get("licence", "unknown")),
        source=str(card.get("source", folder)),
        device="cpu",
        precision="fp32",
        parameters=sum(value.size for value in model.weights.values()),
        weights=combine(hashes, {}),
    )
    return Encoder(cast(Any, model), info, ArrayComputing(model))


def _read(path: Path) -> dict[str, Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return {key: np.ascontiguousarray(value, np.float32) for key, value in state.items()}


class ArrayComputing(Computing):
    """Runs one input after another through an `ArrayModel`."""

    def __init__(self, model: ArrayModel) -> None:
        super().__init__(cast(Any, model), "cpu")
        self._arrays = model

    def start(self, batch: Sequence[tuple[Item, Prepared]]) -> Batch[Item]:
        """As `Computing.start`."""
        raw = np.stack([self._arrays.embed_one(one.pixels, one.text) for _, one in batch])
        lengths = np.maximum(np.linalg.norm(raw, axis=-1, keepdims=True), 1e-12)
        vectors: Vectors = raw / lengths
        return Batch([item for item, _ in batch], vectors, None)


class ArrayModel:
    """Turns a picture, a text, or both into a vector, as `VisualizedBGE` does.

    Args:
        eva: the picture tower's size.
        bert: the text encoder's.
        tokenizer: its own.
        weights: under the names of `VisualizedBGE`'s parameters.
    """

    abilities: frozenset[Ability] = frozenset({"square"})

    def __init__(
        self,
        eva: EvaConfig,
        bert: BertConfig,
        tokenizer: FastTokenizer,
        weights: dict[str, Floats],
    ) -> None:
        self.eva, self.bert, self.tokenizer, self.weights = eva, bert, tokenizer, weights
        self.dim, self.image_size = bert.hidden_size, eva.img_size
        self._warned = False

    def preprocess(self, image: Image.Image) -> Pixels:
        """As `VisualizedBGE.preprocess`."""
        return resize_and_crop(image, self.image_size)

    def embed_one(self, pixels: Pixels | None, text: str | None) -> Floats:
        """(size, size, 3) uint8 and/or a text to (dim,), not normalised."""
        config, words = self.bert, "text.embeddings.word_embeddings.weight"
        patches = 0 if pixels is None else (self.eva.img_size // self.eva.patch_size) ** 2
        room = min(config.max_position_embeddings - patches, config.max_text_tokens)
        [ids] = self.tokenizer([text or ""])["input_ids"]
        if len(ids) > room and not self._warned:
            logging.getLogger("mmrag").warning(tower_config.TOO_LONG, len(ids), room)
            self._warned = True
        ids = tower_config.cut(ids, room)
        positions = np.arange(len(ids)) + (patches or config.first_position)
        kind = self.weights["text.embeddings.token_type_embeddings.weight"][0]
        if pixels is None:
            return self._read_tokens(self._place(self.weights[words][ids] + kind, positions))
        positions[0] = 0
        seen = self._linear("visual_proj", self._see(pixels))
        images = self._place(seen, np.arange(1, patches + 1))
        said = self._place(self.weights[words][ids] + kind, positions)
        return self._read_tokens(np.concatenate([said[:1], images, said[1:]]))

    def _see(self, pixels: Pixels) -> Floats:
        """(patches, dim)."""
        w, size = self.weights, self.eva.patch_size
        side = self.eva.img_size // size
        mean = np.array(tower_config.EVA_MEAN, np.float32)
        std = np.array(tower_config.EVA_STD, np.float32)
        normed = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        cut = normed[: side * size, : side * size].reshape(side, size, side, size, 3)
        patches = cut.transpose(0, 2, 4, 1, 3).reshape(side**2, -1)
        kernel = w["vision.patch_embed.proj.weight"]
        x = patches @ kernel.reshape(len(kernel), -1).T + w["vision.patch_embed.proj.bias"]
        x = np.concatenate([w["vision.cls_token"][0], x]) + w["vision.pos_embed"][0]
        angles = self._angles(side)
        for number in range(self.eva.depth):
            block = f"vision.blocks.{number}"
            x = x + self._eva_attention(f"{block}.attn", self._norm(f"{block}.norm1", x), angles)
            normed = self._norm(f"{block}.norm2", x)
            gate = self._linear(f"{block}.mlp.fc1_g", normed)
            grown = gate / (1 + np.exp(-gate)) * self._linear(f"{block}.mlp.fc1_x", normed)
            x = x + self._linear(f"{block}.mlp.fc2", self._norm(f"{block}.mlp.norm", grown))
        return x[1:]

    def _angles(self, side: int) -> tuple[Floats, Floats]:
        """Sines and cosines of each token and pair of channels; see `towers._rotation`."""
        pairs = self.eva.embed_dim // self.eva.num_heads // 2
        bands = 1 / 10_000 ** (np.arange(pairs // 2, dtype=np.float32) / (pairs // 2))
        axes = [np.arange(side, dtype=np.float32) / side * n for n in self.eva.ref_feat_shape]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        angles = (grid[..., None] * bands).reshape(side**2, pairs).astype(np.float32)
        angles = np.concatenate([np.zeros((1, pairs), np.float32), angles])
        return np.sin(angles), np.cos(angles)

    def _eva_attention(self, name: str, x: Floats, angles: tuple[Floats, Floats]) -> Floats:
        sine, cosine = angles

        def turned(layer: str) -> Floats:
            split = _heads(self._linear(f"{name}.{layer}", x), self.eva.num_heads)
            even, odd = split[..., ::2], split[..., 1::2]
            pairs = np.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1)
            return pairs.reshape(split.shape)

        value = _heads(self._linear(f"{name}.v_proj", x), self.eva.num_heads)
        context = _attend(turned("q_proj"), turned("k_proj"), value)
        return self._linear(f"{name}.proj", self._norm(f"{name}.norm", context))

    def _place(self, embedded: Floats, positions: npt.NDArray[np.int_]) -> Floats:
        placed = self.weights["text.embeddings.position_embeddings.weight"][positions]
        return self._norm("text.embeddings.LayerNorm", embedded + placed, self.bert.layer_norm_eps)

    def _read_tokens(self, hidden: Floats) -> Floats:
        """The last layer's first token."""
        heads, eps = self.bert.num_attention_heads, self.bert.layer_norm_eps
        for number in range(self.bert.num_hidden_layers):
            layer = f"text.encoder.layer.{number}"
            # Only the first token is read, so only that one goes through the last layer.
            asking = hidden[:1] if number == self.bert.num_hidden_layers - 1 else hidden
            own = f"{layer}.attention.self"
            context = _attend(
                _heads(self._linear(f"{own}.query", asking), heads),
                _heads(self._linear(f"{own}.key", hidden), heads),
                _heads(self._linear(f"{own}.value", hidden), heads),
            )
            output = f"{layer}.attention.output"
            attended = self._linear(f"{output}.dense", context) + asking
            attended = self._norm(f"{output}.LayerNorm", attended, eps)
            grown = self._linear(f"{layer}.intermediate.dense", attended)
            grown = grown * (0.5 + 0.5 * _erf(grown * 2**-0.5).astype(np.float32))
            grown = self._linear(f"{layer}.output.dense", grown) + attended
            hidden = self._norm(f"{layer}.output.LayerNorm", grown, eps)
        return hidden[0]

    def _linear(self, name: str, x: Floats) -> Floats:
        product = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return product if bias is None else product + bias

    def _norm(self, name: str, x: Floats, eps: float = _EVA_EPS) -> Floats:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(eps))
        return centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _heads(x: Floats, heads: int) -> Floats:
    """(tokens, heads * dim) to (heads, tokens, dim)."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def _attend(query: Floats, key: Floats, value: Floats) -> Floats:
    """(heads, tokens, dim) each to (query tokens, heads * dim)."""
    scores = query @ key.transpose(0, 2, 1) * np.float32(query.shape[-1] ** -0.5)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ value).transpose(1, 0, 2).reshape(query.shape[1], -1)
