"""Queries of a run with their first results, as pictures to embed in a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.templates import templated
from mmrag.images.thumbnails import data_url
from mmrag.metrics.paired import common_rows
from mmrag.metrics.table import higher_is_better
from mmrag.runs.run import RERANKED, RETRIEVAL, Run

SHOWN = 6
_SIDE = 192


@dataclass(frozen=True)
class Shown:
    """A result: `grade` is its judgment, None where there is none; `picture` a data URL."""

    rank: int
    image_id: str
    picture: str | None
    grade: int | None


@dataclass(frozen=True)
class Example:
    """A query and its first results; `wanted` are right images not among them."""

    query_id: str
    category: str
    text: str
    picture: str | None
    has_picture: bool
    value: float
    before: float | None
    results: list[Shown]
    wanted: list[Shown]
    explanation: str
    rewritten: str = ""


def sample(run: Run, number: int, seed: int = 0) -> list[str]:
    """Ids of scored queries, drawn at random."""
    ids = run.scores[run.stage].query_ids
    chosen = np.random.default_rng(seed).choice(len(ids), min(number, len(ids)), replace=False)
    return [ids[i] for i in sorted(chosen)]


def changed_most(run: Run, metric: str, number: int) -> tuple[list[str], list[str]]:
    """Ids of the queries that reranking helped most and harmed most."""
    before, after = run.scores[RETRIEVAL], run.scores[RERANKED]
    ids, rows_a, rows_b = common_rows(before, after)
    sign = 1 if higher_is_better(metric) else -1
    delta = sign * (after.values[metric][rows_b] - before.values[metric][rows_a])
    order = np.argsort(-delta, kind="stable")
    gained = [ids[i] for i in order if delta[i] > 0][:number]
    lost = [ids[i] for i in order[::-1] if delta[i] < 0][:number]
    return gained, lost


def examples(run: Run, eval_set: EvalSet, query_ids: Sequence[str], metric: str) -> list[Example]:
    """Examples of the given queries at the run's last stage."""
    stage = run.stage
    wanted = set(query_ids)
    asked = [query for query in eval_set.queries if query.query_id in wanted]
    queries = {query.query_id: query for query in templated(asked, run.query_template)}
    paths = {image.image_id: image.path for image in eval_set.gallery().images}
    scores = run.scores[stage]
    row = {query_id: i for i, query_id in enumerate(scores.query_ids)}
    found = []
    for query_id in query_ids:
        query, judged = queries[query_id], eval_set.qrels.get(query_id, {})
        one, first = (run.rankings[at].get(query_id) for at in (stage, RETRIEVAL))
        order = one.image_ids if one else []
        rank = {image_id: i for i, image_id in enumerate(order, start=1)}

        def show(
            image_id: str,
            rank: dict[str, int] = rank,
            judged: dict[str, int] = judged,
        ) -> Shown:
            path = paths.get(image_id)
            picture = data_url(path, _SIDE) if path else None
            return Shown(rank.get(image_id, 0), image_id, picture, judged.get(image_id))

        right = sorted(eval_set.relevant(query_id) - set(order[:SHOWN]))
        right.sort(key=lambda image_id: rank.get(image_id, len(order) + 1))
        before = None
        if stage == RERANKED and query_id in row:
            scored = run.scores[RETRIEVAL]
            before = float(scored.values[metric][scored.query_ids.index(query_id)])
        found.append(
            Example(
                query_id,
                query.category,
                query.text or "",
                data_url(query.image, _SIDE) if query.image else None,
                query.image is not None,
                float(scores.values[metric][row[query_id]]),
                before,
                [show(image_id) for image_id in order[:SHOWN]],
                [show(image_id) for image_id in right[:1]],
                str(one.details.get("explanation", "")) if one else "",
                str(first.details.get("rewritten", "")) if first else "",
            )
        )
    return found
