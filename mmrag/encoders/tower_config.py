"""The sizes of Visualized BGE's towers, without torch, which takes seconds to import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

# CLIP's colour statistics, which EVA-02-CLIP uses too.
EVA_MEAN = (0.48145466, 0.4578275, 0.40821073)
EVA_STD = (0.26862954, 0.26130258, 0.27577711)
TOO_LONG = "A text has %d tokens; only the first %d are used (said once)."


@dataclass(frozen=True)
class EvaConfig:
    """The options in which EVA-02-CLIP towers differ, by timm's names."""

    img_size: int = 224
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    ref_feat_shape: tuple[int, int] = (16, 16)


# Under timm's names.
EVA_TOWERS = {
    "eva02_base_patch16_clip_224": EvaConfig(),
    "eva02_large_patch14_clip_224": EvaConfig(224, 14, 1024, 24, 16),
}


@dataclass(frozen=True)
class BertConfig:
    """Size of a BERT or XLM-RoBERTa encoder, with transformers' names and defaults."""

    model_type: str = "bert"
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    hidden_act: str = "gelu"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertConfig:
        """From transformers' `config.json`.

        Raises:
            ValueError: it describes another kind of model.
        """
        known = {f.name: config[f.name] for f in fields(cls) if config.get(f.name) is not None}
        if known.get("model_type") == "xlm-roberta":
            known.setdefault("pad_token_id", 1)
        made = cls(**known)
        if made.model_type not in ("bert", "xlm-roberta") or made.hidden_act != "gelu":
            raise ValueError(
                f"the text model is {made.model_type!r} with {made.hidden_act!r}; "
                "Visualized BGE needs BERT or XLM-RoBERTa with 'gelu'"
            )
        return made

    @property
    def first_position(self) -> int:
        """The first position of a plain text: padding_idx + 1 in XLM-RoBERTa, 0 in BERT."""
        return 0 if self.model_type == "bert" else self.pad_token_id + 1

    @property
    def max_text_tokens(self) -> int:
        """The most tokens of a plain text."""
        return self.max_position_embeddings - self.first_position


def changes(vision: Mapping[str, Any]) -> dict[str, Any]:
    """A folder's differences from timm's model of that name."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in vision.items() if k != "timm"}


def preprocessing(
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    vocabulary: Iterable[tuple[str, int]],
) -> dict[str, Any]:
    """Everything besides the weights that decides the vectors; part of the fingerprint."""
    return {
        "class": "visualized-bge",
        "image_size": image_size,
        "resize": "shorter side, bicubic, centre crop",
        "mean": mean,
        "std": std,
        "precision": "float",
        "tokenizer": sorted(vocabulary),
    }


def cut(ids: Sequence[int], room: int) -> list[int]:
    """The first tokens of a text, and the last one, which ends it."""
    return list(ids) if len(ids) <= room else [*ids[: room - 1], ids[-1]]
