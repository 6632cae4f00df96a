"""Checks of drafted queries: do they need both parts, have several answers, repeat another?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.images.unreadable import content_hash
from mmrag.labels.asking import Asker
from mmrag.labels.drafts import BY_METADATA, Draft, DraftFile
from mmrag.labels.judgments import GRADES
from mmrag.labels.pooling import pool
from mmrag.labels.rubrics import Rubric
from mmrag.labels.vision_judge import grading_prompt, read_grade
from mmrag.runs.labels import BOTH, EITHER, NONE, PICTURE, TEXT
from mmrag.search.searcher import Searcher
from mmrag.types import GalleryImage, Query, Usage

POOLED, FOUND = 20, 10


@dataclass(frozen=True)
class DraftCheck:
    """Findings on drafts that are waiting or accepted.

    Attributes:
        drafts: number of drafts.
        needs: label ("needs both", "picture suffices", ...) to number of drafts.
        several: number with a further right picture among the pooled ones.
        judged: number that could be checked for that.
        duplicates: id of a draft to the id of an earlier one that asks the same.
        problems: why pictures could not be judged.
        usage: of the vision model.
    """

    drafts: int
    needs: dict[str, int]
    several: int
    judged: int
    duplicates: dict[str, str]
    problems: list[str]
    usage: Usage

    @property
    def lines(self) -> list[str]:
        """The findings in sentences."""
        both = self.needs.get(BOTH, 0)
        others = ", ".join(
            f"{count} {label}" for label, count in self.needs.items() if label != BOTH
        )
        return [
            f"{both} of {self.drafts} need both picture and text ({both / max(1, self.drafts):.0%})"
            + (f"; {others}" if others else "")
            + f", by what is found among the first {FOUND}.",
            f"{self.several} of the {self.judged} that were looked through have several right "
            f"pictures among the first {POOLED} of each way of asking.",
            f"{len(self.duplicates)} repeat another draft: the same picture and the same words.",
        ]


def check_drafts(
    eval_set: EvalSet,
    searcher: Searcher,
    *,
    asker: Asker | None = None,
    rubric: Rubric | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> DraftCheck:
    """Check the drafts of a set, and note the findings on each.

    Each is asked by its picture, by its words, and by both. The first pictures of the three are
    pooled; a vision model finds those that are right besides the target, or, for drafts worded
    from metadata, those with the target's metadata are right.

    Args:
        eval_set: the set, whose images the searcher finds.
        searcher: over the collection that the drafts were made from.
        asker: a vision model that judges the pooled pictures.
        rubric: how it judges; needed with `asker`.
        progress: called with 1 after each judged picture.

    Raises:
        EvalSetError: there are no drafts.
        BudgetReached, GaveUp, ModelServerError: as `Asker.ask`.
    """
    file = DraftFile(eval_set.folder)
    images = {image.image_id: image for image in eval_set.images}
    drafts = [
        one
        for one in file.drafts()
        if one.state != "rejected" and {one.image_id, one.target_id} <= images.keys()
    ]
    if not drafts:
        raise EvalSetError(
            f"No draft of {eval_set.folder} waits or was accepted; propose some with "
            "`mmrag eval-set draft`."
        )
    by_picture, by_text, by_both = (
        _rankings(searcher, drafts, images, part) for part in ("picture", "text", "both")
    )
    needs = {
        one.query_id: _label(
            *(
                one.target_id in ranked[one.query_id][:FOUND]
                for ranked in (by_picture, by_text, by_both)
            )
        )
        for one in drafts
    }
    pooled = pool([by_both, by_picture, by_text], POOLED)
    fitting, problems, usage = _fitting(drafts, images, pooled, asker, rubric, progress)
    file.amend(
        {
            one.query_id: (needs[one.query_id], fitting.get(one.query_id, one.fitting))
            for one in drafts
        }
    )
    return DraftCheck(
        len(drafts),
        dict(Counter(needs.values()).most_common()),
        sum(bool(one) for one in fitting.values()),
        len(fitting),
        _duplicates(drafts, images),
        problems,
        usage,
    )


def _rankings(
    searcher: Searcher, drafts: Sequence[Draft], images: dict[str, GalleryImage], part: str
) -> dict[str, list[str]]:
    queries = [
        Query(
            None if part == "text" else images[one.image_id].path,
            None if part == "picture" else one.text,
        )
        for one in drafts
    ]
    found = searcher.search_many(queries, POOLED, exclude_query_image=part != "text")
    return {
        one.query_id: [hit.image_id for hit in result.hits if hit.image_id in images]
        for one, result in zip(drafts, found, strict=True)
    }


def _label(picture: bool, text: bool, both: bool) -> str:
    if picture or text:
        return EITHER if picture and text else PICTURE if picture else TEXT
    return BOTH if both else NONE


def _fitting(
    drafts: Sequence[Draft],
    images: dict[str, GalleryImage],
    pooled: dict[str, list[str]],
    asker: Asker | None,
    rubric: Rubric | None,
    progress: Callable[[int], object],
) -> tuple[dict[str, tuple[str, ...]], list[str], Usage]:
    """Draft to pooled pictures that are right besides its target, for drafts that can be judged."""
    others = {
        one.query_id: [
            i
            for i in pooled[one.query_id]
            if i in images and i not in (one.image_id, one.target_id)
        ]
        for one in drafts
    }
    if asker is None or rubric is None:
        return (
            {
                one.query_id: tuple(
                    i
                    for i in others[one.query_id]
                    if images[i].metadata == images[one.target_id].metadata
                )
                for one in drafts
                if one.by == BY_METADATA and images[one.target_id].metadata
            },
            [],
            Usage(),
        )
    by_id = {one.query_id: one for one in drafts}
    pairs = [(query_id, image_id) for query_id, ids in others.items() for image_id in ids]
    prompts = [
        partial(
            grading_prompt,
            EvalQuery(query_id, images[by_id[query_id].image_id].path, by_id[query_id].text),
            images[image_id],
            rubric,
        )
        for query_id, image_id in pairs
    ]
    right: dict[str, list[str]] = {one.query_id: [] for one in drafts}
    problems, usage = [], Usage()
    for answer in asker.ask(prompts, read_grade):
        query_id, image_id = pairs[answer.position]
        usage += answer.usage
        progress(1)
        if answer.read is None:
            problems.append(f"{query_id} {image_id}: {answer.problem}")
        elif answer.read[0] == GRADES["right"]:
            right[query_id].append(image_id)
    return {query_id: tuple(sorted(found)) for query_id, found in right.items()}, problems, usage


def _duplicates(drafts: Sequence[Draft], images: dict[str, GalleryImage]) -> dict[str, str]:
    first: dict[tuple[str, str], str] = {}
    found = {}
    for one in drafts:
        words = " ".join(one.text.split()).casefold()
        path = images[one.image_id].path
        key = (content_hash(path) or path, words)
        earlier = first.setdefault(key, one.query_id)
        if earlier != one.query_id:
            found[one.query_id] = earlier
    return found
