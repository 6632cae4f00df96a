"""The two networks of Visualized BGE, with timm's and transformers' parameter names.

They equal those libraries' EVA-02-CLIP and BERT (or XLM-RoBERTa) encoder: tests/test_bench.py
compares them with those, tests/test_encoders.py with the reference. Loading the libraries' own
takes seconds, too long for a command line; they are used to draw fresh weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mmrag.encoders.attention import EvaAttention, QuickEvaAttention, Rotation, attend, side_by_side
from mmrag.encoders.tower_config import EVA_MEAN, EVA_STD, BertConfig, EvaConfig


class EvaTower(nn.Module):
    """EVA-02-CLIP's vision transformer without its last norm and head.

    Method: Y. Fang, Q. Sun, X. Wang, T. Huang, X. Wang, Y. Cao: "EVA-02: A Visual Representation
    for Neon Genesis", arXiv:2303.11331; with the attention's inner norm of EVA-CLIP.
    """

    mean = EVA_MEAN
    std = EVA_STD

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        dim, side = config.embed_dim, config.img_size // config.patch_size
        self.image_size, self.patches, self.dim = config.img_size, side**2, dim
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + side**2, dim))
        projection = nn.Conv2d(3, dim, config.patch_size, config.patch_size)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.blocks = nn.ModuleList(_EvaBlock(dim, config.num_heads) for _ in range(config.depth))
        sine, cosine = _rotation(side, dim // config.num_heads, config.ref_feat_shape)
        self.register_buffer("_sine", sine, persistent=False)
        self.register_buffer("_cosine", cosine, persistent=False)

    def layers(self) -> list[nn.Module]:
        """From the picture upwards: the patch embedding, and the blocks."""
        return [self.patch_embed, *self.blocks]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) to (n, patches, dim)."""
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        rotation = self.get_buffer("_sine"), self.get_buffer("_cosine")
        for block in self.blocks:
            x = block(x, rotation)
        return x[:, 1:]

    def specialise(self, fused: bool) -> None:
        """Replace layers with quicker ones that cannot be trained; see `attend` for `fused`."""
        for block in self.blocks:
            assert isinstance(block, _EvaBlock)
            block.specialise(fused)


class _EvaBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        hidden = int(dim * (4 * 2 / 3))
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn: EvaAttention | QuickEvaAttention = EvaAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {
                "fc1_g": nn.Linear(dim, hidden),
                "fc1_x": nn.Linear(dim, hidden),
                "norm": nn.LayerNorm(hidden, eps=1e-6),
                "fc2": nn.Linear(hidden, dim),
            }
        )

    def forward(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), rotation)
        normed = self.norm2(x)
        if "fc1" in self.mlp:
            gate, value = self.mlp["fc1"](normed).chunk(2, -1)
        else:
            gate, value = self.mlp["fc1_g"](normed), self.mlp["fc1_x"](normed)
        grown: torch.Tensor = self.mlp["fc2"](self.mlp["norm"](F.silu(gate) * value))
        return x + grown

    def specialise(self, fused: bool) -> None:
        assert isinstance(self.attn, EvaAttention)
        self.attn = QuickEvaAttention(self.attn, fused)
        _join(self.mlp, ("fc1_g", "fc1_x"), "fc1")


