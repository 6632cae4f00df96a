"""From an indexed collection to drafted queries."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.index.browse import read_images
from mmrag.index.embedding_map import read_vectors
from mmrag.index.image_index import ImageIndex
from mmrag.labels.drafts import Draft, DraftFile, fitting_negatives, worded_by_metadata
from mmrag.labels.pairs import Pair, draw_pairs
from mmrag.types import GalleryImage

MAX_IMAGES = 20_000
# Pairs that are tried for each query: not every two pictures differ in what their metadata says.
_CANDIDATES = 10
# The wording of a pair and its paraphrases, or None where there is none.
Wording = Callable[[GalleryImage, GalleryImage], tuple[str, tuple[str, ...]] | None]


def set_of_collection(index: ImageIndex, folder: Path, name: str) -> EvalSet:
    """An eval set without queries over a collection's images, written to `folder`.

    An eval set that is there already is opened, and gets the images that it lacks.

    Raises:
        EvalSetError: the collection is empty or too large, or its pictures have no common folder.
    """
    rows = index.rows(["image_id"]) if index.exists() else ()
    ids = sorted(str(row["image_id"]) for row in rows)
    if not ids:
        raise EvalSetError(f"Collection {index.collection!r} is empty; index a folder first.")
    if len(ids) > MAX_IMAGES:
        raise EvalSetError(
            f"Collection {index.collection!r} holds {len(ids):,} images; drafting takes up to "
            f"{MAX_IMAGES:,}."
        )
    images = read_images(index, ids)
    if (folder / "eval_set.json").exists():
        known = EvalSet.load(folder)
        there = {image.image_id for image in known.images}
        lacking = [image for image in images if image.image_id not in there]
        if not lacking:
            return known
        raise EvalSetError(
            f"The eval set in {folder} lacks {len(lacking):,} images of collection "
            f"{index.collection!r}, such as {lacking[0].image_id!r}; name another --out."
        )
    try:
        root = Path(os.path.commonpath([str(Path(image.path).parent) for image in images]))
    except ValueError as error:
        raise EvalSetError(f"The pictures have no common folder ({error}).") from error
    made = EvalSet(name, folder, root, images, [], {}, exclude_query_image=True)
    made.save()
    return EvalSet.load(folder)


def draft(
    index: ImageIndex,
    eval_set: EvalSet,
    number: int,
    *,
    wording: Wording | None = None,
    by: str = "metadata",
    near_duplicate: float | None = None,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> int:
    """Propose queries for an eval set over a collection's images.

    Args:
        index: the collection, whose vectors say which pictures are near.
        eval_set: with these images; drafts are added to its `drafts.jsonl`.
        number: how many are wanted.
        wording: words a pair; by default from metadata.
        by: the name of what words them.
        near_duplicate: pairs with at least this cosine are left out; default: `usual_threshold`.
        seed: of the choice.
        progress: called with 1 for each source picture.

    Returns:
        How many new drafts wait for a person.

    Raises:
        EvalSetError: no pair of pictures has a wording.
    """
    images = {image.image_id: image for image in eval_set.images}
    ids, vectors = read_vectors(index, list(images))
    # Not every source has a pair with a wording, so more are drawn.
    sources = draw_pairs(
        vectors,
        min(len(ids), 3 * number),
        near_duplicate=near_duplicate,
        candidates=1 if wording else _CANDIDATES,
        seed=seed,
    )
    found: list[Draft] = []
    step = progress or (lambda _: None)
    for pairs in sources:
        if len(found) == number:
            break
        worded = _first_worded(pairs, ids, images, wording or _by_metadata, by)
        if worded is not None:
            found.append(worded)
        step(1)
    if not found:
        raise EvalSetError(
            "No two pictures differ in just one or two metadata values, so nothing can be worded "
            "from metadata; add metadata (index --metadata FILE) or let a vision model word them."
        )
    return DraftFile(eval_set.folder).propose(found)


def _first_worded(
    pairs: Sequence[Pair],
    ids: Sequence[str],
    images: dict[str, GalleryImage],
    wording: Wording,
    by: str,
) -> Draft | None:
    for pair in pairs:
        source, target = images[ids[pair.source]], images[ids[pair.target]]
        said = wording(source, target)
        if said is None:
            continue
        text, paraphrases = said
        others = [images[ids[row]] for row in pair.negatives]
        negatives = tuple(fitting_negatives(target, others)) if by == "metadata" else ()
        return Draft(
            "", source.image_id, target.image_id, text, paraphrases, negatives, by, pair.band
        )
    return None


def _by_metadata(source: GalleryImage, target: GalleryImage) -> tuple[str, tuple[str, ...]] | None:
    text = worded_by_metadata(source, target)
    return (text, ()) if text else None
