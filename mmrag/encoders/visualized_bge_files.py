"""Visualized BGE from the official checkpoint, from a folder of ours, or with fresh weights.

A folder of ours holds `config.json`, `model.safetensors` and the tokenizer's files; `save_folder`
writes it and `load_folder` reads it, for the official sizes and for small ones alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from timm.models.eva import Eva
from timm.models.eva import checkpoint_filter_fn as rename_eva_keys

from mmrag.encoders.checkpoints import (
    StateDict,
    load_into,
    read_card,
    read_state_dict,
    write_card,
    write_safetensors,
)
from mmrag.encoders.visualized_bge import MEAN, STD, VisualizedBGE
from mmrag.errors import CheckpointError, MmragError

OFFICIAL_VISION = {
    "visualized-bge-base": "eva02_base_patch16_clip_224",
    "visualized-bge-m3": "eva02_large_patch14_clip_224",
}


def load_official(name: str, checkpoint: str, text_model: str) -> VisualizedBGE:
    """The model from an official checkpoint file and the text model's configuration and tokenizer.

    Args:
        name: `visualized-bge-base` or `visualized-bge-m3`.
        checkpoint: path of the `.pth` file.
        text_model: local folder or hub name; only its configuration and tokenizer are read.

    Raises:
        CheckpointError: wrong or incomplete checkpoint, or no text model.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(text_model, trust_remote_code=False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(text_model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"No text model at {text_model!r} (its config.json and tokenizer are needed); "
            f"`python -m mmrag download {name}` brings it."
        ) from error
    state = read_state_dict(checkpoint)
    model = VisualizedBGE(_vision(OFFICIAL_VISION[name], {}), _text(config.to_dict()), tokenizer)
    load_into(model, _rename_official(state, model.vision), str(checkpoint))
    model.architecture = {"vision": {"timm": OFFICIAL_VISION[name]}, "text": config.to_dict()}
    return model


def load_folder(folder: Path) -> VisualizedBGE:
    """The model that `save_folder` wrote."""
    try:
        config = read_card(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = _build(config, tokenizer)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is not an encoder of this project: {error}") from error
    load_into(model, read_state_dict(folder / "model.safetensors"), str(folder))
    return model


def save_folder(model: VisualizedBGE, folder: Path, card: Mapping[str, Any]) -> None:
    """Write `config.json` (with `card`: name, licence, source), the tokenizer and the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.tokenizer.save_pretrained(str(folder))
    write_safetensors(model, folder / "model.safetensors")
    write_card(folder, {"class": "visualized-bge", **card, **model.architecture})


def create(config: Mapping[str, Any], texts: Iterable[str], seed: int = 0) -> VisualizedBGE:
    """A model with fresh weights and a vocabulary of the words in `texts`.

    Args:
        config: `vision` (timm model name under `timm`, and what to change of it), `text`
            (arguments of transformers' BERT configuration) and `vocab_size`.
        texts: a corpus of the domain, for the vocabulary.
        seed: of the weights.
    """
    tokenizer = make_tokenizer(texts, int(config.get("vocab_size", 4000)))
    text = {"model_type": "bert", **config["text"], "vocab_size": len(tokenizer)}
    text.setdefault("pad_token_id", tokenizer.pad_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build({"vision": config["vision"], "text": text}, tokenizer, fresh=True)


def preprocessing(model: VisualizedBGE) -> dict[str, Any]:
    """What, beside the weights, decides the vectors; part of the fingerprint."""
    return {
        "class": "visualized-bge",
        "image_size": model.image_size,
        "resize": "shorter side, bicubic, centre crop",
        "mean": MEAN,
        "std": STD,
        "precision": "float",
        "tokenizer": sorted(model.tokenizer.get_vocab().items()),
    }


def _build(
    config: Mapping[str, Any],
    tokenizer: transformers.PreTrainedTokenizerBase,
    fresh: bool = False,
) -> VisualizedBGE:
    vision = dict(config["vision"])
    name = vision.pop("timm")
    if name not in OFFICIAL_VISION.values():
        raise MmragError(f"Vision tower {name!r} is not one of {list(OFFICIAL_VISION.values())}.")
    model = VisualizedBGE(_vision(name, vision), _text(config["text"], fresh), tokenizer)
    model.architecture = {"vision": config["vision"], "text": dict(config["text"])}
    return model


def _vision(name: str, changes: Mapping[str, Any]) -> Eva:
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    model = timm.create_model(name, pretrained=False, num_classes=0, **changes)
    assert isinstance(model, Eva)
    return model


def _text(config: Mapping[str, Any], fresh: bool = False) -> Any:
    kind = config.get("model_type")
    if kind not in ("bert", "xlm-roberta"):
        raise CheckpointError(
            f"The text model is {kind!r}; Visualized BGE needs BERT or XLM-RoBERTa."
        )
    rest = {key: value for key, value in config.items() if key != "model_type"}
    text_config = transformers.AutoConfig.for_model(kind, **rest)
    # Without fresh weights nothing is allocated here: the checkpoint's own tensors move in.
    with torch.device("cpu" if fresh else "meta"):
        kinds = {"bert": transformers.BertModel, "xlm-roberta": transformers.XLMRobertaModel}
        model: Any = kinds[kind](text_config, add_pooling_layer=False)
    # Positions are counted by `VisualizedBGE`; these buffers would stay without memory.
    for name, _ in list(model.embeddings.named_buffers(recurse=False)):
        delattr(model.embeddings, name)
    return model


def _rename_official(state: StateDict, vision: Eva) -> StateDict:
    renamed: StateDict = {}
    tower: StateDict = {}
    for key, value in state.items():
        if key.startswith("bge_embeddings."):
            renamed["text.embeddings." + key.removeprefix("bge_embeddings.")] = value
        elif key.startswith("bge_encoder."):
            renamed["text.encoder." + key.removeprefix("bge_encoder.")] = value
        elif key.startswith("model_visual.visual."):
            tower[key.removeprefix("model_visual.")] = value
        elif key.startswith("visual_proj."):
            renamed[key] = value
    if "visual.pos_embed" in tower and "visual.patch_embed.proj.weight" in tower:
        for key, value in rename_eva_keys(tower, vision).items():
            renamed["vision." + key] = value
    return renamed


def make_tokenizer(texts: Iterable[str], vocab_size: int) -> transformers.PreTrainedTokenizerBase:
    """A lower-casing WordPiece tokenizer (`[CLS] ... [SEP]`) that knows the words of `texts`.

    Its vocabulary is every printable ASCII character and the most frequent words; a word that is
    not among them is spelled from the longest pieces that are, so none is lost.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    characters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += characters + ["##" + character for character in characters]
    words = sorted(counts, key=lambda word: (-counts[word], word))
    pieces += [word for word in words if len(word) > 1][: max(0, vocab_size - len(pieces))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
