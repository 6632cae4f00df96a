"""Visualized BGE: image tokens enter a BERT-like text encoder beside the words.

Method: J. Zhou, Z. Liu, S. Xiao, B. Zhao, Y. Xiong: "VISTA: Visualized Text Embedding For
Universal Multi-Modal Retrieval", ACL 2024, arXiv:2406.04292. The vision tower is timm's
EVA-02-CLIP, the text encoder transformers' BERT or XLM-RoBERTa.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmrag.encoders.attention import RotaryAttention, attend
from mmrag.images import Pixels, resize_and_crop

if TYPE_CHECKING:
    from PIL import Image
    from timm.models.eva import Eva
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
logger = logging.getLogger("mmrag")


class VisualizedBGE(nn.Module):
    """Embeds images, texts and pairs.

    Args:
        vision: timm EVA model; its final norm and head are not used.
        text: transformers BERT or XLM-RoBERTa model without pooler.
        tokenizer: the text model's tokenizer.
    """

    def __init__(
        self, vision: Eva, text: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        # The tokens that count are those before the final norm; the head is never called.
        vision.norm = nn.Identity()
        vision.head = nn.Identity()
        self.vision = vision
        self.text: Any = text
        self.visual_proj = nn.Linear(vision.embed_dim, text.config.hidden_size)
        self.tokenizer = tokenizer
        self.dim: int = text.config.hidden_size
        self.image_size: int = vision.patch_embed.img_size[0]
        self.image_tokens: int = vision.patch_embed.num_patches
        # XLM-RoBERTa counts positions of a plain text from padding_idx + 1, BERT from 0.
        is_bert = text.config.model_type == "bert"
        self._first_position = 0 if is_bert else text.config.pad_token_id + 1
        self.max_text_tokens: int = text.config.max_position_embeddings - self._first_position
        self._warned = False
        self._fused = True
        self.architecture: dict[str, Any] = {}
        self.register_buffer("_mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image to (size, size, 3) uint8: shorter side to size (bicubic), centre crop."""
        return resize_and_crop(image, self.image_size)

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """Embed n inputs of one kind.

        Args:
            pixels: (n, size, size, 3) uint8 on any device, or None for plain texts.
            texts: n strings, or None for images alone.

        Returns:
            (n, dim) vectors of the last layer's `[CLS]`, not normalised.
        """
        if pixels is None:
            assert texts is not None
            ids, mask = self._tokenize(texts, self.max_text_tokens)
            positions = torch.arange(ids.shape[1], device=ids.device) + self._first_position
            return self._encode(self._embed_words(ids, positions), mask)
        images = self._image_tokens(pixels)
        n, count, _ = images.shape
        room = min(self.text.config.max_position_embeddings - count, self.max_text_tokens)
        ids, mask = self._tokenize(texts if texts is not None else [""] * n, room)
        # [CLS] is at position 0, the image at 1...n, what follows [CLS] at n + 1, n + 2, ...
        positions = torch.arange(ids.shape[1], device=ids.device) + count
        positions[0] = 0
        words = self._embed_words(ids, positions)
        hidden = torch.cat([words[:, :1], images, words[:, 1:]], dim=1)
        if mask is not None:
            mask = torch.cat([mask[:, :1], mask.new_ones(n, count), mask[:, 1:]], dim=1)
        return self._encode(hidden, mask)

    def _image_tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = self.visual_proj.weight
        scaled = pixels.to(weight.device).permute(0, 3, 1, 2).float() / 255
        normed = (scaled - self.get_buffer("_mean").float()) / self.get_buffer("_std").float()
        tokens = self.vision.forward_features(normed.to(weight.dtype))
        tokens = self.visual_proj(tokens[:, self.vision.num_prefix_tokens :])
        embeddings = self.text.embeddings
        positions = torch.arange(1, tokens.shape[1] + 1, device=weight.device)
        return embeddings.LayerNorm(tokens + embeddings.position_embeddings(positions))

    def _embed_words(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embeddings = self.text.embeddings
        token_type = embeddings.token_type_embeddings.weight[0]
        words = embeddings.word_embeddings(ids) + token_type
        return embeddings.LayerNorm(words + embeddings.position_embeddings(positions))

    def _encode(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mask = None if mask is None else mask[:, None, None, :]
        *layers, last = self.text.encoder.layer
        for layer in layers:
            hidden = _bert_layer(layer, hidden, hidden, mask, self._fused)
        # Only [CLS] is read, so only [CLS] goes through the last layer.
        return _bert_layer(last, hidden[:, :1], hidden, mask, self._fused)[:, 0]

    def specialise(self, fused: bool) -> None:
        """Make it quicker in ways that cannot be trained any more.

        Args:
            fused: see `attend`.
        """
        self._fused = fused
        blocks: Any = self.vision.blocks
        rope: Any = self.vision.rope
        for block in blocks:
            block.attn = RotaryAttention(block.attn, rope.get_embed(), fused)

    def _tokenize(
        self, texts: Sequence[str], room: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token ids (n, length), and where padding is False, or None when there is none."""
        encoded: Any = self.tokenizer(list(texts), add_special_tokens=True)["input_ids"]
        longest = max(len(ids) for ids in encoded)
        if longest > room:
            if not self._warned:
                logger.warning(
                    "A text has %d tokens; only the first %d are used. Said once.", longest, room
                )
                self._warned = True
            encoded = [ids if len(ids) <= room else [*ids[: room - 1], ids[-1]] for ids in encoded]
            longest = room
        pad = self.tokenizer.pad_token_id
        padded = [[*ids, *[pad] * (longest - len(ids))] for ids in encoded]
        device = self.visual_proj.weight.device
        batch = torch.tensor(padded, dtype=torch.long).to(device, non_blocking=True)
        # Compared here, not on the device, which would have to be waited for.
        if all(len(ids) == longest for ids in encoded):
            return batch, None
        lengths = torch.tensor([len(ids) for ids in encoded])
        mask = torch.arange(longest) < lengths[:, None]
        return batch, mask.to(device, non_blocking=True)


def _bert_layer(
    layer: Any,
    queries: torch.Tensor,
    hidden: torch.Tensor,
    mask: torch.Tensor | None,
    fused: bool,
) -> torch.Tensor:
    """One post-norm transformer layer of BERT for the positions in `queries`, without dropout."""
    attention = layer.attention.self
    heads = attention.num_attention_heads

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    context = attend(
        split(attention.query(queries)),
        split(attention.key(hidden)),
        split(attention.value(hidden)),
        mask,
        fused,
    )
    output = layer.attention.output
    attended = output.LayerNorm(output.dense(context) + queries)
    return layer.output.LayerNorm(layer.output.dense(layer.intermediate(attended)) + attended)
