"""Small models of transformers' with made-up weights, as folders of a hub hold them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from bench import made_up
from mmrag.encoders.visualized_bge_files import make_tokenizer

TEXTS = ["a red mug with stripes", "the same in green"]
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


def make_clip(folder: Path) -> Path:
    """Sees pictures and texts apart, all pictures at one size."""
    words = make_tokenizer(TEXTS, 1000)
    text = {
        **_SMALL,
        "vocab_size": len(words),
        "num_hidden_layers": 1,
        "max_position_embeddings": 32,
        "eos_token_id": words.sep_token_id,
        "bos_token_id": words.cls_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = {**_SMALL, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    CLIPProcessor(pictures, words).save_pretrained(folder)
    return folder


def make_qwen3_vl(folder: Path, *, generates: bool = False) -> Path:
    """Sees both together, several pictures, and each at its own size; a token is 32 x 32 pixels."""
    return made_up.qwen3_vl(folder, generates=generates)


def make_vl_reranker(folder: Path) -> Path:
    """Scores pairs of pictures and texts by the logits of two tokens, as Qwen3-VL-Reranker."""
    return made_up.vl_reranker(folder)


def make_text_reranker(folder: Path) -> Path:
    """Scores pairs of texts."""
    return made_up.text_reranker(folder, TEXTS, **_SMALL, num_hidden_layers=1)
