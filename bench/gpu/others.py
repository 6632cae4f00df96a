"""Besides the large encoder: `demo`, CLIP, a cross-encoder, an `st:` model, a training step."""

from __future__ import annotations

import tempfile

import torch

from bench.gpu.quality import embed_all, session_pixels
from bench.gpu.session import ROOT, Session
from bench.models import WORDS
from mmrag import load_encoder
from mmrag.encoders.visualized_bge_files import make_tokenizer
from mmrag.types import Hit, Query, SearchResult

_SIDE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


def demo(session: Session) -> None:
    """Measure the small encoder that ships, from ready arrays."""
    _images(session, "demo", 64)


def clip(session: Session) -> None:
    """Measure CLIP ViT-B/32 and L/14 of full size with made-up weights; needs open_clip."""
    for name in ("clip:ViT-B-32",) if session.quick else ("clip:ViT-B-32", "clip:ViT-L-14"):
        _images(session, name, 224)


def _images(session: Session, name: str, side: int) -> None:
    encoder = session.encoder(name=name)
    size = 2 if session.quick else 256
    picture = torch.zeros(side, side, 3, dtype=torch.uint8).numpy()
    pixels = [picture] * (size if session.quick else 8 * size)
    times = session.times(lambda: embed_all(encoder, pixels, size))
    params = {
        "encoder": name,
        "precision": session.precision,
        "source": "arrays",
        "batch_size": size,
    }
    session.row("encode", f"arrays {name}", times, params, "img/s", len(pixels))


def cross_encoder(session: Session) -> None:
    """Rerank one result with a tiny cross-encoder; needs FlagEmbedding."""
    from transformers import BertConfig, BertForSequenceClassification

    from mmrag.rerank import load_reranker

    words = make_tokenizer(WORDS, 1000)
    config = BertConfig(vocab_size=len(words), num_hidden_layers=2, num_labels=1, **_SIDE)
    hits = [Hit(i + 1, str(i), str(i), 0.0, i + 1, text, {}) for i, text in enumerate(WORDS)]
    result = SearchResult(Query(text=WORDS[0]), hits, {})
    with tempfile.TemporaryDirectory() as folder:
        BertForSequenceClassification(config).save_pretrained(folder)
        words.save_pretrained(folder)
        reranker = load_reranker(f"bge-reranker:{folder}", device=str(session.device))
        times = session.times(lambda: reranker.rerank(result))
    session.row("query", "cross-encoder", times, {"pairs": len(hits)})


def sentence(session: Session) -> None:
    """Embed texts with a tiny model of sentence-transformers; needs that library."""
    from transformers import BertConfig, BertModel

    words = make_tokenizer(WORDS, 1000)
    config = BertConfig(vocab_size=len(words), num_hidden_layers=2, **_SIDE)
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        words.save_pretrained(folder)
        encoder = load_encoder(f"st:{folder}", device=str(session.device))
        times = session.times(lambda: encoder.encode(texts=WORDS))
    params = {"encoder": "st:tiny", "source": "texts", "precision": encoder.info.precision}
    session.row("encode", "texts st:tiny", times, params, "texts/s", len(WORDS))


def training(session: Session) -> None:
    """Train the base model for a step on pairs of pictures and words, in mixed precision."""
    from mmrag import EvalSet
    from mmrag.training.models import open_model

    n = 2 if session.quick else 32
    if session.quick:
        words = EvalSet.load(ROOT / "eval_sets" / "catalogue")
        model = open_model("new:visualized-bge-tiny", words, 0).model
    else:
        model = session.encoder("fp32").model
    model.to(session.device).train().requires_grad_(True)
    rate = torch.optim.AdamW(model.parameters())
    pixels = torch.stack([torch.from_numpy(one) for one in session_pixels(session, n)])
    texts = [WORDS[i % len(WORDS)] for i in range(n)]

    def step() -> None:
        with torch.autocast(session.device.type, torch.bfloat16):
            scores = model.embed(pixels, texts) @ model.embed(pixels, None).T
        loss = torch.nn.functional.cross_entropy(
            scores.float(), torch.arange(n, device=session.device)
        )
        rate.zero_grad()
        loss.backward()
        rate.step()

    session.row("train", "training step", session.times(step), {"pairs": n}, "pairs/s", n)
