"""Checks that fast paths are also right: against the reference's outputs, and on an eval set."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu.session import ROOT, Session
from bench.models import WORDS
from mmrag import load_encoder
from mmrag.encoders.encoder import Encoder, Vectors

PARITY = ROOT / "tests" / "parity"
# Largest distance to the reference's unit vectors in fp32, and least cosine in other precisions.
FP32_BOUND, BOUNDS = 1e-5, {"bf16": 0.999, "fp16": 0.9995}


def parity_base(session: Session) -> None:
    """Compare base in fp32, bf16 and fp16 with the outputs of the reference implementation."""
    _parity(session, "base")


def parity_m3(session: Session) -> None:
    """Compare m3 in the same way."""
    _parity(session, "m3")


def _parity(session: Session, kind: str) -> None:
    inputs = json.loads((PARITY / f"{kind}_inputs.json").read_text(encoding="utf-8"))
    if session.quick:
        inputs = inputs[:3]
    images = [item["image"] and PARITY / "images" / item["image"] for item in inputs]
    texts = [item["text"] for item in inputs]
    with tempfile.TemporaryDirectory() as folder:
        load = _loader(session, kind, Path(folder))
        reference = np.load(PARITY / f"{kind}_embeddings.npy")[: len(inputs)]
        if session.quick:
            reference = load("fp32").encode(images, texts)
        for precision in ("fp32", *BOUNDS):
            found = load(precision).encode(images, texts)
            distance, cosine = _apart(found, reference)
            bound = FP32_BOUND if precision == "fp32" else BOUNDS[precision]
            right = distance <= bound if precision == "fp32" else cosine >= bound
            session.row(
                "parity",
                f"{kind} {precision}",
                [0.0],
                {"encoder": f"visualized-bge-{kind}", "precision": precision},
                distance=distance,
                cosine_min=cosine,
                within_bounds="yes" if right else "no",
            )


def _loader(session: Session, kind: str, folder: Path) -> Callable[[str], Encoder]:
    if session.quick:
        return session.encoder
    checkpoint = folder / f"{kind}.pth"
    command = [sys.executable, str(PARITY / "make_checkpoint.py"), kind, str(checkpoint)]
    subprocess.run(command, check=True)

    def load(precision: str) -> Encoder:
        return load_encoder(
            f"visualized-bge-{kind}",
            checkpoint=checkpoint,
            text_model=str(PARITY / f"text-model-{kind}"),
            device=str(session.device),
            precision=precision,
        )

    return load


def _apart(found: Vectors, reference: Vectors) -> tuple[float, float]:
    distance = float(np.linalg.norm(found - reference, axis=1).max())
    return distance, round(float((found * reference).sum(1).min()), 6)


def rankings(session: Session) -> None:
    """Compare half precision with float32 on the shipped eval set with `demo`, on this device."""
    from bench.quality import compare_precisions
    from mmrag import EvalSet

    catalogue = EvalSet.load(ROOT / "eval_sets" / "catalogue")
    every = 150 if session.quick else 1
    catalogue = replace(
        catalogue, images=catalogue.images[::every], queries=catalogue.queries[::every]
    )
    full = session.encoder("fp32", "demo")
    for precision in BOUNDS:
        # A metric of our own: others would need another package.
        lowered = session.encoder(precision, "demo")
        found = compare_precisions(full, lowered, catalogue, "mAP@10")
        params = {"encoder": "demo", "precision": precision}
        session.row("quality", f"demo {precision}", [0.0], params, **found)


def eight_bits(session: Session) -> None:
    """Compare int8 and fp8 layers on images: rate with bf16, vectors with float32."""
    from mmrag.encoders.packed_gpu import quantise_linear_layers

    pixels = session_pixels(session, 8 if session.quick else 256)
    full = embed_all(session.encoder("fp32"), pixels)
    for kind in ("int8", "fp8"):
        encoder = session.encoder()
        plain = session.times(lambda one=encoder: embed_all(one, pixels))  # type: ignore[misc]
        model: Any = encoder.model
        quantise_linear_layers(model, kind)
        times = session.times(lambda one=encoder: embed_all(one, pixels))  # type: ignore[misc]
        session.row(
            "encode",
            f"eight bits {kind}",
            times,
            {
                "encoder": session.base,
                "precision": kind,
                "source": "arrays",
                "batch_size": len(pixels),
            },
            "img/s",
            len(pixels),
            times_bf16=round(min(plain) / min(times), 3),
            cosine_min=_apart(embed_all(encoder, pixels), full)[1],
        )


def session_pixels(session: Session, n: int) -> list[np.ndarray]:
    """n pictures as the base model takes them; few are distinct, which does not affect a GPU."""
    rng = np.random.default_rng(0)
    side = 64 if session.quick else 224
    few = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(min(n, 32))]
    return [few[i % len(few)] for i in range(n)]


def embed_all(
    encoder: Encoder, pixels: Sequence[np.ndarray], size: int | None = None, words: bool = False
) -> Vectors:
    """Embed decoded pictures, with or without words, in batches of `size`."""
    from mmrag.encoders.encoder import Prepared

    made = np.empty((len(pixels), encoder.info.dim), np.float32)
    inputs = enumerate(pixels)

    def load(item: tuple[int, np.ndarray]) -> Prepared:
        return Prepared(item[1], WORDS[item[0] % len(WORDS)] if words else None)

    for (i, _), vector in encoder.encode_stream(inputs, load, size or len(pixels), workers=1):
        assert isinstance(vector, np.ndarray)
        made[i] = vector
    return made
