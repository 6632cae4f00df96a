"""Attention for inference: in one kernel or two products, and timm's rotary one without detours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from timm.models.eva import EvaAttention


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    fused: bool,
) -> torch.Tensor:
    """Attention of n inputs with h heads; all tensors are (n, h, tokens, dim).

    Args:
        query: its tokens may be fewer than those of `key` and `value`.
        key: what queries are compared with.
        value: what is averaged.
        mask: (n, 1, 1, tokens) bool, False where a key is padding; None when nothing is.
        fused: one kernel (torch's `scaled_dot_product_attention`) instead of two matrix products.
            The products are quicker in bf16 on a CPU.

    Returns:
        (n, query tokens, h * dim).
    """
    if fused:
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    else:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill_(~mask, -torch.inf)
        context = scores.softmax(-1) @ value
    return context.transpose(1, 2).flatten(2)


class RotaryAttention(nn.Module):
    """The attention of a timm EVA-02 block, for inference.

    Queries, keys and values come from one product. timm rotates neighbouring channels (2i, 2i + 1);
    here the channels of queries and keys are reordered, the even ones first, so that the rotation
    works on two halves and is written straight to where the products want it. Inner products do
    not depend on the order of channels.

    Args:
        attention: timm's, with separate projections.
        rope: its rotary embedding, (patches, 2 * dim): sines, then cosines.
        fused: see `attend`.
    """

    def __init__(self, attention: EvaAttention, rope: torch.Tensor, fused: bool) -> None:
        super().__init__()
        heads, dim, prefix = attention.num_heads, attention.head_dim, attention.num_prefix_tokens
        order = torch.cat([torch.arange(0, dim, 2), torch.arange(1, dim, 2)])

        def halves(channels: torch.Tensor) -> torch.Tensor:
            return channels.view(heads, dim, *channels.shape[1:])[:, order].flatten(0, 1)

        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        assert query is not None
        assert key is not None
        assert value is not None
        self.qkv = nn.Linear(query.in_features, 3 * heads * dim)
        weights = [halves(query.weight), halves(key.weight), value.weight]
        # Keys have no bias: it would change nothing.
        biases = [halves(query.bias), query.bias.new_zeros(heads * dim), value.bias]
        self.qkv.weight = nn.Parameter(torch.cat(weights).detach())
        self.qkv.bias = nn.Parameter(torch.cat(biases).detach())
        self.norm, self.proj = attention.norm, attention.proj
        sine, cosine = (table[:, ::2] for table in rope.chunk(2, -1))
        # The class token is not rotated.
        sine = torch.cat([sine.new_zeros(prefix, dim // 2), sine])
        cosine = torch.cat([cosine.new_ones(prefix, dim // 2), cosine])
        self.register_buffer("_sine", sine[:, None, None], persistent=False)
        self.register_buffer("_cosine", cosine[:, None, None], persistent=False)
        self._heads, self._dim, self._fused = heads, dim, fused

    def forward(self, x: torch.Tensor, **_: object) -> torch.Tensor:
        """(n, tokens, channels) to the same shape; no gradients."""
        n, tokens, _channels = x.shape
        half = self._dim // 2
        sine, cosine = self.get_buffer("_sine"), self.get_buffer("_cosine")
        qkv = self.qkv(x).view(n, tokens, 3, self._heads, self._dim)
        even, odd = qkv[:, :, :2].chunk(2, -1)
        rotated = x.new_empty(2, n, self._heads, tokens, self._dim)
        out = rotated.permute(1, 3, 0, 2, 4)
        torch.mul(even, cosine, out=out[..., :half]).addcmul_(odd, sine, value=-1)
        torch.mul(odd, cosine, out=out[..., half:]).addcmul_(even, sine)
        value = qkv[:, :, 2].transpose(1, 2)
        context = attend(rotated[0], rotated[1], value, None, self._fused)
        attended: torch.Tensor = self.proj(self.norm(context))
        return attended
