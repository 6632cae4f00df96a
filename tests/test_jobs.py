"""Evaluations in the background."""

import multiprocessing
import os
import signal
import threading
import time

from mmrag import RunStore
from mmrag.errors import Cancelled, MmragError
from mmrag.runs.job_rows import JobRows
from mmrag.system.jobs import JobQueue, Progress


def test_jobs_run_one_after_the_other_and_report_their_runs():
    queue = JobQueue()
    running = threading.Lock()
    order = []

    def work(name):
        def do(on_progress, should_stop):
            assert running.acquire(blocking=False), "two jobs ran at once"
            order.append(name)
            on_progress(Progress("retrieval", 1, 2))
            time.sleep(0.05)
            running.release()
            return f"run-{name}"

        return do

    numbers = [queue.submit(name, work(name)) for name in "abc"]
    jobs = [queue.wait(number, 10) for number in numbers]
    assert [job.state for job in jobs] == ["done"] * 3
    assert [job.run_id for job in jobs] == ["run-a", "run-b", "run-c"]
    assert order == list("abc")
    assert [job.job_id for job in queue.jobs()] == numbers[::-1]


def test_a_running_job_is_cancelled_between_steps_and_a_waiting_one_never_starts():
    queue = JobQueue()
    started = threading.Event()

    def endless(on_progress, should_stop):
        started.set()
        while not should_stop():
            time.sleep(0.01)
        raise Cancelled("Stopped.")

    first = queue.submit("endless", endless)
    second = queue.submit("never", lambda on_progress, should_stop: "run")
    assert started.wait(10)
    queue.cancel(second)
    queue.cancel(first)
    assert queue.wait(first, 10).state == "cancelled"
    assert queue.wait(second, 1).state == "cancelled"
    third = queue.submit("after", lambda on_progress, should_stop: "run")
    assert queue.wait(third, 10).run_id == "run"


def test_a_failure_keeps_its_sentence_and_the_queue_goes_on():
    queue = JobQueue()

    def fail(on_progress, should_stop):
        raise MmragError("No Milvus answers there.")

    def crash(on_progress, should_stop):
        raise ZeroDivisionError("division by zero")

    failed, crashed = queue.submit("a", fail), queue.submit("b", crash)
    assert queue.wait(failed, 10).error == "No Milvus answers there."
    assert queue.wait(crashed, 10).error == "ZeroDivisionError: division by zero"
    good = queue.submit("c", lambda on_progress, should_stop: "run")
    assert queue.wait(good, 10).state == "done"


def test_the_remaining_time_follows_the_rate_of_the_stage():
    from mmrag.system.jobs import Job

    job = Job(1, "a", "running", Progress("retrieval", 20, 100), stage_started=100.0)
    assert job.remaining_seconds(now=110.0) == 40.0
    assert Job(1, "a", "running").remaining_seconds() is None


def test_the_same_job_is_there_once():
    """Three clicks on Start."""
    queue, go_on = JobQueue(), threading.Event()

    def work(on_progress, should_stop):
        assert go_on.wait(10)
        return "run"

    clicks = [queue.submit("one", work, key=("evaluate", "plan")) for _ in range(3)]
    other = queue.submit("other", work, key=("evaluate", "another plan"))
    assert len(set(clicks)) == 1
    assert [job.title for job in queue.jobs()] == ["other", "one"]
    go_on.set()
    assert queue.wait(other, 10).state == "done"
    again = queue.submit("one", work, key=("evaluate", "plan"))
    assert again not in clicks, "it may be done once more when it is over"
    assert queue.wait(again, 10).state == "done"


def _leave_jobs(url):
    """A dashboard that is killed with one job at work and one waiting."""
    with RunStore(url) as store:
        rows = JobRows(store.database)
        rows.running(rows.add("index", "at work", {"folder": "a"}))
        rows.add("index", "waiting", {"folder": "b"})
        rows.over(rows.add("index", "done", {"folder": "c"}))
        assert rows.left() == [], "they are not left while their process is there"
        os.kill(os.getpid(), signal.SIGKILL)


def test_jobs_of_a_killed_process_are_offered_again(tmp_path):
    url = str(tmp_path / "runs.db")
    process = multiprocessing.get_context("spawn").Process(target=_leave_jobs, args=(url,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with RunStore(url) as store:
        rows = JobRows(store.database)
        left = rows.left()
        assert {(job.title, job.state) for job in left} == {
            ("at work", "running"),
            ("waiting", "waiting"),
        }
        rows.over(left[0].row_id)
        assert [job.plan for job in rows.left()] == [left[1].plan]
