"""Visualized BGE from the official checkpoint, from one of our folders, or with fresh weights.

Our folders hold `config.json`, `model.safetensors` and the tokenizer's files; `save_folder` writes
and `load_folder` reads them, for official and small sizes alike.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmrag.encoders import tower_config
from mmrag.encoders.checkpoints import (
    StateDict,
    check_sizes,
    load_into,
    read_card,
    read_state_dict,
    write_card,
    write_safetensors,
)
from mmrag.encoders.conv_tower import ConvConfig, ConvTower
from mmrag.encoders.fast_tokenizer import FastTokenizer
from mmrag.encoders.tower_config import BertConfig, EvaConfig
from mmrag.encoders.towers import BertTower, EvaTower
from mmrag.encoders.visualized_bge import VisualizedBGE
from mmrag.errors import CheckpointError, MmragError
from mmrag.system.durable import put_through

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OFFICIAL_VISION = {
    "visualized-bge-base": "eva02_base_patch16_clip_224",
    "visualized-bge-m3": "eva02_large_patch14_clip_224",
}
# The towers by timm's names.
_TOWERS: dict[str, EvaConfig | ConvConfig] = {
    **tower_config.EVA_TOWERS,
    "tf_efficientnet_lite0": ConvConfig(),
}
# The official checkpoint's names where timm's, and so `EvaTower`'s, differ.
_RENAMED = {
    "mlp.ffn_ln": "mlp.norm",
    "attn.inner_attn_ln": "attn.norm",
    "mlp.w1": "mlp.fc1_g",
    "mlp.w2": "mlp.fc1_x",
    "mlp.w3": "mlp.fc2",
    "q_bias": "q_proj.bias",
    "v_bias": "v_proj.bias",
}


def load_official(name: str, checkpoint: str, text_model: str) -> VisualizedBGE:
    """The model from an official checkpoint file and the text model's configuration and tokenizer.

    Args:
        name: `visualized-bge-base` or `visualized-bge-m3`.
        checkpoint: path of the `.pth` file.
        text_model: folder; only its configuration and tokenizer are read.

    Raises:
        CheckpointError: wrong or incomplete checkpoint, or no text model.
    """
    try:
        text = json.loads((Path(text_model) / "config.json").read_text(encoding="utf-8"))
        config = BertConfig.of(text)
        tokenizer = _tokenizer(Path(text_model))
    # A damaged tokenizer fails in many ways.
    except Exception as error:
        raise CheckpointError(
            f"No text model at {text_model!r} (its config.json and tokenizer are needed: {error}); "
            f"`mmrag download {name}` brings it."
        ) from error
    state = read_state_dict(checkpoint)
    model = _build({"timm": OFFICIAL_VISION[name]}, config, tokenizer)
    load_into(model, _rename_official(state), str(checkpoint), name_of=_official_name)
    return model


def load_folder(folder: Path) -> VisualizedBGE:
    """The model that `save_folder` wrote."""
    try:
        card = read_card(folder)
        model = _build(card["vision"], BertConfig.of(card["text"]), _tokenizer(folder))
    except MmragError:
        raise
    # An invalid configuration or tokenizer fails in many ways.
    except Exception as error:
        raise CheckpointError(f"{folder} is not an encoder of this project: {error}") from error
    load_into(model, read_state_dict(folder / "model.safetensors"), str(folder))
    return model


def save_folder(model: VisualizedBGE, folder: Path, card: Mapping[str, Any]) -> None:
    """Write `config.json` (with `card`: name, licence, source), the tokenizer and the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.tokenizer.save_pretrained(str(folder))
    write_safetensors(model, folder / "model.safetensors")
    put_through(folder)
    write_card(folder, {"class": "visualized-bge", **card, **model.architecture})


