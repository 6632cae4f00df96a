"""Training batches: queries, the pictures they should find, and pictures they should not.

Every batch is a function of (seed, step), so an interrupted training resumes with the same ones.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from mmrag.encoders.model import EmbeddingModel
from mmrag.errors import EvalSetError, ImageError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.images.decode import Pixels, load_image
from mmrag.training.features import Features, FrozenFeatures

_CACHE_BYTES = 2 << 30


@dataclass(frozen=True)
class Side:
    """Inputs of one kind in a batch, and their rows."""

    rows: list[int]
    pixels: npt.NDArray[Any] | None
    texts: list[str] | None


@dataclass(frozen=True)
class Batch:
    """n queries against m pictures.

    `target[i]` is the picture that query i should find; where `masked[i, j]` holds, picture j is
    also right for query i (or is its own picture) and does not count as wrong.
    """

    queries: list[Side]
    pictures: Side
    target: npt.NDArray[np.int64]
    masked: npt.NDArray[np.bool_]


class BatchMaker:
    """Draws training batches from an eval set.

    Args:
        eval_set: its queries with at least one right image are used, worded by `text` or one of
            the `paraphrases`.
        model: whose preprocessing is used.
        batch_size: queries per batch.
        hard_negatives: pictures judged 0 added to the batch for each query.
        group_size: two thirds of a batch are groups of this many queries, in which the right
            pictures of the others are judged 0 for the first; 1 makes no groups.
        augment: "none", "light" (crop, mirror) or "strong" (more crop, brightness, contrast).
        seed: of all draws.
    """

    def __init__(
        self,
        eval_set: EvalSet,
        model: EmbeddingModel,
        batch_size: int,
        hard_negatives: int,
        group_size: int,
        augment: str,
        seed: int,
    ) -> None:
        self._set = eval_set
        self._model = model
        self._batch_size = batch_size
        self._hard_negatives = hard_negatives
        self._group_size = group_size
        self._augment = augment
        self._seed = seed
        self._path = {image.image_id: image.path for image in eval_set.gallery().images}
        self._right = {
            q.query_id: sorted(eval_set.relevant(q.query_id) & self._path.keys())
            for q in eval_set.queries
        }
        self._wrong = {
            query_id: sorted(i for i, grade in judged.items() if grade <= 0 and i in self._path)
            for query_id, judged in eval_set.qrels.items()
        }
        by_category: dict[str, list[EvalQuery]] = defaultdict(list)
        for query in eval_set.queries:
            if self._right[query.query_id]:
                by_category[query.category].append(query)
        if not by_category:
            raise EvalSetError(f"{eval_set.name} has no query with a right image to train on.")
        self._categories = [by_category[name] for name in sorted(by_category)]
        self.queries = sum(map(len, self._categories))
        # Small categories (a few product names, say) are drawn more often than their share.
        weights = np.sqrt([len(queries) for queries in self._categories])
        self._weights = weights / weights.sum()
        self._asking: dict[str, list[EvalQuery]] = defaultdict(list)
        for queries in self._categories:
            for query in queries:
                for image_id in self._right[query.query_id]:
                    self._asking[image_id].append(query)
        self._cache: dict[str, Image.Image] = {}
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._features: FrozenFeatures | None = None

    def freeze(
        self, depth: int, variants: int, advance: Callable[[int], object] | None = None
    ) -> None:
        """Compute the tower's first `depth` layers in advance, on some variants per picture."""
        asked = {query.image for queries in self._categories for query in queries if query.image}
        paths = sorted(asked | set(self._path.values()))
        key = f"{self._augment} {self._seed}"

        def pixels(path: str, rng: np.random.Generator | None) -> Pixels:
            image = self._load(path)
            if rng is not None and self._augment != "none":
                image = _augmented(image, rng, strong=self._augment == "strong")
            return self._model.preprocess(image)

        self._features = FrozenFeatures(self._model, depth, paths, variants, key, pixels, advance)

    def batch(self, step: int) -> Batch:
        """The batch of one step; thread-safe."""
        rng = np.random.default_rng([self._seed, step])
        queries: list[EvalQuery] = []
        target_ids: list[str] = []
        while len(queries) < self._batch_size:
            for query, target_id in self._group(rng):
                queries.append(query)
                target_ids.append(target_id)
        del queries[self._batch_size :], target_ids[self._batch_size :]
        pictures = dict.fromkeys(target_ids)
        for query in queries:
            wrong = self._wrong.get(query.query_id, [])
            count = min(self._hard_negatives, len(wrong))
            pictures.update(dict.fromkeys(map(str, rng.choice(wrong, count, replace=False))))
        ids = list(pictures)
        column = {image_id: j for j, image_id in enumerate(ids)}
        target = np.array([column[image_id] for image_id in target_ids])
        masked = np.zeros((len(queries), len(ids)), bool)
        for i, query in enumerate(queries):
            right = self._set.relevant(query.query_id)
            own = query.image if self._set.exclude_query_image else None
            for image_id, j in column.items():
                masked[i, j] = image_id in right or self._path[image_id] == own
            masked[i, target[i]] = False
        pixels = np.stack([self._pixels(self._path[image_id], rng) for image_id in ids])
        return Batch(
            self._sides(queries, rng), Side(list(range(len(ids))), pixels, None), target, masked
        )

    def _group(self, rng: np.random.Generator) -> list[tuple[EvalQuery, str]]:
        """One query, or several that are easily confused, each with a right picture."""
        first = self._draw(rng)
        group = [(first, str(rng.choice(self._right[first.query_id])))]
        # A group of n counts n times, so groups are drawn 2 in (n + 2) times to fill two thirds.
        if self._group_size > 1 and rng.random() < 2 / (self._group_size + 2):
            wrong = self._wrong.get(first.query_id, [])
            for image_id in map(str, rng.permutation(wrong)):
                asking = self._asking.get(image_id)
                if asking and len(group) < self._group_size:
                    group.append((asking[rng.integers(len(asking))], image_id))
        return group

    def _draw(self, rng: np.random.Generator) -> EvalQuery:
        queries = self._categories[rng.choice(len(self._categories), p=self._weights)]
        return queries[rng.integers(len(queries))]

    def _sides(self, queries: list[EvalQuery], rng: np.random.Generator) -> list[Side]:
        kinds: dict[tuple[bool, bool], list[int]] = defaultdict(list)
        for i, query in enumerate(queries):
            kinds[query.image is not None, bool(query.text)].append(i)
        sides = []
        for (has_image, has_text), rows in sorted(kinds.items()):
            pixels = texts = None
            if has_image:
                pixels = np.stack([self._pixels(str(queries[i].image), rng) for i in rows])
            if has_text:
                texts = [
                    str(rng.choice([queries[i].text or "", *queries[i].paraphrases])) for i in rows
                ]
            sides.append(Side(rows, pixels, texts))
        return sides

    def _pixels(self, path: str, rng: np.random.Generator) -> Pixels | Features:
        if self._features is not None:
            return self._features.draw(path, rng)
        image = self._load(path)
        if self._augment != "none":
            image = _augmented(image, rng, strong=self._augment == "strong")
        return self._model.preprocess(image)

    def _load(self, path: str) -> Image.Image:
        """The picture at about 1.3 times the model's size, cached in memory while there is room."""
        cached = self._cache.get(path)
        if cached is not None:
            return cached
        side = self._model.image_size
        try:
            image = load_image(path, min_side=side)
        except ImageError as error:
            raise ImageError(f"{path}: {error}; mend it, or take it out of the set.") from error
        shrink = 1.3 * side / min(image.size)
        if shrink < 1:
            image = image.resize(
                (round(image.width * shrink), round(image.height * shrink)),
                Image.Resampling.BICUBIC,
            )
        with self._lock:
            if self._cached_bytes < _CACHE_BYTES:
                self._cache[path] = image
                self._cached_bytes += 3 * image.width * image.height
        return image


def _augmented(image: Image.Image, rng: np.random.Generator, *, strong: bool) -> Image.Image:
    """A random crop (and, if strong, brightness and contrast), half of the time mirrored."""
    share = np.sqrt(rng.uniform(0.3 if strong else 0.7, 1.0))
    stretch = np.exp(rng.uniform(-0.25, 0.25)) if strong else 1.0
    width = min(image.width, max(1, round(image.width * share * stretch)))
    height = min(image.height, max(1, round(image.height * share / stretch)))
    left = rng.integers(image.width - width + 1)
    top = rng.integers(image.height - height + 1)
    image = image.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if strong:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
        image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.7, 1.3))
    return image
