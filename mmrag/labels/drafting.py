"""Draft queries from an indexed collection."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.index.browse import read_images
from mmrag.index.embedding_map import read_vectors
from mmrag.index.image_index import ImageIndex
from mmrag.labels.asking import Asker
from mmrag.labels.drafts import Draft, DraftFile, fitting_negatives, worded_by_metadata
from mmrag.labels.pairs import draw_pairs
from mmrag.labels.rubrics import DEFAULT_WORDING, load_wording
from mmrag.labels.wording import NamedPair, Worded, read_wording, wording_prompt
from mmrag.system.words import counted
from mmrag.types import Usage

MAX_IMAGES = 20_000
# Pairs tried for each query: not all pairs of pictures differ in their metadata.
_CANDIDATES = 10


@dataclass(frozen=True)
class Drafted:
    """Number of new drafts that wait for a person, why pairs have none, and usage of a model."""

    new: int
    problems: list[str]
    usage: Usage


def set_of_collection(index: ImageIndex, folder: Path, name: str) -> EvalSet:
    """Write an eval set without queries over a collection's images to `folder`.

    An existing eval set is opened, and gets the images that it lacks.

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
    images = [replace(one, path=os.path.realpath(one.path)) for one in read_images(index, ids)]
    if (folder / "eval_set.json").exists():
        known = EvalSet.load(folder)
        there = {image.image_id for image in known.images}
        lacking = [image for image in images if image.image_id not in there]
        if not lacking:
            return known
        raise EvalSetError(
            f"The eval set in {folder} lacks {counted(len(lacking), 'image')} of collection "
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
    asker: Asker | None = None,
    wording: str = DEFAULT_WORDING,
    near_duplicate: float | None = None,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> Drafted:
    """Propose queries for an eval set over a collection's images.

    Pairs proposed before, accepted or rejected, are not proposed again.

    Args:
        index: the collection, whose vectors show which pictures are near.
        eval_set: with these images; drafts are added to its `drafts.jsonl`.
        number: of drafts wanted.
        asker: a vision model that words the drafts; by default they are worded from metadata.
        wording: how it is asked, a name or the path of a .toml file.
        near_duplicate: pairs with at least this cosine are left out; default: `usual_threshold`.
        seed: of the choice.
        progress: called with 1 after each source picture.

    Returns:
        How many new drafts wait for a person.

    Raises:
        EvalSetError: no pair of pictures could be worded.
        BudgetReached, GaveUp, ModelServerError: as `Asker.ask`; drafts made so far are kept.
    """
    images = {image.image_id: image for image in eval_set.images}
    ids, vectors = read_vectors(index, list(images))
    # Not every source has a pair that can be worded, so more are drawn.
    sources = draw_pairs(
        vectors,
        min(len(ids), 3 * number),
        near_duplicate=near_duplicate,
        candidates=1 if asker else _CANDIDATES,
        seed=seed,
    )
    file = DraftFile(eval_set.folder)
    known = {(one.image_id, one.target_id) for one in file.drafts()}
    named = [
        [
            NamedPair(
                images[ids[pair.source]],
                images[ids[pair.target]],
                tuple(images[ids[row]] for row in pair.negatives),
                pair.band,
            )
            for pair in pairs
            if (ids[pair.source], ids[pair.target]) not in known
        ]
        for pairs in sources
    ]
    step = progress or (lambda _: None)
    if asker is not None:
        return _by_vision(
            [pairs[0] for pairs in named if pairs], number, asker, wording, file, step
        )
    found: list[Draft] = []
    for pairs in named:
        if len(found) == number:
            break
        worded = _by_metadata(pairs)
        if worded is not None:
            found.append(worded)
        step(1)
    if not found:
        raise EvalSetError(
            "No two pictures differ in just one or two metadata values, so nothing can be worded "
            "from metadata; add metadata (index --metadata FILE) or let a vision model word them "
            "(--by vision)."
        )
    return Drafted(file.propose(found), [], Usage())


def _by_metadata(pairs: Sequence[NamedPair]) -> Draft | None:
    for pair in pairs:
        text = worded_by_metadata(pair.source, pair.target)
        if text is not None:
            negatives = tuple(fitting_negatives(pair.target, pair.neighbours))
            source, target = pair.source.image_id, pair.target.image_id
            return Draft("", source, target, text, (), negatives, band=pair.band)
    return None


def _by_vision(
    pairs: Sequence[NamedPair],
    number: int,
    asker: Asker,
    wording: str,
    file: DraftFile,
    step: Callable[[int], Any],
) -> Drafted:
    """Ask for as many as are wanted, and for more where a pair could not be worded."""
    texts = load_wording(wording)
    made, at, usage, problems = 0, 0, Usage(), []
    while made < number and at < len(pairs):
        some = pairs[at : at + number - made]
        at += len(some)
        found: list[Draft] = []
        prompts = [partial(wording_prompt, pair, *texts) for pair in some]
        try:
            for answer in asker.ask(prompts, read_wording):
                usage += answer.usage
                step(1)
                pair = some[answer.position]
                if answer.read is None:
                    problems.append(f"{pair.source.image_id}: {answer.problem}")
                elif answer.read.instruction:
                    found.append(_worded(pair, answer.read, asker.model.name))
        finally:
            made += file.propose(found)
    if not made:
        why = problems[0] if problems else "it had no short instruction for any pair"
        raise EvalSetError(f"{asker.model.name} worded no query: {why.rstrip('.')}.")
    return Drafted(made, problems, usage)


def _worded(pair: NamedPair, worded: Worded, by: str) -> Draft:
    numbered = list(enumerate(pair.neighbours, start=1))
    return Draft(
        "",
        pair.source.image_id,
        pair.target.image_id,
        worded.instruction,
        worded.paraphrases,
        tuple(one.image_id for i, one in numbered if i not in worded.fitting),
        by,
        pair.band,
        fitting=tuple(one.image_id for i, one in numbered if i in worded.fitting),
    )