def create(config: Mapping[str, Any], texts: Iterable[str], seed: int = 0) -> VisualizedBGE:
    """A model with fresh weights and a vocabulary of the words in `texts`.

    Args:
        config: `vision` (timm model name under `timm`, and changes to it), `text`
            (arguments of transformers' BERT configuration) and `vocab_size`.
        texts: a corpus of the domain, for the vocabulary.
        seed: of the weights.
    """
    tokenizer = make_tokenizer(texts, int(config.get("vocab_size", 4000)))
    text = {"model_type": "bert", **config["text"], "vocab_size": len(tokenizer)}
    text.setdefault("pad_token_id", tokenizer.pad_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = _draw(config["vision"], text)
        model = _build(config["vision"], BertConfig.of(text), tokenizer)
    drawn |= {f"visual_proj.{key}": value for key, value in model.visual_proj.state_dict().items()}
    load_into(model, drawn, "the configuration")
    return model


def preprocessing(model: VisualizedBGE) -> dict[str, Any]:
    """Everything besides the weights that decides the vectors; part of the fingerprint."""
    vision, vocabulary = model.vision, model.tokenizer.get_vocab()
    return tower_config.preprocessing(model.image_size, vision.mean, vision.std, vocabulary.items())


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase | FastTokenizer:
    if FastTokenizer.can_read(folder):
        return FastTokenizer(folder)
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False
    )
    return tokenizer


def _build(
    vision: Mapping[str, Any],
    text: BertConfig,
    tokenizer: PreTrainedTokenizerBase | FastTokenizer,
) -> VisualizedBGE:
    """The architecture, with placeholders for the towers' parameters until they are loaded."""
    check_sizes({**vision, **asdict(text)}, "the configuration")
    changes = tower_config.changes(vision)
    if vision["timm"] not in _TOWERS:
        raise MmragError(f"Vision tower {vision['timm']!r} is not one of {list(_TOWERS)}.")
    size = replace(_TOWERS[vision["timm"]], **changes)
    if isinstance(size, EvaConfig):
        _check_heads(size.embed_dim, size.num_heads, size.depth)
    _check_heads(text.hidden_size, text.num_attention_heads, text.num_hidden_layers)
    with torch.device("meta"):
        tower = EvaTower(size) if isinstance(size, EvaConfig) else ConvTower(size)
        model_text = BertTower(text)
    model = VisualizedBGE(tower, model_text, tokenizer)
    model.architecture = {"vision": dict(vision), "text": asdict(text)}
    return model


def _check_heads(width: int, heads: int, layers: int) -> None:
    if not all(isinstance(n, int) and n > 0 for n in (width, heads, layers)) or width % heads:
        raise MmragError(f"{layers!r} layers of {heads!r} heads and width {width!r} are no model.")


def _draw(vision: Mapping[str, Any], text: Mapping[str, Any]) -> StateDict:
    """Fresh weights of the towers, as timm and transformers draw them."""
    import timm
    import transformers

    changes = tower_config.changes(vision)
    tower: torch.nn.Module
    if isinstance(_TOWERS.get(vision["timm"]), ConvConfig):
        tower = ConvTower(ConvConfig(**changes))
    else:
        tower = timm.create_model(vision["timm"], pretrained=False, num_classes=0, **changes)
    rest = {key: value for key, value in text.items() if key != "model_type"}
    kinds = {"bert": transformers.BertModel, "xlm-roberta": transformers.XLMRobertaModel}
    config = transformers.AutoConfig.for_model(text["model_type"], **rest)
    bert: Any = kinds[text["model_type"]](config, add_pooling_layer=False)
    drawn = {f"vision.{key}": value for key, value in tower.state_dict().items()}
    return drawn | {f"text.{key}": value for key, value in bert.state_dict().items()}


def _rename_official(state: StateDict) -> StateDict:
    renamed: StateDict = {}
    for key, value in state.items():
        if key.startswith("bge_embeddings."):
            renamed["text.embeddings." + key.removeprefix("bge_embeddings.")] = value
        elif key.startswith("bge_encoder."):
            renamed["text.encoder." + key.removeprefix("bge_encoder.")] = value
        elif key.startswith("model_visual.visual."):
            name = key.removeprefix("model_visual.visual.")
            for theirs, ours in _RENAMED.items():
                name = name.replace(theirs, ours)
            renamed["vision." + name] = value
        elif key.startswith("visual_proj."):
            renamed[key] = value
    return renamed


def _official_name(key: str) -> str:
    """An official file's name for one of our keys."""
    tower, _, rest = key.partition(".")
    if tower == "text":
        return f"bge_{rest}"
    if tower != "vision":
        return key
    for theirs, ours in _RENAMED.items():
        rest = rest.replace(ours, theirs)
    return f"model_visual.visual.{rest}"


def make_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A lower-casing WordPiece tokenizer (`[CLS] ... [SEP]`) that knows the words of `texts`.

    Its vocabulary is every printable ASCII character and the most frequent words; any other word is
    spelled from the longest pieces there are, so none is lost.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

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
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
