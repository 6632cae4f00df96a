"""The Evaluate page's logic, without a browser."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from mmrag import config
from mmrag.demo import RERANK_K
from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.forecast import asked_again, estimate
from mmrag.rerank import load_reranker
from mmrag.rerank.reranker import Reranker
from mmrag.runs.run import EvalSetRef, Run
from mmrag.runs.store import now
from mmrag.types import Hit, Query, SearchResult
from mmrag.ui import background_models as patient
from mmrag.ui import resources
from mmrag.ui.evaluation_jobs import Plan, queue, submit
from mmrag.ui.panels.search_side import CANDIDATES
from mmrag.vision.budget import Budget
from tests.helpers import ROOT, models, wait_until
from tests.vision_server import VisionServer

from .pages import captions, click, open_page, run, texts


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


# An evaluation in a process of its own, which waits in the middle of it.
ELSEWHERE = """
import sys
from mmrag.runs.run import EvalSetRef, Ranked, Run
from mmrag.runs.store import RunStore, now

with RunStore() as store:
    ref = EvalSetRef("*their* set", "/nowhere", "1", "labels", queries=900)
    store.start(Run("theirs", "<b>theirs</b>", ref, "running", now(), config={"queries": 1200}))
    store.write("theirs", "retrieval", [Ranked(str(i), [], []) for i in range(1200)])
    store.write("theirs", "reranked", [Ranked(str(i), [], []) for i in range(300)])
    print("written", flush=True)
    sys.stdin.read()
