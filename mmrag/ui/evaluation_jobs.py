"""Background evaluation: it continues when its visitor leaves, and others see it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from mmrag.evaluation.ablations import Ablations
from mmrag.runs.run import UnderWay
from mmrag.system.jobs import JobQueue, Progress, Work
from mmrag.ui import background_models as patient
from mmrag.ui import kept_jobs, resources
from mmrag.ui.doors import not_read_only, only_owners

KIND = "evaluate"


@dataclass(frozen=True)
class Plan:
    """The plan of one evaluation."""

    eval_set: str
    encoder: str
    reranker: resources.RerankerChoice
    k: int
    rerank_k: int
    limit: int | None
    ablations: Ablations
    max_cost: float | None
    batch: bool = False
    query_template: str | None = None
    rewrite: str | None = None

    def title(self) -> str:
        """The plan in words."""
        rewriting = f", rewritten by {self.rewrite}" if self.rewrite else ""
        return f"{self.eval_set}: {self.encoder}{rewriting}, {self.reranker.label}"


@st.cache_resource
def queue() -> JobQueue:
    """The one queue of this process."""
    return JobQueue()


@st.cache_data(ttl=1, show_spinner=False)
def under_way_elsewhere() -> list[UnderWay]:
    """Evaluations in progress in other processes; looked up once a second for all visitors."""
    return resources.runs().under_way_elsewhere()


def submit(plan: Plan) -> int:
    """Put a plan into the queue; return the job's number."""
    not_read_only("Evaluating")
    if plan.reranker.costs_money or plan.ablations.answers or plan.rewrite:
        only_owners("Asking a paid model")
    return kept_jobs.submit(queue(), KIND, plan, _work(plan))


def submit_left(plan: dict[str, Any]) -> int:
    """`submit` for a plan that was kept as JSON."""
    kept = dict(plan)
    reranker = resources.RerankerChoice(**kept.pop("reranker"))
    return submit(Plan(reranker=reranker, ablations=Ablations(**kept.pop("ablations")), **kept))


def _work(plan: Plan) -> Work:
    def work(on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> str:
        from mmrag.evaluation.evaluate import evaluate
        from mmrag.evaluation.gallery_index import index_eval_set
        from mmrag.search.rewrite import load_rewriter
        from mmrag.search.searcher import Searcher
        from mmrag.vision.budget import Budget
        from mmrag.vision.model import VisionModel

        eval_set = resources.eval_set(plan.eval_set)
        encoder = patient.encoder(plan.encoder)
        done = 0

        def indexed(n: int) -> None:
            nonlocal done
            done += n
            on_progress(Progress("indexing", done, len(eval_set.images)))

        asked = (plan.reranker, resources.RerankerChoice("", plan.rewrite))
        budget = Budget(plan.max_cost if all(map(resources.has_price, asked)) else None)
        name = plan.reranker.name
        reranker = None
        if name:
            resources.check_here(name)
            reranker = patient.reranker(name, plan.reranker.presentation, budget, batch=plan.batch)
        rewriter = load_rewriter(plan.rewrite, max_cost=budget) if plan.rewrite else None
        index, _ = index_eval_set(eval_set, encoder, resources.uri(), progress=indexed)
        with index:
            run = evaluate(
                eval_set,
                Searcher(index, encoder, reranker, rewriter),
                plan.k,
                rerank_k=plan.rerank_k if name and not plan.reranker.is_cascade else None,
                ablations=plan.ablations,
                answer_model=(VisionModel(budget=budget) if plan.ablations.answers else None),
                store=resources.runs(),
                limit=plan.limit,
                query_template=plan.query_template,
                on_progress=on_progress,
                should_stop=should_stop,
            )
        return run.run_id

    return work
