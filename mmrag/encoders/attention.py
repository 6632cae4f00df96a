"""Attention: in one kernel or in two products, EVA-02's rotary attention, and CLIP's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

# Sines and cosines, (1 + patches, dim / 2) each; the class token's are 0 and 1.
Rotation = tuple[torch.Tensor, torch.Tensor]
# With this many scores or more, inputs are better taken one by one: about 0.5 MB in bf16.
_MANY_SCORES = 2**18


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    fused: bool = True,
) -> torch.Tensor:
    """Attention of n inputs with h heads; all tensors are (n, h, tokens, dim).

    Args:
        query: may have fewer tokens than `key` and `value`.
        key: what queries are compared with.
        value: what is averaged.
        mask: bool, False where a key is hidden, such as (n, 1, 1, tokens) for padding, or float to
            add to the scores; None if nothing is hidden.
        fused: one kernel (torch's `scaled_dot_product_attention`) instead of two matrix products,
            which are quicker in bf16 on a CPU.

    Returns:
        (n, query tokens, h * dim).
    """
    if fused:
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    elif mask is None and query.shape[1] * query.shape[2] * key.shape[2] > _MANY_SCORES:
        return _attend_one_by_one(query, key, value)
    else:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if mask is not None:
            hidden = mask.dtype == torch.bool
            scores = scores.masked_fill(~mask, -torch.inf) if hidden else scores + mask
        context = scores.softmax(-1) @ value
    return context.transpose(1, 2).flatten(2)


def _attend_one_by_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`attend` in two products, input by input, so that the scores stay in the cache."""
    n, heads, tokens, dim = query.shape
    scores = query.new_empty(heads, tokens, key.shape[2])
    context = query.new_empty(heads, tokens, dim)
    contexts = query.new_empty(n, tokens, heads, dim)
    for i in range(n):
        keys = key[i].transpose(-2, -1)
        torch.baddbmm(scores, query[i], keys, beta=0, alpha=dim**-0.5, out=scores)
        torch.softmax(scores, -1, out=scores)
        torch.bmm(scores, value[i], out=context)
        contexts[i] = context.transpose(0, 1)
    return contexts.flatten(2)


def side_by_side(weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor]) -> nn.Linear:
    """One layer for several with the same input, which int8 then quantises once.

    Args:
        weights: (out, in) of each layer.
        biases: (out,) of each layer.
    """
    weight, bias = torch.cat([*weights]).detach(), torch.cat([*biases]).detach()
    joined = nn.Linear(weight.shape[1], weight.shape[0])
    joined.weight, joined.bias = nn.Parameter(weight), nn.Parameter(bias)
    return joined


class EvaAttention(nn.Module):
    """The attention of an EVA-02-CLIP block, with timm's names of parameters."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """(n, tokens, dim) to the same shape."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        context = attend(_rotate(query, rotation), _rotate(key, rotation), value)
        attended: torch.Tensor = self.proj(self.norm(context))
        return attended


def _rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turn neighbouring channels (2i, 2i + 1) of (n, heads, tokens, dim) by each token's angles."""
    sine, cosine = rotation
    even, odd = x[..., ::2], x[..., 1::2]
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1)
    return turned.flatten(-2)


class QuickEvaAttention(nn.Module):
    """`EvaAttention` for inference only.

    Queries, keys and values come from one product. The channels of queries and keys are reordered,
    even ones first, so that the rotation works on two halves and writes straight to where the
    products need it; inner products do not depend on the order of channels.

    Args:
        attention: with its weights loaded.
        fused: see `attend`.
    """

    def __init__(self, attention: EvaAttention, fused: bool) -> None:
        super().__init__()
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        self.heads, self._fused = attention.heads, fused
        dim = query.out_features // self.heads
        order = torch.cat([torch.arange(0, dim, 2), torch.arange(1, dim, 2)])

        def halves(channels: torch.Tensor) -> torch.Tensor:
            by_head = channels.view(self.heads, dim, *channels.shape[1:])
            return by_head[:, order].flatten(0, 1)

        self.qkv = side_by_side(
            [halves(query.weight), halves(key.weight), value.weight],
            [halves(query.bias), torch.zeros_like(query.bias), value.bias],
        )
        self.norm, self.proj = attention.norm, attention.proj

    def forward(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """(n, tokens, dim) to the same shape; no gradients."""
        sine, cosine = (table[:, None, None] for table in rotation)
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        n, tokens, _, _, dim = qkv.shape
        even, odd = qkv[:, :, :2].chunk(2, -1)
        if torch.compiler.is_compiling():
            # The compiler fuses these, and cannot write into parts of existing tensors.
            halves = even * cosine - odd * sine, odd * cosine + even * sine
            rotated = torch.cat(halves, -1).permute(2, 0, 3, 1, 4)
        else:
            rotated = x.new_empty(2, n, self.heads, tokens, dim)
            out = rotated.permute(1, 3, 0, 2, 4)
            torch.mul(even, cosine, out=out[..., : dim // 2]).addcmul_(odd, sine, value=-1)
            torch.mul(odd, cosine, out=out[..., dim // 2 :]).addcmul_(even, sine)
        value = qkv[:, :, 2].transpose(1, 2)
        context = attend(rotated[0], rotated[1], value, None, self._fused)
        attended: torch.Tensor = self.proj(self.norm(context))
        return attended


class QuickSelfAttention(nn.Module):
    """torch's `MultiheadAttention` as open_clip's blocks call it, for inference only.

    torch's transposes batches, and in bf16 copies the weights for each input of the batch.

    Args:
        attention: with `batch_first`, over queries, keys and values of one width.
        fused: see `attend`.
    """

    def __init__(self, attention: nn.MultiheadAttention, fused: bool) -> None:
        super().__init__()
        self.heads, self._fused = attention.num_heads, fused
        self.qkv = nn.Linear(attention.embed_dim, 3 * attention.embed_dim)
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.proj = nn.Linear(attention.embed_dim, attention.embed_dim)
        self.proj.weight, self.proj.bias = attention.out_proj.weight, attention.out_proj.bias

    def forward(
        self,
        x: torch.Tensor,
        *_: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """(n, tokens, dim) to the same shape; keys and values come from the same `x`."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attend(qkv[0], qkv[1], qkv[2], attn_mask, self._fused)), None
