"""Answers to the questions of a set, with and without retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.errors import ImageError, ModelServerError
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.evaluation.ablations import Setting
from mmrag.metrics.answer_metrics import ANSWER_METRICS
from mmrag.metrics.paired import paired_difference
from mmrag.runs.run import Ranked
from mmrag.types import GalleryImage, Hit, Usage

if TYPE_CHECKING:
    import openai

    from mmrag.vision.model import VisionModel

ANSWERED = "answers"
WAYS = ("without", "with")
# After this many questions in a row without an answer, the server counts as gone.
_GIVE_UP = 5


@dataclass(frozen=True)
class Answering:
    """How a set's questions are answered, and by which model.

    Attributes:
        model: answers the questions.
        judge: decides whether an answer means the same as an accepted one; None for no judge.
        concurrency: questions in progress at once.
    """

    model: VisionModel
    judge: VisionModel | None = None
    concurrency: int = 4

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a run notes."""
        judge = {"answer_judge": self.judge.name} if self.judge else {}
        return {"answer_model": self.model.name, "answer_form": "value alone", **judge}


def answer_questions(
    setting: Setting,
    last: Mapping[str, Ranked],
    images: Mapping[str, GalleryImage],
    answering: Answering,
) -> dict[str, Any]:
    """Ask each question about the best match and its description, and about the query alone.

    The difference shows what retrieval adds to what the model can guess from the query. Answers
    are stored as they come; an interrupted run does not ask again. Questions left unanswered
    because of the server or a picture count in no metric.

    Args:
        setting: the run's queries and stages.
        last: the rankings whose first image is asked about: after reranking, if there is any.
        images: by id.
        answering: who answers, and how.

    Raises:
        BudgetReached: before a request that could exceed the limit.
        ModelServerError: wrong key, unknown model, or no answer to several questions in a row.
    """
    queries = [q for q in setting.eval_set.queries if q.question and q.answers]
    if not queries:
        return {"queries": 0, "note": "No query has a question with accepted answers."}
    store, run_id = setting.stages.store, setting.stages.run_id
    done = store.read(run_id, ANSWERED)
    setting.stages.report(ANSWERED, len(done), len(queries))
    missing = [query for query in queries if query.query_id not in done]
    if missing:
        setting.stages.check_stop()
    best = {q.query_id: [images[i] for i in last[q.query_id].image_ids[:1]] for q in missing}
    for one in _in_any_order(missing, best, answering):
        store.write(run_id, ANSWERED, [one])
        done[one.query_id] = one
        setting.stages.report(ANSWERED, len(done), len(queries))
        if len(done) < len(queries):
            setting.stages.check_stop()
    answered = [q for q in queries if "problem" not in done[q.query_id].details]
    right = [
        any(i in setting.eval_set.relevant(q.query_id) for i in done[q.query_id].image_ids)
        for q in queries
    ]
    return {
        "queries": len(answered),
        "unanswered": len(queries) - len(answered),
        "right_image": float(np.mean(right)),
        "metrics": _metrics(answered, done, setting.seed),
    }


def _metrics(queries: Sequence[EvalQuery], done: Mapping[str, Ranked], seed: int) -> dict[str, Any]:
    values: dict[str, list[list[float]]] = {
        name: [[score(done[q.query_id].details[way], q.answers) for q in queries] for way in WAYS]
        for name, score in ANSWER_METRICS.items()
    }
    judged = [
        [float(done[q.query_id].details.get(f"judged_{way}", np.nan)) for q in queries]
        for way in WAYS
    ]
    values["judged"] = judged
    differences = {
        name: paired_difference(name, np.array(without), np.array(aided), seed)
        for name, (without, aided) in values.items()
    }
    return {name: asdict(one) for name, one in differences.items() if one is not None}


def _in_any_order(
    queries: Sequence[EvalQuery], best: Mapping[str, Sequence[GalleryImage]], answering: Answering
) -> Any:
    """Each question's answers, as they become ready."""
    from mmrag.vision.jobs import run_jobs

    # Unanswered questions are yielded once another answer shows that the server is there.
    held: list[Ranked] = []
    jobs = [partial(_ask, query, best[query.query_id], answering) for query in queries]
    running = run_jobs(jobs, answering.model.async_client, answering.concurrency)
    with closing(running):
        for _, one in running:
            held.append(one)
            if "problem" not in one.details:
                yield from held
                held.clear()
            elif len(held) == _GIVE_UP:
                raise ModelServerError(
                    f"{_GIVE_UP} questions in a row had no answer, the last one because: "
                    f"{one.details['problem']} What is finished is kept."
                )
    yield from held


async def _ask(
    query: EvalQuery,
    best: Sequence[GalleryImage],
    answering: Answering,
    client: openai.AsyncOpenAI,
) -> Ranked:
    from mmrag.search.answer import complete_answer, judge_answer
    from mmrag.vision.endpoint import RequestFailed

    assert query.question is not None
    hits = [Hit(1, i.image_id, i.path, 0.0, 1, i.text, i.metadata) for i in best]
    asked: dict[str, dict[str, Any]] = {"without": {"query": query.query()}}
    if hits:
        asked["with"] = {"hits": hits}
    details: dict[str, Any] = {"without": "", "with": ""}
    usage = Usage()
    try:
        for way, source in asked.items():
            answer = await complete_answer(
                query.question, answering.model, client, value_alone=True, **source
            )
            usage += answer.usage
            details[way] = answer.answer
            if answering.judge is not None:
                right, used = await judge_answer(
                    query.question, answer.answer, query.answers, answering.judge, client
                )
                usage += used
                details[f"judged_{way}"] = right
    except (RequestFailed, ImageError) as error:
        details["problem"] = str(error)
        usage += error.usage if isinstance(error, RequestFailed) else Usage()
    return Ranked(query.query_id, [one.image_id for one in best], [], usage=usage, details=details)
