"""Visualized BGE: image tokens enter a BERT-like text encoder beside the words.

Method: J. Zhou, Z. Liu, S. Xiao, B. Zhao, Y. Xiong: "VISTA: Visualized Text Embedding For
Universal Multi-Modal Retrieval", ACL 2024, arXiv:2406.04292. The vision tower is timm's
EVA-02-CLIP, the text encoder transformers' BERT or XLM-RoBERTa; see `towers`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmrag.encoders.conv_tower import ConvTower
from mmrag.encoders.model import Ability
from mmrag.encoders.tower_config import TOO_LONG, cut
from mmrag.encoders.towers import BertTower, EvaTower
from mmrag.images.decode import Pixels
from mmrag.images.resize import resize_and_crop

if TYPE_CHECKING:
    from PIL import Image
    from transformers import PreTrainedTokenizerBase

    from mmrag.encoders.fast_tokenizer import FastTokenizer

logger = logging.getLogger("mmrag")


class VisualizedBGE(nn.Module):
    """Embeds images, texts and pairs.

    Args:
        vision: turns an image into tokens.
        text: reads them beside the words.
        tokenizer: the text model's tokenizer.
    """

    abilities: frozenset[Ability] = frozenset(
        {"specialise", "int8", "compile", "train", "graph", "square"}
    )
    folder_class = "visualized-bge"

    def __init__(
        self,
        vision: EvaTower | ConvTower,
        text: BertTower,
        tokenizer: PreTrainedTokenizerBase | FastTokenizer,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.dim: int = text.config.hidden_size
        self.visual_proj = nn.Linear(vision.dim, self.dim)
        self.tokenizer = tokenizer
        self.image_size: int = vision.image_size
        self._first_position = text.config.first_position
        self.max_text_tokens: int = text.config.max_text_tokens
        self.lower_depth = 0
        self._warned = False
        self._fused = True
        self.architecture: dict[str, Any] = {}
        self.register_buffer("_mean", torch.tensor(vision.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(vision.std).view(1, 3, 1, 1), persistent=False)

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image to (size, size, 3) uint8: shorter side to size (bicubic), centre crop."""
        return resize_and_crop(image, self.image_size)

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        """Embed n inputs of one kind.

        Args:
            pixels: (n, size, size, 3) uint8 on any device, or what `lower` made of them, or None
                for plain texts.
            texts: n strings, or None for images alone.

        Returns:
            (n, dim) vectors of the last layer's `[CLS]`, not normalised.
        """
        return self.embed_tokens(pixels, *self.tokens(pixels, texts))

    def room(self, pixels: torch.Tensor | None) -> int:
        """The most tokens of a text, beside a picture or alone."""
        if pixels is None:
            return self.max_text_tokens
        beside = self.text.config.max_position_embeddings - self.vision.patches
        return min(beside, self.max_text_tokens)

    def tokens(
        self, pixels: torch.Tensor | None, texts: Sequence[str] | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The host's part of `embed`; see `GraphModel`."""
        if texts is None:
            assert pixels is not None
            texts = [""] * len(pixels)
        return self._tokenize(texts, self.room(pixels))

    def embed_tokens(
        self, pixels: torch.Tensor | None, ids: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The device's part of `embed`; see `GraphModel`."""
        if pixels is None:
            positions = torch.arange(ids.shape[1], device=ids.device) + self._first_position
            return self.text(self.text.embed_words(ids, positions), mask, self._fused)
        images = self._image_tokens(pixels)
        n, count, _ = images.shape
        # [CLS] is at position 0, the image at 1...n, the rest of the text at n + 1, n + 2, ...
        positions = torch.arange(ids.shape[1], device=ids.device) + count
        positions[0] = 0
        words = self.text.embed_words(ids, positions)
        hidden = torch.cat([words[:, :1], images, words[:, 1:]], dim=1)
        if mask is not None:
            mask = torch.cat([mask[:, :1], mask.new_ones(n, count), mask[:, 1:]], dim=1)
        return self.text(hidden, mask, self._fused)

    def lower(self, pixels: torch.Tensor, depth: int) -> torch.Tensor:
        """Pixels as `embed` takes them through the tower's first `depth` layers, float16.

        `embed` continues from there if `lower_depth` is `depth`.
        """
        assert isinstance(self.vision, ConvTower)
        return self.vision.lower(self._normed(pixels), depth).half()

    def _normed(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = self.visual_proj.weight
        scaled = pixels.to(weight.device).permute(0, 3, 1, 2).float() / 255
        normed = (scaled - self.get_buffer("_mean").float()) / self.get_buffer("_std").float()
        return normed.to(weight.dtype)

    def _image_tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = self.visual_proj.weight
        if pixels.is_floating_point():
            begun = pixels.to(weight.device, weight.dtype)
            tokens = self.visual_proj(self.vision(begun, self.lower_depth))
        else:
            tokens = self.visual_proj(self.vision(self._normed(pixels)))
        positions = torch.arange(1, tokens.shape[1] + 1, device=weight.device)
        return self.text.place(tokens, positions)

    def specialise(self, fused: bool) -> None:
        """Replace layers with quicker ones that cannot be trained.

        Args:
            fused: see `attend`.
        """
        self._fused = fused
        self.vision.specialise(fused)
        self.text.specialise()

    def compile_images(self, n: int) -> None:
        """Compile the path of batches of `n` images without words; see `compiled_for`."""
        from mmrag.encoders.compiled import compiled_for

        images = (n, 3, self.image_size, self.image_size)
        # The image plus [CLS] and [SEP].
        hidden = (n, self.vision.patches + 2, self.dim)
        self.vision.forward = compiled_for(images, self.vision.forward)  # type: ignore[method-assign]
        self.text.forward = compiled_for(hidden, self.text.forward)  # type: ignore[method-assign]

    def _tokenize(
        self, texts: Sequence[str], room: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token ids (n, length), and a mask, False at padding, or None if there is none."""
        encoded: Any = self.tokenizer(list(texts), add_special_tokens=True)["input_ids"]
        longest = max(len(ids) for ids in encoded)
        if longest > room:
            if not self._warned:
                logger.warning(TOO_LONG, longest, room)
                self._warned = True
            encoded = [cut(ids, room) for ids in encoded]
            longest = room
        pad = self.tokenizer.pad_token_id
        padded = [[*ids, *[pad] * (longest - len(ids))] for ids in encoded]
        device = self.visual_proj.weight.device
        batch = torch.tensor(padded, dtype=torch.long).to(device, non_blocking=True)
        # Compared on the host, to avoid waiting for the device.
        if all(len(ids) == longest for ids in encoded):
            return batch, None
        lengths = torch.tensor([len(ids) for ids in encoded])
        mask = torch.arange(longest) < lengths[:, None]
        return batch, mask.to(device, non_blocking=True)