"""


@contextmanager
def evaluating_elsewhere() -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == b"written\n"
        yield
    finally:
        process.kill()
        process.communicate()


def plan(reranker: str = "none") -> Plan:
    choice = resources.reranker_choices()[reranker]
    return Plan("mugs", "tiny", choice, 10, 5, None, Ablations(), None)


def wait_for_jobs() -> None:
    for job in queue().jobs():
        assert queue().wait(job.job_id, 60).is_over


def test_an_evaluation_is_estimated_run_and_linked_to(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    assert page.number_input(key="rerank_k").value == CANDIDATES == RERANK_K, "as on Search"
    assert "12 images, 6 queries" in captions(page)
    assert "queries that count: 6" in captions(page)
    assert "Nothing is running" in captions(page)
    page.number_input(key="limit").set_value(4)
    click(page, "Start")
    assert "mugs: tiny, no reranking" in texts(page)
    wait_for_jobs()
    page = open_page("evaluate")
    assert ":material/check_circle: done" in captions(page)
    (stored,) = resources.runs().runs()
    assert (stored.state, stored.finished_queries, stored.eval_set.name) == ("complete", 4, "mugs")
    (link,) = page.get("page_link")
    assert stored.run_id in str(link.proto)
    assert "based on 1 earlier run." in texts(page)
    assert f"Hit rate@10 {stored.metrics['hit_rate@10']:.3f}" in captions(page)


def test_the_form_is_in_the_link_and_an_empty_one_says_what_is_missing(mugs: EvalSet) -> None:
    page = open_page(
        "evaluate",
        rerankers=["encoder:tiny"],
        rerank_k="4",
        ablations=["modality"],
        query_template="a {text}",
    )
    assert page.number_input(key="rerank_k").value == 4
    assert page.text_input(key="query_template").value == "a {text}"
    assert page.multiselect(key="ablations").value == ["modality"]
    assert "first 4 reranked" in texts(page)
    page.multiselect(key="encoders").set_value([])
    assert "Choose at least one encoder" in run(page).info[0].value
    assert next(one for one in page.button if one.label == "Start").disabled


def test_a_batch_is_queued_and_its_tokens_shown(
    mugs: EvalSet, server: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag.vision.batch._FIRST_LOOK", 0.01)
    server.thinks = 1400
    models(server, "gpt-6-luna")
    page = open_page("evaluate", rerankers=["openai:gpt-6-luna"])
    labels = page.multiselect(key="rerankers").options
    assert any("gpt-6-luna" in one and "USD per 1,000 queries" in one for one in labels)
    page.checkbox(key="batch").check()
    run(page)
    click(page, "Start")
    wait_for_jobs()
    (stored,) = resources.runs().runs()
    assert stored.state == "complete"
    assert (server.requests, len(server.batches.sent)) == (0, 1)
    assert stored.config["reranker"]["batch"] is True
    full = (0.1 * server.tokens[0] + 0.5 * server.tokens[1]) / 1e6
    assert stored.usage.cost_usd == pytest.approx(full / 2), "half the price"
    shown = texts(open_page("runs", runs=[stored.run_id]))
    assert f"{stored.usage.prompt_tokens:,} + {stored.usage.completion_tokens:,} tokens" in shown


def test_a_cancelled_evaluation_is_resumed(mugs: EvalSet) -> None:
    go_on = threading.Event()
    queue().submit("before it", lambda on_progress, should_stop: str(go_on.wait(60)))
    page = click(open_page("evaluate"), "Start")
    queue().cancel(queue().jobs()[0].job_id)
    assert "Resume" in labels(run(page))
    go_on.set()
    click(page, "Resume")
    wait_for_jobs()
    assert [one.state for one in resources.runs().runs()] == ["complete"]


def test_an_estimate_counts_what_is_measured_besides(mugs: EvalSet) -> None:
    assert asked_again(mugs.queries, {"modality"}) == 6
    assert asked_again(mugs.queries, {"index"}) == 6
    ref = EvalSetRef("mugs", "/nowhere", "1", "labels")
    done = Run("1", "tiny", ref, "complete", "2026-01-01T00:00:00+00:00")
    done.finished = "2026-01-01T00:00:05+00:00"
    done.config = {"encoder": {"name": "tiny"}, "reranker": {"name": "r"}, "rerank_k": 10}
    done.timings_ms = {"total": {"mean": 300.0}, "rerank": {"mean": 200.0}}
    done.finished_queries = 10
    store = Mock(runs=lambda limit: [done])
    guess = estimate(store, "tiny", "r", 10)
    assert guess is not None
    assert guess.seconds == pytest.approx(5), "as long as it took"
    more = estimate(store, "tiny", "r", 10, rerank_k=20, again=30)
    assert more is not None
    assert more.seconds == pytest.approx(5 + 10 * 0.2 + 30 * 0.1)


def test_every_encoder_is_evaluated_with_every_reranker(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    page.multiselect(key="rerankers").set_value(["none", "encoder:tiny"])
    click(run(page), "Start")
    wait_for_jobs()
    assert {run.name for run in resources.runs().runs()} == {"tiny", "tiny + encoder:tiny"}


def test_what_costs_money_has_a_budget(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    assert "max_cost" not in [number.key for number in page.number_input]
    page = open_page("evaluate", rerankers="gpt-4o")
    assert page.number_input(key="max_cost").value == 1.0


def test_a_failure_is_a_sentence_and_others_see_it(
    mugs: EvalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    click(open_page("evaluate", rerankers="gpt-4o"), "Start")
    wait_for_jobs()
    assert "OPENAI_API_KEY" in texts(open_page("evaluate"))


def test_a_waiting_and_a_running_one_are_cancelled(mugs: EvalSet) -> None:
    started = threading.Event()

    def endless(on_progress, should_stop):  # type: ignore[no-untyped-def]
        started.set()
        assert wait_until(should_stop, 60)
        return "run"

    queue().submit("endless", endless)
    waiting = queue().submit("never", endless)
    assert started.wait(20)
    page = open_page("evaluate")
    assert labels(page).count("Cancel") == 2
    page.button(key=f"cancel_{waiting}").click()
    run(page)
    assert queue().jobs()[0].state == "cancelled"
    click(page, "Cancel")
    wait_for_jobs()
    page = open_page("evaluate")
    assert "Cancel" not in labels(page)
    assert [job.state for job in queue().jobs()] == ["cancelled", "cancelled"]


def test_what_runs_stands_first_and_old_ones_go(mugs: EvalSet) -> None:
    for number in range(10):
        job_id = queue().submit(f"over {number}", lambda on_progress, should_stop: "gone")
        assert queue().wait(job_id, 60).is_over
    go_on = threading.Event()
    queue().submit("now", lambda on_progress, should_stop: str(go_on.wait(60)))
    queue().submit("next", lambda on_progress, should_stop: "gone")
    assert wait_until(lambda: queue().jobs()[1].state == "running")
    shown = texts(open_page("evaluate")).splitlines()
    go_on.set()
    jobs = [line for line in shown if line.startswith(("now", "next", "over"))]
    assert jobs == ["now", "next", *(f"over {number}" for number in range(9, 1, -1))]
    wait_for_jobs()


def test_the_queue_is_looked_at_often_only_while_something_runs(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    assert page.session_state["queue_busy"] is False
    go_on = threading.Event()

    def fail(on_progress, should_stop):  # type: ignore[no-untyped-def]
        assert go_on.wait(60)
        raise MmragError("It *did* not work.")

    number = queue().submit("from another visitor", fail)
    run(page)
    assert page.session_state["queue_busy"] is True
    assert "from another visitor" in texts(page)
    go_on.set()
    queue().wait(number, 60)
    run(page)
    assert page.session_state["queue_busy"] is False
    assert "It *did* not work." in texts(page)


def test_what_another_process_evaluates_stands_in_the_queue(mugs: EvalSet) -> None:
    with evaluating_elsewhere():
        page = open_page("evaluate")
        assert "*their* set: <b>theirs</b>" in texts(page)
        assert "running in another process" in captions(page)
        assert "Nothing is running" not in captions(page)
        assert "Cancel" not in labels(page)
        (bar,) = page.get("progress")
        assert (bar.proto.value, bar.proto.text) == (25, "reranked: 300 of 1,200")
    assert resources.runs().runs()[0].state == "interrupted", "it was killed"
    st.cache_data.clear()
    assert "Nothing is running" in captions(open_page("evaluate"))


def test_only_what_others_make_counts_as_theirs(mugs: EvalSet) -> None:
    ref = EvalSetRef("mugs", "/nowhere", "1", "labels")
    resources.runs().start(Run("mine", "mine", ref, "running", now()))
    assert resources.runs().under_way_elsewhere() == []
    with evaluating_elsewhere():
        (theirs,) = resources.runs().under_way_elsewhere()
    assert (theirs.run.run_id, theirs.stage, theirs.done) == ("theirs", "reranked", 300)
    assert theirs.on_this_machine


def test_a_run_store_that_does_not_answer_is_a_sentence(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    page.multiselect(key="encoders").set_value([])
    st.cache_data.clear()
    resources.runs().database.engine.dispose()
    (config.home() / "runs.db").write_bytes(b"this is no database" * 100)
    assert "runs.db cannot be read" in texts(run(page))


@pytest.mark.parametrize("reranker", ["none", "encoder:tiny"])
def test_a_search_comes_in_between_the_batches_of_an_evaluation(
    mugs: EvalSet, reranker: str
) -> None:
    turns = resources.model_turns()
    searching, leave = threading.Event(), threading.Event()

    def search() -> None:
        with turns.turn():
            searching.set()
            assert leave.wait(60)

    visitor = threading.Thread(target=search)
    with turns.turn():
        number = submit(plan(reranker))
        assert wait_until(lambda: turns.waiting == 1, 60), "the evaluation waits for its turn"
        visitor.start()
        assert wait_until(lambda: turns.waiting == 2)
    assert searching.wait(60)
    assert wait_until(lambda: turns.waiting == 1, 60), "its next batch waits too"
    assert not queue().wait(number, 0.5).is_over
    leave.set()
    visitor.join(60)
    assert queue().wait(number, 60).state == "done"


def test_a_reranker_that_computes_here_takes_turns_query_by_query(
    mugs: EvalSet, tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **_: object) -> Reranker:
        return load_reranker("encoder:tiny", encoder=tiny)

    monkeypatch.setattr("mmrag.rerank.load_reranker", load)
    reranker = patient.reranker("bge-reranker", "grid", Budget(None))
    hits = [
        Hit(rank, one.image_id, one.path, 0.0, rank, "", {})
        for rank, one in enumerate(mugs.images[:3], start=1)
    ]
    results = [SearchResult(Query(image=one.path), hits, {}) for one in mugs.images[:2]]
    turns = resources.model_turns()
    seen: list[int] = []

    def rerank() -> None:
        outcomes = reranker.rerank_many(results, lambda position, _: seen.append(position))
        seen.extend(outcome.hits[0].rank for outcome in outcomes)

    thread = threading.Thread(target=rerank)
    with turns.turn():
        thread.start()
        assert wait_until(lambda: turns.waiting == 1)
        assert seen == []
    thread.join(60)
    assert seen == [0, 1, 1, 1]
    assert reranker.configuration == {"name": "encoder:tiny", "depth": None}


def test_a_set_leads_on_with_the_configurations_that_were_judged() -> None:
    def page() -> None:
        from mmrag.ui.evaluate_link import evaluate_link

        evaluate_link("own", [("tiny", None), ("tiny", "encoder:tiny"), ("gone", "no-such")])

    drawn = AppTest.from_function(page, default_timeout=60).run()
    (link,) = drawn.get("page_link")
    assert link.proto.query_string == (
        "eval_set=own&encoders=tiny&rerankers=none&rerankers=encoder%3Atiny"
    )


def test_queries_are_rewritten_and_the_words_stand_beside_what_they_found(
    mugs: EvalSet, server: VisionServer
) -> None:
    page = open_page("evaluate")
    page.text_input(key="rewrite").input("openai:gpt-4o")
    page = run(page)
    assert "tiny, rewritten by openai:gpt-4o" in texts(page)
    click(page, "Start")
    wait_for_jobs()
    (job,) = queue().jobs()
    assert job.error is None
    page = open_page("runs", show="queries", runs=str(job.run_id), drill="q0")
    assert "Queries rewritten by openai:gpt-4o" in texts(page)
    assert "Rewritten as" in captions(page)
