"""The map of the embeddings, and near-duplicates."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmrag import ImageIndex, MmragError
from mmrag.index import embedding_map
from mmrag.index.embedding_map import methods, project, read_vectors, sample_ids
from mmrag.index.near_duplicates import near_duplicates

from .vectors import made_up, rows, unit


def test_pca_is_the_singular_value_decomposition() -> None:
    vectors = unit(300, 24) * np.linspace(3, 0.1, 24, dtype=np.float32)
    drawn = project(vectors)
    centred = vectors - vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    expected = centred @ axes[:2].T
    assert drawn.points.shape == (300, 2)
    assert np.allclose(np.abs(drawn.points), np.abs(expected), atol=1e-4)
    assert drawn.explained == pytest.approx(tuple(sizes[:2] ** 2 / np.sum(sizes**2)))
    assert np.array_equal(drawn.points, project(vectors).points)
    # The map does not depend on the order of the images.
    assert np.allclose(drawn.points[::-1], project(vectors[::-1]).points, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_small_and_equal_sets_have_a_map(n: int) -> None:
    assert project(unit(n, 8)).points.shape == (n, 2)
    same = project(np.repeat(unit(1, 8), n, axis=0)).points
    assert np.allclose(same, 0, atol=1e-6)
    flat = project(np.ones((n, 8), np.float32))
    assert flat.explained == (None if n < 2 else (0, 0)), "nothing varies"


def test_umap_where_it_is_installed() -> None:
    with pytest.raises(MmragError, match="Unknown projection 'tsne'"):
        project(unit(20, 8), "tsne")
    if "umap" not in methods():
        with pytest.raises(MmragError, match="pip install umap-learn"):
            project(unit(20, 8), "umap")
        return
    with pytest.raises(MmragError, match="at least 10 images"):
        project(unit(5, 8), "umap")
    two = np.concatenate([unit(20, 8) * 0.1 + [5] * 8, unit(20, 8, 1) * 0.1 - [5] * 8])
    points = project(two.astype(np.float32), "umap").points
    gap = np.linalg.norm(points[:20].mean(axis=0) - points[20:].mean(axis=0))
    assert gap > points[:20].std(), "what lies apart stays apart"


def test_umap_looks_at_15_neighbours_or_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    class Umap:
        def __init__(self, **settings: object) -> None:
            asked.append(settings)

        def fit_transform(self, vectors: np.ndarray) -> np.ndarray:
            return vectors[:, :2].astype(np.float64)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    monkeypatch.setattr(embedding_map, "methods", lambda: ["pca", "umap"])
    for n, neighbours in ((10, 9), (16, 15), (40, 15)):
        drawn = project(unit(n, 8), "umap")
        assert drawn.points.shape == (n, 2)
        assert drawn.points.dtype == np.float32
        assert drawn.explained is None, "only PCA says that"
        assert asked[-1]["n_neighbors"] == neighbours
        assert (asked[-1]["metric"], asked[-1]["random_state"]) == ("cosine", 0)


def test_samples_repeat_and_keep_the_order() -> None:
    ids = [f"{i:03}" for i in range(100)]
    drawn = sample_ids(ids, 10)
    assert len(set(drawn)) == 10
    assert drawn == sorted(drawn) == sample_ids(ids, 10)
    assert drawn != sample_ids(ids, 10, seed=1)
    assert sample_ids(ids, 100) == ids


def test_stored_vectors_are_read_back(tmp_path: Path) -> None:
    vectors = unit(1200, 16)
    with ImageIndex.open(tmp_path / "g.db", "many", made_up(16)) as index:
        index.create("image")
        index.write(rows(vectors))
        wanted = [str(i) for i in range(1199, -1, -1)]
        ids, read = read_vectors(index, ["gone", *wanted])
        none = read_vectors(index, ["gone"])
    assert ids == wanted
    assert read.dtype == np.float32
    assert np.allclose(read, vectors[::-1])
    assert none[0] == []
    assert len(none[1]) == 0


@pytest.mark.parametrize("block", [7, 64, 1024])
def test_near_duplicates_are_all_close_pairs(block: int) -> None:
    vectors = unit(150, 6)
    vectors[40] = vectors[3]
    vectors[149] = vectors[3]
    cosines = vectors @ vectors.T
    expected = {
        (a, b) for a in range(150) for b in range(a + 1, 150) if cosines[a, b] >= 0.9 - 1e-6
    }
    close = near_duplicates(vectors, 0.9, limit=10_000, block=block)
    assert {(a, b) for a, b, _ in close.pairs} == expected
    assert close.found == len(expected) > 20
    assert {(a, b) for a, b, _ in close.pairs[:3]} == {(3, 40), (3, 149), (40, 149)}
    scores = [cosine for _, _, cosine in close.pairs]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) <= 1
    few = near_duplicates(vectors, 0.9, limit=5, block=block)
    assert few.found == len(expected)
    assert [round(c, 5) for _, _, c in few.pairs] == [round(c, 5) for c in scores[:5]]
    assert {(a, b) for a, b, _ in near_duplicates(vectors, 1.0).pairs} >= {(3, 40), (40, 149)}


def test_nothing_is_near_in_nothing() -> None:
    assert near_duplicates(np.empty((0, 4), np.float32)).pairs == []
    assert near_duplicates(unit(1, 4), -1).found == 0


def test_the_500_closest_pairs_are_listed_and_all_are_counted() -> None:
    close = near_duplicates(np.repeat(unit(1, 4), 40, axis=0))
    assert (len(close.pairs), close.found) == (500, 40 * 39 // 2)
    assert [pair[:2] for pair in close.pairs[:2]] == [(0, 1), (0, 2)], "ties in the order of rows"


def test_memory_does_not_grow_with_the_pairs() -> None:
    """Two million close pairs; all of them at once would be 48 MB, their cosines 16 MB."""
    vectors = np.repeat(unit(1, 8), 2000, axis=0)
    tracemalloc.start()
    close = near_duplicates(vectors, 0.9, limit=100, block=128)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert close.found == 2000 * 1999 // 2
    assert len(close.pairs) == 100
    assert peak < 8e6
