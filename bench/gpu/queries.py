"""Milliseconds per query, from file and words to hits, and texts per second."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from bench.gpu.session import Session
from bench.models import WORDS
from bench.pictures import make_files
from mmrag.encoders.gpu_path import GpuPath

_GALLERY, _K = 100_000, 10


def composed(session: Session) -> None:
    """Measure a picture file with words, then exact search among 100,000, eager and by graphs."""
    rows = 100 if session.quick else _GALLERY
    encoder = session.encoder()
    gallery = torch.randn(rows, encoder.info.dim, device=session.device)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(Path(folder), 8, 640, 480)
        for name, path in (("plain", GpuPath()), ("graphs", GpuPath(graphs=True))):
            session.take(encoder, path)
            turn = iter(range(10**9))

            def ask(encoder=encoder, turn=turn) -> None:  # type: ignore[no-untyped-def]
                i = next(turn)
                vector = encoder.encode([paths[i % 8]], [WORDS[i % len(WORDS)]], query=True)
                scores = gallery @ torch.from_numpy(vector[0]).to(session.device)
                scores.topk(_K).indices.tolist()

            times = session.times(ask, 200, 2 if session.quick else 24)
            session.row(
                "query",
                f"composed {name}",
                times,
                {"encoder": session.base, "precision": session.precision, "rows": rows},
                p50_ms=round(1000 * float(np.percentile(times, 50)), 2),
                p95_ms=round(1000 * float(np.percentile(times, 95)), 2),
            )


def texts(session: Session) -> None:
    """Measure words alone, one by one and in batches."""
    encoder = session.encoder()
    for size in (1, 4) if session.quick else (1, 256):
        n = size if session.quick else max(64, 8 * size)
        words = [WORDS[i % len(WORDS)] for i in range(n)]
        times = session.times(lambda w=words, s=size: encoder.encode(texts=w, batch_size=s))  # type: ignore[misc]
        params = {
            "encoder": session.base,
            "precision": session.precision,
            "source": "texts",
            "batch_size": size,
        }
        session.row("encode", f"texts {size}", times, params, "texts/s", n)
