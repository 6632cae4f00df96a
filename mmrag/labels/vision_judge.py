"""A vision model judges pairs of query and picture, one after the other, by a rubric.

Pairs come in random order, so that neither query nor rank gives a hint, and by chance the query's
picture comes before or after the candidate. A second pass over some of the pairs, in another order
and with the pictures swapped, measures how far the model agrees with itself.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.labels.asking import Asker
from mmrag.labels.judgments import GRADES, Judgment, JudgmentLog, Kind, grades_of
from mmrag.labels.rubrics import DEFAULT_RUBRIC, Rubric
from mmrag.metrics.statistics import generator
from mmrag.types import GalleryImage, Usage
from mmrag.vision.prompt import DATA_RULE, Picture, Prompt, data
from mmrag.vision.reply import json_documents

Pair = tuple[str, str]
MAX_TOKENS = 400
SIDE = 512
# Judgments stored together; those lost with a killed process are in the cache.
_TOGETHER = 50
_GRADE = re.compile(r"\bgrade\b\W*([0-9])\b", re.I)
_REASON = re.compile(r"\breasons?\b\W*(.+?)(?=\bgrade\b|\Z)", re.I | re.S)
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "grade": {"type": "integer", "enum": sorted(GRADES.values())},
    },
    "required": ["reason", "grade"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Judged:
    """Outcome of judging: pairs that got a grade, and why others got none."""

    done: int
    problems: list[str]
    usage: Usage


class VisionJudge:
    """A model as a judge of one eval set.

    Args:
        eval_set: whose queries and pictures are judged.
        asker: the model to ask, and how.
        rubric: the meaning of the grades.
        picture_size: pixels of the longer side of a picture sent.
        seed: of the order of the pairs and of the pictures.
    """

    def __init__(
        self,
        eval_set: EvalSet,
        asker: Asker,
        rubric: Rubric,
        *,
        picture_size: int = SIDE,
        seed: int = 0,
    ) -> None:
        self.asker, self.rubric = asker, rubric
        # Another rubric makes another judge.
        own = "" if rubric.name == DEFAULT_RUBRIC else f" by {rubric.name}"
        self.name = f"{asker.model.name}{own}"
        self._side, self._seed = picture_size, seed
        self._queries = {query.query_id: query for query in eval_set.queries}
        self._images = {image.image_id: image for image in eval_set.images}
        self._log = JudgmentLog(eval_set.folder)

    def pending(self, pooled: Iterable[Pair]) -> list[Pair]:
        """Pairs of a pool, and pairs that people have judged, that this judge has not."""
        rows = self._log.rows()
        by_people = [(o.query_id, o.image_id) for o in rows if o.kind in ("person", "settled")]
        done = grades_of(rows, self.name)
        return [
            pair
            for pair in dict.fromkeys([*pooled, *by_people])
            if pair not in done and pair[0] in self._queries and pair[1] in self._images
        ]

    def to_repeat(self, number: int) -> list[Pair]:
        """Random pairs that it has judged once, for a second pass; `number` in all."""
        rows = self._log.rows()
        twice = {(o.query_id, o.image_id) for o in rows if o.kind == "repeat"}
        judged = [
            pair
            for pair in grades_of(rows, self.name)
            if pair[0] in self._queries and pair[1] in self._images
        ]
        order = generator(self._seed, "second pass").permutation(len(judged))
        return [judged[i] for i in order[:number] if judged[i] not in twice]

    def judge(
        self,
        pairs: Sequence[Pair],
        *,
        second_pass: bool = False,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Judged:
        """Grade pairs; each is stored under the judge's name, with its reason.

        Args:
            pairs: query id and image id.
            second_pass: store as repetitions, which do not count as labels, and swap the pictures.
            progress: called with 1 after each pair.

        Raises:
            BudgetReached, GaveUp, ModelServerError: as `Asker.ask`; what is finished is stored.
        """
        kind: Kind = "repeat" if second_pass else "model"
        order = generator(self._seed, f"judge {kind}").permutation(len(pairs))
        shuffled = [pairs[i] for i in order]
        prompts = [partial(self._prompt, pair, second_pass) for pair in shuffled]
        done, problems, usage = 0, [], Usage()
        asker = self.asker
        if second_pass:
            # With a single picture the prompt is the same; the answer must not come from the cache.
            model = copy.copy(asker.model)
            model.repetition += 1
            asker = replace(asker, model=model)
        with _stored(self._log) as store:
            for answer in asker.ask(prompts, read_grade):
                query_id, image_id = shuffled[answer.position]
                usage += answer.usage
                progress(1)
                if answer.read is None:
                    problems.append(f"{query_id} {image_id}: {answer.problem}")
                    continue
                grade, reason = answer.read
                store(Judgment(query_id, image_id, grade, self.name, kind, reason=reason))
                done += 1
        return Judged(done, problems, usage)

    def _prompt(self, pair: Pair, second_pass: bool) -> Prompt:
        drawn = hashlib.sha256(f"{self._seed}\0{pair[0]}\0{pair[1]}".encode()).digest()[0] % 2
        return grading_prompt(
            self._queries[pair[0]],
            self._images[pair[1]],
            self.rubric,
            candidate_first=bool(drawn) != second_pass,
            side=self._side,
        )


def grading_prompt(
    query: EvalQuery,
    image: GalleryImage,
    rubric: Rubric,
    *,
    candidate_first: bool = False,
    side: int = SIDE,
) -> Prompt:
    """Make a prompt that shows one query and one candidate.

    Raises:
        ImageError: a picture cannot be read.
    """
    rules = "\n\n".join([rubric.task, rubric.scale, DATA_RULE, rubric.form])
    asked: list[str | Picture] = []
    if query.images:
        asked.append("Query picture:" if len(query.images) == 1 else "Query pictures:")
        asked += [Picture.read(path, side) for path in query.images]
    if query.without is not None:
        asked.append(f"What a right picture does not show: {data(query.without.text or '', 2000)}")
        asked += [Picture.read(one, side) for one in query.without.images]
    text = f"Candidate: {data(image.text)}" if image.text else "Candidate:"
    candidate: list[str | Picture] = [text, Picture.read(image.path, side)]
    instruction = (
        f"Instruction: {data(query.text, 2000)}"
        if query.text
        else "There is no instruction: judge by likeness to the query picture."
    )
    parts = [*candidate, *asked] if candidate_first else [*asked, *candidate]
    return Prompt(rules, (instruction, *parts), MAX_TOKENS, SCHEMA)


def read_grade(text: str) -> tuple[int, str] | None:
    """Read grade and reason from an answer, as `SCHEMA` or as "Reason: ... Grade: ..."."""
    grades = set(GRADES.values())
    found = json_documents(text[:20_000], lambda one: "grade" in one)
    if found:
        # A model that corrects itself writes a second object.
        grade, reason = found[-1]["grade"], found[-1].get("reason")
        if isinstance(grade, str) and grade.strip() in set(map(str, grades)):
            grade = int(grade)
        if type(grade) is int and grade in grades:
            return grade, reason if isinstance(reason, str) else ""
        return None
    said = _GRADE.findall(text)
    if not said or int(said[-1]) not in grades:
        return None
    why = _REASON.search(text)
    return int(said[-1]), why.group(1).strip() if why else ""


@contextlib.contextmanager
def _stored(log: JudgmentLog) -> Iterator[Callable[[Judgment], None]]:
    """Store judgments in groups, and the rest at the end, whatever ends it."""
    waiting: list[Judgment] = []

    def store(one: Judgment) -> None:
        waiting.append(one)
        if len(waiting) >= _TOGETHER:
            log.add(waiting)
            waiting.clear()

    try:
        yield store
    finally:
        log.add(waiting)
