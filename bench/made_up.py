"""Models of sentence-transformers with made-up weights, in folders like those of a hub.

Speed depends on the architecture, not on the weights' values. Vocabularies are made up too, and
small; the word table is as long as the published one where its size in memory matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)


@dataclass(frozen=True)
class QwenVL:
    """Sizes of a Qwen3-VL: text model, vision tower, and pixels of a picture."""

    text: dict[str, Any]
    vision: dict[str, Any]
    pixels: tuple[int, int]
    vocabulary: int = 0
    dtype: torch.dtype = torch.float32
    rope: dict[str, Any] = field(default_factory=dict)


TINY = QwenVL(
    {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    },
    {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    },
    (1024, 65536),
    rope={"mrope_section": [4, 2, 2]},
)
# From Qwen3-VL-2B's config.json, as in Qwen3-VL-Embedding-2B and Qwen3-VL-Reranker-2B.
TWO_BILLION = QwenVL(
    {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
    (4096, 1310720),
    151936,
    torch.bfloat16,
    {"mrope_section": [24, 20, 20], "rope_theta": 5_000_000},
)


def qwen3_vl(folder: Path, sizes: QwenVL = TINY, *, generates: bool = False) -> Path:
    """Make a model of several pictures, each at its size, and words; a token is 32 x 32 pixels."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLModel,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    words, tokens = _qwen_words()
    config = Qwen3VLConfig(
        text_config={
            **sizes.text,
            "vocab_size": max(len(words), sizes.vocabulary),
            "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, **sizes.rope},
            "pad_token_id": words.pad_token_id,
        },
        vision_config={
            **sizes.vision,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        **tokens,
    )
    torch.manual_seed(0)
    kind = Qwen3VLForConditionalGeneration if generates else Qwen3VLModel
    kind(config).to(sizes.dtype).save_pretrained(folder)
    shortest, longest = sizes.pixels
    pictures = Qwen2VLImageProcessor(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": shortest, "longest_edge": longest},
    )
    videos = Qwen3VLVideoProcessor(patch_size=16, merge_size=2)
    Qwen3VLProcessor(pictures, words, videos, chat_template=_TEMPLATE).save_pretrained(folder)
    return folder


def qwen2_vl(folder: Path) -> Path:
    """Like `qwen3_vl`, tiny, in the architecture of GME-Qwen2-VL; a token is 28 x 28 pixels."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLImageProcessor,
        Qwen2VLModel,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    words, tokens = _qwen_words()
    text = {name: value for name, value in TINY.text.items() if name != "head_dim"}
    config = Qwen2VLConfig(
        text_config={
            **text,
            "vocab_size": len(words),
            "rope_scaling": {"rope_type": "default", **TINY.rope},
            "pad_token_id": words.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "mlp_ratio": 2,
            "num_heads": 2,
            "patch_size": 14,
        },
        **tokens,
    )
    torch.manual_seed(0)
    Qwen2VLModel(config).save_pretrained(folder)
    sizes = {"shortest_edge": 784, "longest_edge": 50176}
    pictures, videos = Qwen2VLImageProcessor(size=sizes), Qwen2VLVideoProcessor()
    Qwen2VLProcessor(pictures, words, videos, chat_template=_TEMPLATE).save_pretrained(folder)
    return folder


def _qwen_words() -> tuple[Any, dict[str, int]]:
    """A tokenizer of single bytes and Qwen's special tokens, and the tokens' ids for a config."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_ = Tokenizer(models.BPE(letters, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
        "turn_token": "<|im_start|>",
    }
    words = PreTrainedTokenizerFast(
        tokenizer_object=bytes_,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=special,
    )
    named = {
        "image_token_id": "image_token",
        "video_token_id": "video_token",
        "vision_start_token_id": "vision_bos_token",
        "vision_end_token_id": "vision_eos_token",
    }
    return words, {
        name: words.convert_tokens_to_ids(special[token]) for name, token in named.items()
    }


def vl_reranker(folder: Path, sizes: QwenVL = TINY) -> Path:
    """Make a scorer of pairs by the logits of two tokens, as in Qwen3-VL-Reranker."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.cross_encoder.modules.logit_score import LogitScore

    made = qwen3_vl(folder / "made", sizes, generates=True)
    seeing = Transformer(str(made), transformer_task="any-to-any")
    CrossEncoder(modules=[seeing, LogitScore(60, 70)], device="cpu").save_pretrained(str(folder))
    return folder


def text_reranker(folder: Path, words: list[str], **sizes: int) -> Path:
    """Make a model that scores pairs of texts; `sizes` are named as in BERT's configuration."""
    from transformers import BertConfig, BertForSequenceClassification

    from mmrag.encoders.visualized_bge_files import make_tokenizer

    tokens = make_tokenizer(words, 1000)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokens), num_labels=1, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
