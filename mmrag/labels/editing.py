"""Eval sets from eval sets: merged, split, sampled, freed of duplicates.

Each function gives a new set for a folder of its own and leaves its sources alone. Pictures are not
moved.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.records import Qrels
from mmrag.images.unreadable import content_hash
from mmrag.metrics.statistics import generator
from mmrag.types import GalleryImage

One = TypeVar("One")


@dataclass(frozen=True)
class Deduplicated:
    """A set without repetitions, and what was removed: id to the id that replaces it."""

    eval_set: EvalSet
    images: dict[str, str]
    queries: dict[str, str]


def merge(sets: Sequence[EvalSet], folder: Path, name: str) -> EvalSet:
    """Merge several sets into one: all images, queries and judgments.

    An id that means another picture or query in an earlier set is prefixed with its set's
    name. Settings that differ (metric, whether the query's image is left out) are an error.

    Raises:
        EvalSetError: fewer than two sets, or sets that are asked differently.
    """
    if len(sets) < 2:
        raise EvalSetError("Name at least two eval sets to merge.")
    if len({one.exclude_query_image for one in sets}) > 1:
        raise EvalSetError(
            "The sets differ in exclude_query_image, so their queries are asked differently."
        )
    images: dict[str, GalleryImage] = {}
    queries: dict[str, EvalQuery] = {}
    qrels: Qrels = {}
    for one in sets:
        image_ids = _place(one.name, {i.image_id: i for i in one.images}, images, _same_image)
        renamed_images = [replace(i, image_id=image_ids[i.image_id]) for i in one.images]
        images.update((image.image_id, image) for image in renamed_images)
        query_ids = _place(one.name, {q.query_id: q for q in one.queries}, queries, _same_query)
        pools = _pools(one.queries, image_ids)
        renamed = [
            replace(q, query_id=query_ids[q.query_id], pool=pools[q.pool]) for q in one.queries
        ]
        queries.update((query.query_id, query) for query in renamed)
        for query_id, grades in one.qrels.items():
            if query_id in query_ids:
                merged = qrels.setdefault(query_ids[query_id], {})
                for image_id, grade in grades.items():
                    merged.setdefault(image_ids.get(image_id, image_id), grade)
    root = Path(os.path.commonpath([str(one.image_root.resolve()) for one in sets]))
    return replace(
        sets[0],
        name=name,
        folder=folder,
        image_root=root,
        images=list(images.values()),
        queries=list(queries.values()),
        qrels=qrels,
        description=f"Merged from {', '.join(one.name for one in sets)}.",
        licence="; ".join(dict.fromkeys(one.licence for one in sets if one.licence)),
        source="; ".join(dict.fromkeys(one.source for one in sets if one.source)),
        notes=tuple(dict.fromkeys(note for one in sets for note in one.notes)),
    )


def split(
    eval_set: EvalSet, shares: Mapping[str, float], folder: Path, seed: int = 0
) -> list[EvalSet]:
    """Split into parts with all images and a share of the queries each, drawn by category.

    Args:
        eval_set: the whole.
        shares: name of the part to its share; they sum to 1.
        folder: each part becomes a folder of its name in it.
        seed: of the draw.

    Raises:
        EvalSetError: shares that do not sum to 1, or a part that would be empty.
    """
    if abs(sum(shares.values()) - 1) > 1e-6 or any(share <= 0 for share in shares.values()):
        raise EvalSetError("The shares of a split must be above 0 and sum to 1.")
    members: dict[str, set[str]] = {name: set() for name in shares}
    for category, ids in _by_category(eval_set.queries).items():
        drawn = [ids[i] for i in generator(seed, f"split {category}").permutation(len(ids))]
        ends = _cumulated(list(shares.values()), len(drawn))
        for name, start, end in zip(shares, [0, *ends], ends, strict=False):
            members[name].update(drawn[start:end])
    if empty := [name for name, ids in members.items() if not ids]:
        raise EvalSetError(f"The part {empty[0]!r} would have no query; use larger shares.")
    return [
        replace(
            eval_set,
            name=f"{eval_set.name}-{name}",
            folder=folder / name,
            queries=[query for query in eval_set.queries if query.query_id in ids],
            notes=(),
            qrels={query_id: g for query_id, g in eval_set.qrels.items() if query_id in ids},
        )
        for name, ids in members.items()
    ]


def sample(eval_set: EvalSet, number: int, folder: Path, seed: int = 0) -> EvalSet:
    """Draw a random part of the queries, each category in proportion, with all images.

    Raises:
        EvalSetError: `number` is not between 1 and the number of queries.
    """
    total = len(eval_set.queries)
    if not 1 <= number <= total:
        raise EvalSetError(f"{eval_set.name} has {total:,} queries; sample 1 to {total:,} of them.")
    groups = _by_category(eval_set.queries)
    exact = {category: number * len(ids) / total for category, ids in groups.items()}
    counts = {category: int(value) for category, value in exact.items()}
    # Largest remainders first, so that the numbers add up.
    for category in sorted(exact, key=lambda c: counts[c] - exact[c])[
        : number - sum(counts.values())
    ]:
        counts[category] += 1
    chosen: set[str] = set()
    for category, ids in groups.items():
        order = generator(seed, f"sample {category}").permutation(len(ids))
        chosen.update(ids[i] for i in order[: counts[category]])
    return replace(
        eval_set,
        name=f"{eval_set.name}-sample-{number}",
        folder=folder,
        queries=[query for query in eval_set.queries if query.query_id in chosen],
        notes=(),
        qrels={query_id: g for query_id, g in eval_set.qrels.items() if query_id in chosen},
    )


def dedupe(eval_set: EvalSet, folder: Path) -> Deduplicated:
    """Keep each picture once (by its bytes) and each query once (by picture and text).

    Judgments of what is removed go to what stays; the higher grade counts where both have one.
    Pictures that cannot be read are kept.
    """
    by_bytes: dict[str, str] = {}
    images: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for image in eval_set.images:
        digest = content_hash(image.path) or image.image_id
        hashes[image.path] = digest
        first = by_bytes.setdefault(digest, image.image_id)
        if first != image.image_id:
            images[image.image_id] = first
    by_words: dict[tuple[str | None, str], str] = {}
    queries: dict[str, str] = {}
    for query in eval_set.queries:
        picture = query.image and (
            hashes.get(query.image) or content_hash(query.image) or query.image
        )
        key = (picture, " ".join((query.text or "").split()).casefold())
        first = by_words.setdefault(key, query.query_id)
        if first != query.query_id:
            queries[query.query_id] = first
    qrels: Qrels = {}
    for query_id, grades in eval_set.qrels.items():
        kept = qrels.setdefault(queries.get(query_id, query_id), {})
        for image_id, grade in grades.items():
            place = images.get(image_id, image_id)
            kept[place] = max(grade, kept.get(place, grade))
    pools = _pools(eval_set.queries, images)
    made = replace(
        eval_set,
        folder=folder,
        images=[image for image in eval_set.images if image.image_id not in images],
        queries=[
            replace(query, pool=pools[query.pool])
            for query in eval_set.queries
            if query.query_id not in queries
        ],
        qrels=qrels,
    )
    return Deduplicated(made, images, queries)


def _pools(
    queries: Sequence[EvalQuery], ids: Mapping[str, str]
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Each pool of candidates under the new ids, each image once."""
    return {
        pool: tuple(dict.fromkeys(ids.get(one, one) for one in pool))
        for pool in {query.pool for query in queries}
    }


def _place(
    name: str, new: Mapping[str, One], old: Mapping[str, One], same: Callable[[One, One], bool]
) -> dict[str, str]:
    """Each id of `new` to the id that it gets beside `old`."""
    ids = {}
    for one_id, one in new.items():
        taken = one_id in old and not same(old[one_id], one)
        ids[one_id] = f"{name}/{one_id}" if taken else one_id
        if taken and ids[one_id] in old:
            raise EvalSetError(f"Two of the sets have the name {name!r} and the id {one_id!r}.")
    return ids


def _same_image(a: GalleryImage, b: GalleryImage) -> bool:
    return a.path == b.path


def _same_query(a: EvalQuery, b: EvalQuery) -> bool:
    return (a.image, a.text) == (b.image, b.text)


def _by_category(queries: Sequence[EvalQuery]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for query in queries:
        groups[query.category].append(query.query_id)
    return groups


def _cumulated(shares: Sequence[float], n: int) -> list[int]:
    total, ends = 0.0, []
    for share in shares:
        total += share
        ends.append(round(total * n))
    return ends
