"""Evaluate: start evaluations, and watch the queue that all visitors share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import streamlit as st

from mmrag.demo import RERANK_K
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.forecast import asked_again, estimate
from mmrag.images.decode import longest_side
from mmrag.metrics.resolution import resolution_of
from mmrag.metrics.table import metric_title
from mmrag.runs.run import UnderWay
from mmrag.runs.store import RunStore
from mmrag.system.jobs import Job, Progress
from mmrag.ui import resources, shows, url
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
from mmrag.ui.panels.missing import missing_expander

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
ORDER = ("running", "waiting", "done", "failed", "cancelled")
OVER_SHOWN = 8
# Pictures sampled to estimate the size of a set's pictures.
SAMPLE = 3


@st.cache_resource
def _plans() -> dict[int, Plan]:
    """The arguments of this process's jobs, to start them again."""
    return {}


def main() -> None:
    """Draw the page."""
    form, watched = st.columns([3, 2], gap="large")
    with form:
        plans = _choose()
        if plans is not None:
            _start(plans)
        missing_expander()
    with watched:
        st.header("Queue")
        _watch()


def _choose() -> list[Plan] | None:
    sets = list(known_eval_sets())
    encoders = [one for one in resources.encoder_names() if one]
    if not sets or not encoders:
        st.info("An evaluation needs an eval set and an encoder; see the Health page.")
        return None
    st.selectbox(
        "Eval set",
        sets,
        index=url.before("eval_set", sets, sets[0]),
        key="eval_set",
        persist_state="session",
        on_change=_forget_encoders,
    )
    name = url.after("eval_set", sets[0])
    eval_set = resources.eval_set(name)
    st.caption(f"{len(eval_set.images):,} images, {len(eval_set.queries):,} queries")
    show = shows.of_set(name)
    best = [show.encoder] if show and show.encoder in encoders else encoders[:1]
    chosen = _several("Encoders", "encoders", {one: one for one in encoders}, best)
    choices = resources.reranker_choices(_shown(eval_set))
    offered = list(dict.fromkeys([*choices, *resources.named_models("rerankers")]))
    st.multiselect(
        "Reranking",
        offered,
        default=url.before_many("rerankers", offered, ["none"]),
        format_func=lambda key: resources.reranker_choice(choices, key).offer,
        key="rerankers",
        persist_state="session",
        accept_new_options=may_change(),
        wrap=True,
        help="Each encoder is evaluated with each of these. Another reranker, a cascade such as "
        "encoder:demo@100,vision@9, or a vision model of the server can be typed in.",
    )
    named = url.after_many("rerankers", ["none"])
    rerankers = [resources.reranker_choice(choices, key) for key in named]
    most = len(eval_set.queries)
    with st.container(horizontal=True):
        k = _number("Results per query", "k", 1, 1000, 50)
        rerank_k = _number("Reranked", "rerank_k", 2, 100, RERANK_K)
        limit = _number("Queries", "limit", 1, most, most)
    before = resolution_of(eval_set, limit)
    if before.queries:
        st.caption(f"{before.sentence[0].upper()}{before.sentence[1:]}.")
    st.text_input(
        "Query template",
        url.text_before("query_template", "", "form"),
        key="query_template",
        persist_state="session",
        placeholder="{text}",
        max_chars=500,
        help="Asked instead of each query's text, with its fields in braces: {text}, "
        "{category}, or a key of its metadata.",
    )
    template = url.text_after("query_template", "")
    st.text_input(
        "Rewrite queries with",
        url.text_before("rewrite", "", "form"),
        key="rewrite",
        persist_state="session",
        placeholder="openai:MODEL",
        max_chars=200,
        disabled=not may_change(),
        help="vision, or a model of the server as openai:MODEL, describes the wanted picture in "
        "words, and the words are encoded instead of the query.",
    )
    rewrite = url.text_after("rewrite", "").strip()
    extra = _several("Also measure", "ablations", ABLATIONS, [])
    asked = [one for one in rerankers if one.costs_money]
    for one in asked:
        resources.show_notice(one)
    paid = bool(asked) or "answers" in extra or bool(rewrite)
    budget, batch = None, False
    if paid:
        budget = st.number_input(
            "Stop before it costs more than (USD)",
            0.01,
            1000.0,
            1.0,
            key="max_cost",
            width=260,
            bind="query-params",
        )
        if not all(resources.has_price(one) for one in asked):
            st.caption("A model has no known price: its cost is counted but cannot be limited.")
    if asked:
        batch = st.checkbox(
            "Batch API: half the price, within a day", key="batch", bind="query-params"
        )
    return [
        Plan(
            eval_set=name,
            encoder=encoder,
            reranker=reranker,
            k=k,
            rerank_k=rerank_k,
            limit=None if limit == most else limit,
            ablations=Ablations(
                modality="modality" in extra,
                paraphrases="paraphrases" in extra,
                index="index" in extra,
                answers="answers" in extra,
            ),
            max_cost=budget,
            batch=batch and reranker.costs_money,
            query_template=template or None,
            rewrite=rewrite or None,
        )
        for encoder in chosen
        for reranker in rerankers
    ]


def _forget_encoders() -> None:
    """Forget the chosen encoders: each shipped set has its own."""
    st.session_state.pop("encoders", None)


