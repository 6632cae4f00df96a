"""The Evaluate page's logic, without a browser."""

from __future__ import annotations

import threading

import pytest
from streamlit.testing.v1 import AppTest

from mmrag.errors import MmragError
from mmrag.evaluation.eval_set import EvalSet
from mmrag.ui import resources
from mmrag.ui.evaluation_jobs import queue
from tests.conftest import wait_until

from .pages import captions, click, open_page, run, texts


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def wait_for_jobs() -> None:
    for job in queue().jobs():
        assert queue().wait(job.job_id, 60).is_over


def test_an_evaluation_is_estimated_run_and_linked_to(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    assert "12 images, 6 queries" in captions(page)
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
    assert "by 1 earlier runs" in texts(page)


def test_every_encoder_is_evaluated_with_every_reranker(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    page.multiselect(key="rerankers").set_value(["none", "encoder:tiny"])
    click(run(page), "Start")
    wait_for_jobs()
    assert {run.name for run in resources.runs().runs()} == {"tiny", "tiny + encoder:tiny"}


def test_what_costs_money_has_a_budget(mugs: EvalSet) -> None:
    page = open_page("evaluate")
    assert "max_cost" not in [number.key for number in page.number_input]
    page.multiselect(key="rerankers").set_value(["gpt-4o"])
    run(page)
    assert page.number_input(key="max_cost").value == 1.0


def test_a_failure_is_a_sentence_and_others_see_it(
    mugs: EvalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    page = open_page("evaluate")
    page.multiselect(key="rerankers").set_value(["gpt-4o"])
    click(run(page), "Start")
    wait_for_jobs()
    assert "OPENAI_API_KEY" in texts(open_page("evaluate"))


def test_a_waiting_and_a_running_one_are_cancelled(mugs: EvalSet) -> None:
    started = threading.Event()

    def endless(on_progress, should_stop):  # type: ignore[no-untyped-def]
        started.set()
        assert wait_until(should_stop, 60)
        return "run"

    queue().submit("endless", endless)
    queue().submit("never", endless)
    assert started.wait(20)
    page = open_page("evaluate")
    assert labels(page).count("Cancel") == 2
    click(page, "Cancel")
    assert queue().jobs()[0].state == "cancelled"
    click(page, "Cancel")
    wait_for_jobs()
    page = open_page("evaluate")
    assert "Cancel" not in labels(page)
    assert [job.state for job in queue().jobs()] == ["cancelled", "cancelled"]


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
