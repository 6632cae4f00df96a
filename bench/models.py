"""Encoders to time: with real weights if available, else made-up ones of the same size."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import made_up
from bench.pictures import make_files
from mmrag.encoders import list_encoders, load_encoder
from mmrag.encoders.build import build_encoder
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.family import LoadedModel
from mmrag.encoders.visualized_bge_weights import PUBLISHED
from mmrag.errors import MmragError
from mmrag.rerank import load_reranker
from mmrag.rerank.reranker import Reranker
from mmrag.types import Hit, Query, SearchResult

_BERT_BASE = {
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
_XLM_LARGE = {
    "model_type": "xlm-roberta",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 8194,
}
# Visualized BGE by name: the vision tower in timm, and the configuration of the text model.
_MADE_UP = {
    "visualized-bge-base": ("eva02_base_patch16_clip_224", _BERT_BASE),
    "visualized-bge-m3": ("eva02_large_patch14_clip_224", _XLM_LARGE),
}
# BGE-VL by name: width, layers, heads of the text and of the vision tower, patch, output.
_BGE_VL = {
    "bge-vl-base": ((512, 12, 8), (768, 12, 12), 16, 512),
    "bge-vl-large": ((768, 12, 12), (1024, 24, 16), 14, 768),
}
# Number of hits reranked.
DEPTH = 20
FULL_SIZE = (*_MADE_UP, "clip:ViT-B-32", "clip:ViT-L-14")
# Models that sentence-transformers loads, by their name in tables. With the real weights at hand,
# `st:NAME_OR_FOLDER` measures those.
_SENTENCE = {"qwen3-vl-tiny": made_up.TINY, "qwen3-vl-2b": made_up.TWO_BILLION}
WORDS = (
    "phone case with this image theme",
    "the same in green",
    "a red mug with white stripes on a wooden table",
    "make the background dark",
    "two of them, seen from above",
    "with a round handle and a longer spout, photographed in front of a white wall",
)


def open_bench_encoder(name: str, device: str, precision: str) -> Encoder:
    """Open the encoder `name`, with fresh weights if it is known but not downloaded.

    Speed does not depend on the weights' values. The made-up vocabulary is small, so the word
    table, which affects only memory, is smaller than the official one.

    Args:
        name: one of `FULL_SIZE`, `bge-vl-base`, `bge-vl-large`, `qwen3-vl-tiny`, `qwen3-vl-2b` (the
            architecture of Qwen3-VL-Embedding-2B), `tiny` (the size of `demo`), or as
            `load_encoder` takes it.
        device: as `load_encoder` takes it.
        precision: as `load_encoder` takes it.
    """
    if name in PUBLISHED and PUBLISHED[name].downloaded():
        return load_encoder(name, device=device, precision=precision)
    if name in _MADE_UP:
        from mmrag.encoders import visualized_bge_files as files

        vision, text = _MADE_UP[name]
        model: Any = files.create({"vision": {"timm": vision}, "text": text}, WORDS)
        preprocessing = files.preprocessing(model)
    elif name in FULL_SIZE:
        import open_clip

        from mmrag.encoders import clip

        config = open_clip.get_model_config(name.removeprefix("clip:"))
        if config is None:
            raise MmragError(f"open_clip does not know {name!r}.")
        model = clip.create({"model_cfg": config}, WORDS)
        preprocessing = clip.preprocessing(model)
    elif name in _BGE_VL and not any(one.available for one in list_encoders(name)):
        model, preprocessing = _bge_vl(name)
    elif name in _SENTENCE:
        from mmrag.encoders import sentence

        with tempfile.TemporaryDirectory() as made:
            folder = made_up.qwen3_vl(Path(made), _SENTENCE[name])
            model = sentence.load(folder, name, sentence.SentenceOptions(), trust=False)
            preprocessing = sentence.preprocessing(model, folder)
    elif name == "tiny":
        return _tiny(device, precision)
    else:
        return load_encoder(name, device=device, precision=precision)
    loaded = LoadedModel(model, "none", "made-up weights", preprocessing)
    return build_encoder(loaded, name, device, precision)


def _bge_vl(name: str) -> tuple[Any, dict[str, Any]]:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from mmrag.encoders import sentence
    from mmrag.encoders.visualized_bge_files import make_tokenizer

    text, vision, patch, output = _BGE_VL[name]
    words = make_tokenizer(WORDS, 1000)
    special = {
        "vocab_size": len(words),
        "eos_token_id": words.sep_token_id,
        "bos_token_id": words.cls_token_id,
        "pad_token_id": words.pad_token_id,
    }
    config = CLIPConfig(
        text_config={**_tower(*text), **special},
        vision_config={**_tower(*vision), "patch_size": patch},
        projection_dim=output,
    )
    with tempfile.TemporaryDirectory() as folder:
        CLIPModel(config).save_pretrained(folder)
        CLIPProcessor(CLIPImageProcessor(), words).save_pretrained(folder)
        options = sentence.SentenceOptions(fusion="sum-raw")
        model = sentence.load(Path(folder), name, options, trust=False)
        return model, sentence.preprocessing(model, Path(folder))


def _tower(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def open_bench_reranker(name: str, device: str, depth: int) -> Reranker:
    """Open the reranker `name`, in the precision that `auto` takes.

    Args:
        name: `text-base` (a cross-encoder of BERT base's size), `qwen3-vl-tiny`, `qwen3-vl-2b` (the
            architecture of Qwen3-VL-Reranker-2B), or as `load_reranker` takes it; encoders and
            vision models score no pairs.
        device: as `load_reranker` takes it.
        depth: number of hits to rerank.
    """
    if name.startswith(("encoder:", "vision", "openai:")):
        raise MmragError(f"{name} scores no pairs; `--encoder` measures encoders.")
    with tempfile.TemporaryDirectory() as made:
        if name == "text-base":
            made_up.text_reranker(Path(made), list(WORDS))
        elif name in _SENTENCE:
            made_up.vl_reranker(Path(made), _SENTENCE[name])
        else:
            return load_reranker(name, depth=depth, device=device)
        reranker = load_reranker(f"ce:{made}", depth=depth, device=device)
    reranker.name = name
    return reranker


def made_result(folder: Path, depth: int) -> SearchResult:
    """Make a query of picture and words with `depth` described hits, in files of `folder`."""
    query, *photos = make_files(folder, depth + 1, 640, 480)
    hits = [
        Hit(rank, path.name, str(path), 1 / rank, rank, WORDS[rank % len(WORDS)], {})
        for rank, path in enumerate(photos, start=1)
    ]
    return SearchResult(Query(query, WORDS[1]), hits, {})


def default_rerankers() -> Sequence[str]:
    """One reranker of each kind that scores pairs here."""
    return ("text-base", "qwen3-vl-tiny")


def _tiny(device: str, precision: str) -> Encoder:
    from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
    from mmrag.training.models import open_model

    queries = [EvalQuery(str(i), None, text) for i, text in enumerate(WORDS)]
    words = EvalSet("words", Path(), Path(), [], queries, {})
    with tempfile.TemporaryDirectory() as folder:
        open_model("new:visualized-bge-tiny", words, 0).save(Path(folder))
        return load_encoder(folder, device=device, precision=precision)


def default_encoders() -> Sequence[str]:
    """The small encoder that ships, or one of its size, and one or two of each family.

    They are full-size if two cores measure them in minutes.
    """
    from mmrag.encoders import SHIPPED_DIR

    shipped = (SHIPPED_DIR / "demo" / "config.json").is_file()
    return ("demo" if shipped else "tiny", *FULL_SIZE, "bge-vl-base", "qwen3-vl-tiny")