def _rotation(side: int, dim: int, reference: tuple[int, int]) -> Rotation:
    """Angles of each patch's row and column, as in timm's `RotaryEmbeddingCat`."""
    # These are needed even if the parameters are only placeholders ("meta").
    with torch.device("cpu"):
        bands = 1.0 / (10_000 ** (torch.arange(dim // 4).float() / (dim // 4)))
        axes = [torch.arange(side).float() / side * length for length in reference]
        grid = torch.stack(torch.meshgrid(axes, indexing="ij"), -1)
        angles = (grid[..., None] * bands).reshape(side**2, dim // 2)
        # The class token is not rotated.
        angles = torch.cat([torch.zeros(1, dim // 2), angles])
        return angles.sin(), angles.cos()


class BertTower(nn.Module):
    """The encoder of BERT and of XLM-RoBERTa, without pooler and dropout."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.config = config
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": _embedding(config.vocab_size, dim),
                "position_embeddings": _embedding(config.max_position_embeddings, dim),
                "token_type_embeddings": _embedding(config.type_vocab_size, dim),
                "LayerNorm": nn.LayerNorm(dim, eps=config.layer_norm_eps),
            }
        )
        layers = nn.ModuleList(_bert_layer(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})

    def place(self, embedded: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Add the embeddings of positions (tokens,) to (n, tokens, dim), and normalise."""
        placed: torch.Tensor = self.embeddings["LayerNorm"](
            embedded + self.embeddings["position_embeddings"](positions)
        )
        return placed

    def embed_words(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Token ids (n, tokens) at positions (tokens,) to (n, tokens, dim)."""
        words: Any = self.embeddings
        embedded = words["word_embeddings"](ids) + words["token_type_embeddings"].weight[0]
        return self.place(embedded, positions)

    def forward(
        self, hidden: torch.Tensor, mask: torch.Tensor | None, fused: bool = True
    ) -> torch.Tensor:
        """The last layer's first token.

        Args:
            hidden: (n, tokens, dim), embedded and normalised.
            mask: (n, tokens) bool, False at padding; None if there is none.
            fused: see `attend`.

        Returns:
            (n, dim).
        """
        mask = None if mask is None else mask[:, None, None, :]
        every: Any = self.encoder["layer"]
        *layers, last = every
        for layer in layers:
            hidden = self._layer(layer, hidden, hidden, mask, fused)
        # Only the first token is read, so only that one goes through the last layer.
        return self._layer(last, hidden[:, :1], hidden, mask, fused)[:, 0]

    def specialise(self) -> None:
        """Replace layers with quicker ones that cannot be trained."""
        every: Any = self.encoder["layer"]
        # The last layer's query covers other positions than its key and value.
        for layer in every[:-1]:
            _join(layer["attention"]["self"], ("query", "key", "value"), "qkv")

    def _layer(
        self,
        layer: Any,
        queries: torch.Tensor,
        hidden: torch.Tensor,
        mask: torch.Tensor | None,
        fused: bool,
    ) -> torch.Tensor:
        """One post-norm layer, for the positions in `queries`."""

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:2], self.config.num_attention_heads, -1).transpose(1, 2)

        own, output = layer["attention"]["self"], layer["attention"]["output"]
        if "qkv" in own:
            query, key, value = own["qkv"](hidden).chunk(3, -1)
        else:
            query, key, value = own["query"](queries), own["key"](hidden), own["value"](hidden)
        context = attend(split(query), split(key), split(value), mask, fused)
        attended = output["LayerNorm"](output["dense"](context) + queries)
        grown = layer["output"]["dense"](F.gelu(layer["intermediate"]["dense"](attended)))
        result: torch.Tensor = layer["output"]["LayerNorm"](grown + attended)
        return result


def _embedding(rows: int, dim: int) -> nn.Embedding:
    """An embedding without drawn weights, for which torch would load its compiler for seconds."""
    return nn.Embedding(rows, dim, _weight=torch.empty(rows, dim))


def _join(layers: nn.ModuleDict, names: Sequence[str], joined: str) -> None:
    """Replace layers of the same input with one."""
    parts: list[Any] = [layers.pop(name) for name in names]
    layers[joined] = side_by_side([one.weight for one in parts], [one.bias for one in parts])


def _bert_layer(config: BertConfig) -> nn.ModuleDict:
    dim, grown = config.hidden_size, config.intermediate_size

    def output(width: int) -> nn.ModuleDict:
        norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        return nn.ModuleDict({"dense": nn.Linear(width, dim), "LayerNorm": norm})

    own = nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("query", "key", "value")})
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict({"self": own, "output": output(dim)}),
            "intermediate": nn.ModuleDict({"dense": nn.Linear(dim, grown)}),
            "output": output(grown),
        }
    )
