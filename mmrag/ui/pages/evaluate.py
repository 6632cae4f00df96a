"""Evaluate: start evaluations, and watch the queue that all visitors share."""

from __future__ import annotations

import streamlit as st

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.forecast import estimate
from mmrag.runs.run import UnderWay
from mmrag.runs.store import RunStore
from mmrag.system.jobs import Job, Progress
from mmrag.ui import resources
from mmrag.ui.doors import may_change
from mmrag.ui.evaluation_jobs import (
    KIND,
    Plan,
    queue,
    submit,
    submit_left,
    under_way_elsewhere,
)
from mmrag.ui.kept_jobs import offer_left
from mmrag.ui.navigation import show_error

ABLATIONS = {
    "modality": "Image alone, text alone",
    "paraphrases": "Paraphrases",
    "index": "Index against exact search",
    "answers": "Answers, with and without retrieval",
}
STATES = {
    "waiting": ":material/schedule: waiting",
    "running": ":material/play_arrow: running",
    "done": ":material/check_circle: done",
    "failed": ":material/error: failed",
    "cancelled": ":material/cancel: cancelled",
}


def main() -> None:
    """The page."""
    form, watched = st.columns([3, 2], gap="large")
    with form:
        plans = _choose()
        if plans:
            _start(plans)
    with watched:
        st.subheader("Queue")
        _watch()


def _choose() -> list[Plan]:
    sets = list(known_eval_sets())
    encoders = [one for one in resources.encoder_names() if one]
    if not sets or not encoders:
        st.info("An evaluation needs an eval set and an encoder; see the Health page.")
        return []
    name = st.selectbox("Eval set", sets, key="eval_set", bind="query-params")
    eval_set = resources.eval_set(name)
    st.caption(f"{len(eval_set.images):,} images, {len(eval_set.queries):,} queries")
    chosen = st.multiselect("Encoders", encoders, default=encoders[:1], key="encoders")
    choices = resources.reranker_choices(_description_length(eval_set))
    named = st.multiselect(
        "Reranking",
        list(choices),
        default=["none"],
        format_func=lambda key: resources.reranker_choice(choices, key).label,
        key="rerankers",
        accept_new_options=may_change(),
        help="Each encoder is evaluated with each of these. Another vision model of the server can "
        "be typed in.",
    )
    rerankers = [resources.reranker_choice(choices, key) for key in named]
    with st.container(horizontal=True):
        k = st.number_input("Results per query", 1, 1000, 50, key="k", width=150)
        rerank_k = st.number_input("Reranked", 2, 100, 10, key="rerank_k", width=150)
        limit = st.number_input(
            "Queries", 1, len(eval_set.queries), len(eval_set.queries), key="limit", width=150
        )
    extra = st.multiselect(
        "Also measure", list(ABLATIONS), format_func=ABLATIONS.__getitem__, key="ablations"
    )
    asked = [one for one in rerankers if one.costs_money]
    for one in asked:
        resources.show_notice(one)
    paid = bool(asked) or "answers" in extra
    budget, batch = None, False
    if paid:
        budget = st.number_input(
            "Stop before it costs more than (USD)", 0.01, 1000.0, 1.0, key="max_cost", width=260
        )
        if not all(resources.has_price(one) for one in asked):
            st.caption("A model has no known price: what it costs is not limited, only counted.")
    if asked:
        batch = st.checkbox("Batch API: half the price, within a day", key="batch")
    return [
        Plan(
            eval_set=name,
            encoder=encoder,
            reranker=reranker,
            k=int(k),
            rerank_k=int(rerank_k),
            limit=None if limit == len(eval_set.queries) else int(limit),
            ablations=Ablations(
                modality="modality" in extra,
                paraphrases="paraphrases" in extra,
                index="index" in extra,
                answers="answers" in extra,
            ),
            max_cost=budget,
            batch=batch and reranker.costs_money,
        )
        for encoder in chosen
        for reranker in rerankers
    ]


def _description_length(eval_set: EvalSet) -> float:
    return sum(len(one.text) for one in eval_set.images) / max(1, len(eval_set.images))


def _start(plans: list[Plan]) -> None:
    for plan in plans:
        st.text(_estimate(plan, resources.runs()))
    if st.button("Start", type="primary", icon=":material/play_arrow:"):
        for plan in plans:
            submit(plan)
        st.toast(f"{len(plans)} in the queue")


def _estimate(plan: Plan, store: RunStore) -> str:
    queries = plan.limit or len(resources.eval_set(plan.eval_set).queries)
    model = resources.model_of(plan.reranker)
    name = f"openai:{model}" if model else plan.reranker.name
    guess = estimate(store, plan.encoder, name, queries)
    if guess is None:
        return f"{plan.title()}: not run here before, so its time is not known yet."
    cost = "" if guess.cost_usd is None else f", about {guess.cost_usd:.2f} USD"
    return f"{plan.title()}: about {guess.seconds:.0f} s{cost}, by {guess.runs} earlier runs."


def _watch() -> None:
    """The queue of all visitors; looked at often only while something happens in it."""
    offer_left(KIND, submit_left)
    busy = st.session_state.queue_busy = _is_busy()
    st.fragment(_jobs, run_every=1.0 if busy else 5.0)()


def _is_busy() -> bool:
    return any(not job.is_over for job in queue().jobs())


def _jobs() -> None:
    if _is_busy() != st.session_state.queue_busy:
        # How often a fragment runs is decided where the page draws it.
        st.rerun()
    jobs, others = queue().jobs(), _others()
    if not jobs and not others:
        st.caption("Nothing is running. Evaluations go on when you leave this page.")
    for other in others:
        with st.container(border=True):
            _show_other(other)
    for job in jobs:
        with st.container(border=True):
            _show(job)


def _others() -> list[UnderWay]:
    try:
        return under_way_elsewhere()
    except MmragError as error:
        show_error(error)
        return []


def _show_other(other: UnderWay) -> None:
    where = "in another process" if other.on_this_machine else "on another machine"
    st.text(f"{other.run.eval_set.name}: {other.run.name}")
    st.caption(f"{STATES['running']} {where}")
    _bar(Progress(other.stage, other.done, other.run.total_queries))


def _show(job: Job) -> None:
    st.text(job.title)
    st.caption(STATES[job.state])
    if job.state == "running" and job.progress is not None:
        _bar(job.progress, job.remaining_seconds())
    if job.error:
        show_error(RuntimeError(job.error))
    if not job.is_over:
        st.button(
            "Cancel",
            key=f"cancel_{job.job_id}",
            icon=":material/stop:",
            on_click=queue().cancel,
            args=(job.job_id,),
        )
    if job.run_id:
        st.page_link(
            st.Page(resources.page("runs")), label="See the run", query_params={"runs": job.run_id}
        )


def _bar(progress: Progress, remaining: float | None = None) -> None:
    words = f"{progress.stage}: {progress.done:,} of {progress.total:,}"
    if remaining is not None:
        words = f"{words}, {remaining:.0f} s left"
    st.progress(min(1.0, progress.done / max(1, progress.total)), text=words)


main()
