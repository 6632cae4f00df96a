"""The measurements, the cheapest and most decisive first: one line for each part."""

from __future__ import annotations

from bench.gpu import hardware, images, others, pixels, quality, queries
from bench.gpu.session import Part

# Name, function, and the seconds that must be left.
PARTS = (
    Part("limits", hardware.limits, 20),
    Part("parity base", quality.parity_base, 40),
    Part("tutorial", images.tutorial, 20),
    Part("batches", images.batches, 20),
    Part("ways", images.ways, 60),
    Part("composed queries", queries.composed, 20),
    Part("files", images.files, 40),
    Part("decoding", pixels.decoding, 30),
    Part("rankings", quality.rankings, 20),
    Part("texts", queries.texts, 15),
    Part("eight bits", quality.eight_bits, 25),
    Part("demo", others.demo, 10),
    Part("clip", others.clip, 30),
    Part("training", others.training, 20),
    Part("parity m3", quality.parity_m3, 80),
    Part("cross-encoder", others.cross_encoder, 15),
    Part("sentence-transformers", others.sentence, 15),
    Part("compiled", images.compiled, 90),
)
