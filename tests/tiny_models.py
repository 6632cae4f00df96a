"""Small models of transformers' with made-up weights, as folders of a hub hold them."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from mmrag.encoders.visualized_bge_files import make_tokenizer

TEXTS = ["a red mug with stripes", "the same in green"]
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)


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
    special = {
        name: f"<|{name}|>"
        for name in ("endoftext", "im_start", "im_end", "vision_start", "vision_end")
    }
    special |= {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    letters = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_ = Tokenizer(models.BPE(letters, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = PreTrainedTokenizerFast(
        tokenizer_object=bytes_,
        eos_token=special["im_end"],
        pad_token=special["endoftext"],
        extra_special_tokens={
            "image_token": special["image"],
            "video_token": special["video"],
            "vision_bos_token": special["vision_start"],
            "vision_eos_token": special["vision_end"],
            "turn_token": special["im_start"],
        },
    )
    ids = {name: words.convert_tokens_to_ids(token) for name, token in special.items()}
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            **_SMALL,
            "vocab_size": len(words),
            "num_hidden_layers": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rope_scaling": rope,
            "pad_token_id": ids["endoftext"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["image"],
        video_token_id=ids["video"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    torch.manual_seed(0)
    kind = Qwen3VLForConditionalGeneration if generates else Qwen3VLModel
    kind(config).save_pretrained(folder)
    sizes = {"shortest_edge": 1024, "longest_edge": 65536}
    pictures = Qwen2VLImageProcessor(patch_size=16, temporal_patch_size=2, merge_size=2, size=sizes)
    videos = Qwen3VLVideoProcessor(patch_size=16, merge_size=2)
    Qwen3VLProcessor(pictures, words, videos, chat_template=_TEMPLATE).save_pretrained(folder)
    return folder


def make_vl_reranker(folder: Path) -> Path:
    """Scores pairs of pictures and texts by the logits of two tokens, as Qwen3-VL-Reranker."""
    made = make_qwen3_vl(folder / "made", generates=True)
    seeing = Transformer(str(made), transformer_task="any-to-any")
    CrossEncoder(modules=[seeing, LogitScore(60, 70)], device="cpu").save_pretrained(str(folder))
    return folder


def make_text_reranker(folder: Path) -> Path:
    """Scores pairs of texts."""
    words = make_tokenizer(TEXTS, 1000)
    torch.manual_seed(0)
    config = BertConfig(**_SMALL, vocab_size=len(words), num_hidden_layers=1, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
