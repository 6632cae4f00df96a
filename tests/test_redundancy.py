"""Near-duplicates among the first results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.metrics.metrics import score_rankings
from mmrag.metrics.table import higher_is_better
from mmrag.types import GalleryImage


@pytest.fixture
def alike(tmp_path: Path) -> EvalSet:
    """A photo; the same smaller, and strongly compressed; mirrored; another one; no picture."""
    rng = np.random.default_rng(1)

    def photo() -> Image.Image:
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
        return coarse.resize((400, 300), Image.Resampling.BICUBIC)

    one, other = photo(), photo()
    one.save(tmp_path / "one.png")
    one.resize((160, 120)).save(tmp_path / "small.png")
    one.save(tmp_path / "rough.jpg", quality=30)
    one.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    other.save(tmp_path / "other.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    images = [GalleryImage(path.stem, str(path)) for path in sorted(tmp_path.iterdir())]
    queries = [EvalQuery("q", None, "words")]
    return EvalSet("alike", tmp_path, tmp_path, images, queries, {"q": {"one": 1}})


@pytest.mark.parametrize(
    ("ranking", "share"),
    [
        (["one", "small", "rough", "other"], 2 / 4),
        (["one", "mirrored", "other", "broken"], 0.0),
        (["other", "small", "broken", "rough"], 1 / 4),
        (["one", "other", "mirrored", "broken", "small"], 0.0),
        (["one"], np.nan),
        ([], np.nan),
    ],
)
def test_what_is_repeated_among_the_first(alike: EvalSet, ranking: list[str], share: float) -> None:
    found = score_rankings({"q": ranking}, alike, ["redundancy@4"])
    assert found.values["redundancy@4"][0] == pytest.approx(share, nan_ok=True)
    assert not higher_is_better("redundancy@4")


def test_a_picture_that_changes_is_looked_at_anew(alike: EvalSet) -> None:
    pair = {"q": ["one", "other"]}
    assert score_rankings(pair, alike, ["redundancy@2"]).values["redundancy@2"][0] == 0
    root = alike.image_root
    (root / "other.png").write_bytes((root / "one.png").read_bytes())
    assert score_rankings(pair, alike, ["redundancy@2"]).values["redundancy@2"][0] == 0.5
    gone = replace(alike, images=[replace(i, path=i.path + "x") for i in alike.images])
    assert score_rankings(pair, gone, ["redundancy@2"]).values["redundancy@2"][0] == 0
