"""Answers to the questions of a set, with and without retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.evaluation.ablations import Setting
from mmrag.metrics.answer_metrics import exact_match, token_f1
from mmrag.metrics.paired import paired_difference
from mmrag.runs.run import Ranked
from mmrag.types import GalleryImage, Hit

if TYPE_CHECKING:
    from mmrag.vision.model import VisionModel

ANSWERED = "answers"


def answer_questions(
    setting: Setting,
    last: Mapping[str, Ranked],
    images: Mapping[str, GalleryImage],
    model: VisionModel,
) -> dict[str, Any]:
    """Ask each question about the best match and its description, and about the query alone.

    The difference says what retrieval adds to what the model can guess from the query. Answers
    are stored as they come; an interrupted run does not ask again.
    """
    from mmrag.search.answer import answer

    queries = [q for q in setting.eval_set.queries if q.question and q.answers]
    if not queries:
        return {"queries": 0, "note": "No query has a question with accepted answers."}
    store, run_id = setting.stages.store, setting.stages.run_id
    done = store.read(run_id, ANSWERED)
    setting.stages.report(ANSWERED, len(done), len(queries))
    for query in queries:
        if query.query_id in done:
            continue
        setting.stages.check_stop()
        assert query.question is not None
        best = [images[i] for i in last[query.query_id].image_ids[:1]]
        hits = [Hit(1, i.image_id, i.path, 0.0, 1, i.text, i.metadata) for i in best]
        unaided = answer(query.question, model, query=query.query())
        aided = answer(query.question, model, hits=hits) if hits else None
        one = Ranked(
            query.query_id,
            [image.image_id for image in best],
            [],
            usage=unaided.usage + aided.usage if aided else unaided.usage,
            details={"without": unaided.answer, "with": aided.answer if aided else ""},
        )
        store.write(run_id, ANSWERED, [one])
        done[query.query_id] = one
        setting.stages.report(ANSWERED, len(done), len(queries))
    metrics = {}
    for name, score in (("exact_match", exact_match), ("token_f1", token_f1)):
        values = {
            way: np.array([score(done[q.query_id].details[way], q.answers) for q in queries])
            for way in ("without", "with")
        }
        difference = paired_difference(name, values["without"], values["with"], setting.seed)
        assert difference is not None
        metrics[name] = asdict(difference)
    right = [
        any(i in setting.eval_set.relevant(q.query_id) for i in done[q.query_id].image_ids)
        for q in queries
    ]
    return {"queries": len(queries), "right_image": float(np.mean(right)), "metrics": metrics}
