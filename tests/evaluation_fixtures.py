"""An eval set of coloured noise with its index: what tests of evaluation share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag import ImageIndex, Searcher
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.evaluation.gallery_index import index_eval_set
from mmrag.types import GalleryImage

from .memory_milvus import URI, MemoryClient, in_memory  # noqa: F401

COLOURS = ["red", "orange", "gold", "green", "teal", "blue", "purple", "pink", "brown", "black"]


def draw(path: Path, seed: int, tint: str) -> str:
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((72, 64))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.blend(noise, Image.new("RGB", noise.size, tint), 0.5).save(path)
    return str(path)


@pytest.fixture
def colours(tmp_path: Path) -> EvalSet:
    """20 pictures, two of each colour, and 36 queries of three kinds."""
    root = tmp_path / "set"
    images = [
        GalleryImage(f"{tint}-{n}", draw(root / f"{tint}-{n}.png", 10 * i + n, tint), f"{tint} {n}")
        for i, tint in enumerate(COLOURS)
        for n in range(2)
    ]
    queries, qrels = [], {}
    for i in range(36):
        tint = COLOURS[i % 10]
        kind = ("composed", "image", "text")[i % 3]
        picture = draw(root / "queries" / f"{i}.png", 1000 + i, tint) if kind != "text" else None
        queries.append(
            EvalQuery(
                f"q{i:02}",
                picture,
                f"something {tint}" if kind != "image" else None,
                kind,
                paraphrases=(f"a {tint} thing", f"{tint}, please") if i % 6 == 0 else (),
                question="Which number is it?" if i in (0, 3) else None,
                answers=("0", "1") if i in (0, 3) else (),
            )
        )
        wrong = COLOURS[(i + 1) % 10]
        qrels[f"q{i:02}"] = {f"{tint}-0": 2, f"{tint}-1": 1, f"{wrong}-0": 0}
    queries.append(EvalQuery("hopeless", None, "nothing is right", "text"))
    saved = EvalSet("colours", root, root, images, queries, qrels, primary_metric="hit_rate@1")
    saved.save()
    return EvalSet.load(root)


@pytest.fixture
def index(colours: EvalSet, tiny: Encoder, tmp_path: Path) -> Iterator[ImageIndex]:
    opened, report = index_eval_set(colours, tiny, tmp_path / "gallery.db")
    assert report.added == 20
    with opened:
        yield opened


@pytest.fixture
def searcher(index: ImageIndex, tiny: Encoder) -> Searcher:
    return Searcher(index, tiny)


@pytest.fixture
def quick_searcher(
    colours: EvalSet,
    tiny: Encoder,
    in_memory: type[MemoryClient],  # noqa: F811
) -> Iterator[Searcher]:
    """As `searcher`, of an index that is no process of its own."""
    opened, _ = index_eval_set(colours, tiny, URI)
    with opened:
        yield Searcher(opened, tiny)