def _shown(eval_set: EvalSet) -> resources.Shown:
    images = eval_set.images
    return resources.Shown(
        min(int(st.session_state.get("rerank_k") or RERANK_K), len(images)),
        sum(len(one.text) for one in images) / max(1, len(images)),
        max((longest_side(one.path) for one in images[:SAMPLE]), default=0),
    )


def _several(label: str, key: str, options: Mapping[str, str], default: list[str]) -> list[str]:
    st.multiselect(
        label,
        list(options),
        default=url.before_many(key, list(options), default),
        format_func=options.__getitem__,
        key=key,
        persist_state="session",
        wrap=True,
    )
    return url.after_many(key, default)


def _number(label: str, key: str, low: int, high: int, default: int) -> int:
    value = url.number_before(key, low, high, default)
    st.number_input(label, low, high, value, key=key, persist_state="session", width=150)
    return url.number_after(key, default)


def _start(plans: list[Plan]) -> None:
    for plan in plans:
        st.text(_estimate(plan, resources.runs()))
    if not plans:
        st.info("Choose at least one encoder, and one kind of reranking (it may be none).")
    if st.button("Start", type="primary", icon=":material/play_arrow:", disabled=not plans):
        for plan in plans:
            _submit(plan)
        st.toast(f"{len(plans)} in the queue")


def _submit(plan: Plan) -> None:
    _plans()[submit(plan)] = plan


def _what(plan: Plan) -> str:
    """The plan's title with further details."""
    says = plan.reranker.name and not plan.reranker.is_cascade
    depth = f", first {plan.rerank_k} reranked" if says else ""
    limit = f", {plan.limit} queries" if plan.limit else ""
    return f"{plan.title()}{depth}{limit}"


def _estimate(plan: Plan, store: RunStore) -> str:
    asked = resources.eval_set(plan.eval_set).queries
    queries = plan.limit or len(asked)
    wanted = {name for name, is_wanted in asdict(plan.ablations).items() if is_wanted}
    again = round(asked_again(asked, wanted) * queries / max(1, len(asked)))
    model = resources.model_of(plan.reranker)
    name = f"openai:{model}" if model else plan.reranker.name
    guess = estimate(store, plan.encoder, name, queries, plan.rerank_k, again)
    if guess is None:
        return f"{_what(plan)}: not run here before, so its time is not known yet."
    cost = "" if guess.cost_usd is None else f", about {guess.cost_usd:.2f} USD"
    runs = "1 earlier run" if guess.runs == 1 else f"{guess.runs} earlier runs"
    answers = "; the answers come on top of that" if plan.ablations.answers else ""
    rewriting = "; rewriting the queries comes on top of that" if plan.rewrite else ""
    return f"{_what(plan)}: about {guess.seconds:.0f} s{cost}, based on {runs}{answers}{rewriting}."


def _watch() -> None:
    """Draw the queue of all visitors; refreshed often only while something happens in it."""
    offer_left(KIND, submit_left)
    busy = st.session_state.queue_busy = _is_busy()
    st.fragment(_jobs, run_every=1.0 if busy else 5.0)()


def _is_busy() -> bool:
    return any(not job.is_over for job in queue().jobs())


def _jobs() -> None:
    if _is_busy() != st.session_state.queue_busy:
        # The interval of a fragment is set where the page draws it.
        st.rerun()
    jobs, others = queue().jobs(), _others()
    if not jobs and not others:
        st.caption("Nothing is running. Evaluations continue when you leave this page.")
    for other in others:
        with st.container(border=True):
            _show_other(other)
    over = 0
    for job in sorted(jobs, key=lambda job: ORDER.index(job.state)):
        over += job.is_over
        if over <= OVER_SHOWN:
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
    plan = _plans().get(job.job_id)
    st.text(_what(plan) if plan else job.title)
    st.caption(STATES[job.state] + (f" · {_score(job.run_id)}" if job.run_id else ""))
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
    if plan and job.state in ("cancelled", "failed"):
        st.button(
            "Resume" if job.state == "cancelled" else "Try again",
            key=f"resume_{job.job_id}",
            icon=":material/restart_alt:",
            help="Work that is already done is not repeated.",
            on_click=_submit,
            args=(plan,),
        )
    if job.run_id:
        st.page_link(
            st.Page(resources.page("runs")), label="See the run", query_params={"runs": job.run_id}
        )


@st.cache_data(max_entries=200, show_spinner=False)
def _score(run_id: str) -> str:
    run = next((run for run in resources.runs().runs() if run.run_id == run_id), None)
    if run is None:
        return "removed"
    metric = run.eval_set.primary_metric
    found = run.summary.overall.get(metric)
    if found is None:
        return run.state
    score = f"{metric_title(metric)} {found.mean:.3f}"
    return f"{score}* ({run.label_note.removesuffix('.')})" if run.label_note else score


def _bar(progress: Progress, remaining: float | None = None) -> None:
    words = f"{progress.stage}: {progress.done:,} of {progress.total:,}"
    if remaining is not None:
        words = f"{words}, {remaining:.0f} s left"
    st.progress(min(1.0, progress.done / max(1, progress.total)), text=words)


url.run_page("evaluate", main)
