"""Reranking a first stage that was made elsewhere, or by an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mmrag.errors import BudgetReached, Cancelled, MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.templates import templated
from mmrag.evaluation.evaluate import DEFAULT_RERANK_K
from mmrag.evaluation.run_header import resume_key
from mmrag.evaluation.stages import Stages
from mmrag.labels.trust import note_labels
from mmrag.metrics.metrics import Scores, score_rankings
from mmrag.metrics.summary import summarise
from mmrag.rerank.reranker import GaveUp, Reranker
from mmrag.runs.provenance import environment, labels_sha256
from mmrag.runs.rerank_stages import rerank_stages
from mmrag.runs.run import RERANKED, RETRIEVAL, STOPPED_BY_BUDGET, Run, percentiles
from mmrag.runs.store import RunStore, new_run_id, now
from mmrag.system.jobs import Progress
from mmrag.types import Usage


def rerank_run(
    first: Run,
    eval_set: EvalSet,
    reranker: Reranker,
    store: RunStore,
    *,
    rerank_k: int | None = None,
    query_template: str | None = None,
    name: str = "",
    resume: bool = True,
    on_progress: Callable[[Progress], Any] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Reorder the first results of a run's last stage; nothing is embedded or searched.

    Args:
        first: from `read_run`, or loaded whole from a store.
        eval_set: the set it was made on.
        reranker: reorders the first `rerank_k` results of each query.
        store: where the new run is kept; an interrupted run of the same arguments resumes.
        rerank_k: default: the reranker's own depth, else 10.
        query_template: replaces each query's text for the reranker; default: the first run's.
        name: of the new run. Default: the first run's name and the reranker's.
        resume: False starts afresh even if an interrupted run could resume.
        on_progress: called with a `Progress`, in this thread.
        should_stop: called between queries; when true, the run is kept with state "stopped".

    Raises:
        MmragError: another eval set, or a picture that must be shown is missing.
    """
    if first.eval_set.labels_sha256 != labels_sha256(eval_set):
        raise MmragError(f"Run {first.name!r} was made on another eval set than {eval_set.name!r}.")
    given = first.rankings[first.stage]
    depth = min(rerank_k or reranker.depth or DEFAULT_RERANK_K, int(first.config["k"]))
    template = first.config.get("query_template")
    asked = [query for query in eval_set.queries if query.query_id in given]
    queries = templated(asked, template if query_template is None else query_template)
    images = {image.image_id: image for image in eval_set.gallery().images}
    shown = {image_id for one in given.values() for image_id in one.image_ids[:depth]}
    if missing := sorted(shown - images.keys()):
        raise MmragError(
            f"{len(missing)} of the ranked pictures, such as {missing[0]!r}, are not below "
            f"{eval_set.image_root}; put them there, or make the eval set with --images."
        )
    orders = json.dumps({query_id: one.image_ids for query_id, one in given.items()})
    fresh = replace(
        first,
        run_id=new_run_id(),
        name=name or f"{first.name} + {reranker.name}",
        state="running",
        created=now(),
        config={
            **first.config,
            "first_stage": first.name,
            "first_stage_sha256": hashlib.sha256(orders.encode()).hexdigest(),
            "reranker": reranker.configuration,
            "rerank_k": depth,
            **({} if query_template is None else {"query_template": query_template}),
            "queries": len(queries),
        },
        environment=environment(),
        lost=Usage(),
        ablations={},
        notes=[],
        rankings={},
        scores={},
        summaries={},
    )
    key = resume_key(fresh)
    run = store.resume(key) if resume else None
    if run is None:
        run = fresh
        store.start(run, key)
        store.write(run.run_id, RETRIEVAL, list(given.values()))
    if reranker.budget is not None:
        kept = store.read(run.run_id, RERANKED).values()
        reranker.budget.carry_over(
            run.run_id, sum(one.usage.cost_usd or 0.0 for one in kept if one.usage)
        )
    stages = Stages(store, run.run_id, 32, on_progress, should_stop)
    state = "interrupted"
    notes = list(first.notes)
    try:
        stages.rerank(RERANKED, reranker, queries, given, images, depth)
        state = "complete"
    except Cancelled:
        state = "stopped"
    except BudgetReached as reached:
        state = STOPPED_BY_BUDGET
        notes.append(str(reached))
    except GaveUp as gave:
        run.lost += gave.usage
        raise
    finally:
        run.state, run.notes = state, notes
        _conclude(run, eval_set, store)
    return run


def _conclude(run: Run, eval_set: EvalSet, store: RunStore) -> None:
    """Score what is finished and store it."""
    run.rankings = {stage: store.read(run.run_id, stage) for stage in (RETRIEVAL, RERANKED)}
    first, last = run.rankings[RETRIEVAL], run.rankings[RERANKED]
    names, seed = run.config["metrics"], int(run.config.get("seed", 0))
    subsets = {i: one.details["subset"] for i, one in first.items() if "subset" in one.details}

    def score(orders: Mapping[str, list[str]]) -> Scores:
        return score_rankings(orders, eval_set, names, query_ids=set(last), subset_orders=subsets)

    for stage, ranked in run.rankings.items():
        orders = {query_id: one.image_ids for query_id, one in ranked.items()}
        run.scores[stage] = score(orders)
        run.summaries[stage] = summarise(run.scores[stage], seed)
    deep = [f"{name}@{run.config['rerank_k']}" for name in ("hit_rate", "R")]
    orders = {query_id: one.image_ids for query_id, one in first.items()}
    reach = score_rankings(orders, eval_set, deep, query_ids=set(last))
    run.ceiling = {n: float(v.mean()) for n, v in reach.values.items() if len(v)}
    run.rerank_stages = rerank_stages(first, last, run.config["reranker"], score)
    run.finished_queries = len(last)
    run.timings_ms = percentiles({i: one for i, one in first.items() if i in last}, last)
    run.usage = sum((one.usage for one in last.values() if one.usage), run.lost)
    run.reranks = dict(Counter(str(one.details["status"]) for one in last.values() if one.details))
    if left := run.total_queries - len(last):
        queries = "1 query was" if left == 1 else f"{left} queries were"
        run.notes.append(f"{queries} not reached; all metrics are over the {len(last)} that were.")
    note_labels(run, eval_set)
    run.finished = now()
    store.save(run)
