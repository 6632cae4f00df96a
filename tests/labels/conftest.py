"""A small eval set of one's own pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrag import EvalSet
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.types import GalleryImage


@pytest.fixture
def own_set(folder: Path, tmp_path: Path) -> EvalSet:
    """Twelve pictures, four queries in two categories, three labels."""
    files = sorted(folder.rglob("*.png"))
    images = [GalleryImage(f"i{i}", str(path), f"picture {i}") for i, path in enumerate(files)]
    queries = [
        EvalQuery(f"q{i}", str(files[i]), f"like {i}, but other", "even" if i % 2 == 0 else "odd")
        for i in range(4)
    ]
    qrels = {"q0": {"i1": 1, "i2": 0}, "q1": {"i3": 1}}
    made = EvalSet("own", tmp_path / "own", folder, images, queries, qrels)
    made.save()
    return EvalSet.load(made.folder)
