"""A collection's embeddings in two dimensions, to look at."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrag.encoders.encoder import Vectors
from mmrag.errors import MmragError
from mmrag.index.image_index import ImageIndex

MAX_POINTS = 5000
_MIN_UMAP = 10
_BATCH = 500


@dataclass(frozen=True)
class Projection:
    """(n, 2) float32 points; `explained` is PCA's share of the variance along each axis."""

    points: Vectors
    explained: tuple[float, float] | None


def sample_ids(image_ids: Sequence[str], limit: int, seed: int = 0) -> list[str]:
    """At most `limit` of the ids, drawn with a fixed seed, in their original order."""
    if len(image_ids) <= limit:
        return list(image_ids)
    drawn = np.random.default_rng(seed).choice(len(image_ids), limit, replace=False)
    return [image_ids[i] for i in np.sort(drawn)]


def read_vectors(index: ImageIndex, image_ids: Sequence[str]) -> tuple[list[str], Vectors]:
    """The stored vectors of images: the ids that are still there, and (n, dim) float32."""
    ids: list[str] = []
    parts: list[Vectors] = []
    for start in range(0, len(image_ids), _BATCH):
        batch = image_ids[start : start + _BATCH]
        rows = index.get(batch, ["vector"])
        here = [image_id for image_id in batch if image_id in rows]
        if here:
            ids += here
            parts.append(np.array([rows[image_id]["vector"] for image_id in here], np.float32))
    return ids, np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def methods() -> list[str]:
    """Names that `project` takes here: "pca", and "umap" where umap-learn is installed."""
    return ["pca", "umap"] if importlib.util.find_spec("umap") else ["pca"]


def project(vectors: Vectors, method: str = "pca") -> Projection:
    """Vectors in two dimensions.

    Args:
        vectors: (n, dim) float32.
        method: "pca", or "umap" (https://arxiv.org/abs/1802.03426; cosine, fixed seed).

    Raises:
        MmragError: an unknown method, UMAP is not installed, or there are too few vectors for it.
    """
    if method == "pca":
        return _pca(vectors)
    if method != "umap":
        raise MmragError(f"Unknown projection {method!r}; use pca or umap.")
    if method not in methods():
        raise MmragError("UMAP is not installed here; `pip install umap-learn` brings it.")
    if len(vectors) < _MIN_UMAP:
        raise MmragError(f"UMAP needs at least {_MIN_UMAP} images; look at the PCA instead.")
    from umap import UMAP  # type: ignore[import-not-found,unused-ignore]

    neighbours = min(15, len(vectors) - 1)
    # With a seed UMAP runs on one thread; `n_jobs` says so, which spares a warning.
    reducer = UMAP(n_neighbors=neighbours, metric="cosine", random_state=0, n_jobs=1)
    return Projection(np.asarray(reducer.fit_transform(vectors), np.float32), None)


def _pca(vectors: Vectors) -> Projection:
    """Project by the eigenvectors of the covariance, which is small: (dim, dim)."""
    if len(vectors) < 2 or vectors.shape[1] < 2:
        return Projection(np.zeros((len(vectors), 2), np.float32), None)
    centred: npt.NDArray[np.float64] = vectors.astype(np.float64) - vectors.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / (len(vectors) - 1))
    axes, largest = axes[:, [-1, -2]], variances[[-1, -2]].clip(0)
    # An axis has no sign; its largest component is made positive, so that maps repeat.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    total = float(variances.clip(0).sum())
    shares = largest / total if total else np.zeros(2)
    return Projection((centred @ axes).astype(np.float32), (float(shares[0]), float(shares[1])))
