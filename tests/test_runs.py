"""The run store on SQLite and PostgreSQL, run files in and out, and comparisons."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from click.testing import CliRunner
from PIL import Image

from mmrag import EvalSet, MmragError, RunStore, compare_runs, import_run, run_table
from mmrag.cli import main
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import summarise
from mmrag.runs import frames
from mmrag.runs.compare import Entry, comparison_table, open_entry, stage_entries
from mmrag.runs.examples import changed_most
from mmrag.runs.exports import export_run, write_export
from mmrag.runs.gate import markdown
from mmrag.runs.job_rows import JobRows
from mmrag.runs.provenance import labels_sha256
from mmrag.runs.report import html_report
from mmrag.runs.run import RERANKED, RETRIEVAL, EvalSetRef, Ranked, Run, percentiles
from mmrag.runs.store import new_run_id, now
from mmrag.types import GalleryImage, Usage

from .helpers import ROOT, free_port
from .postgres import running_postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("postgres"), free_port()) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    """The same test on SQLite and on PostgreSQL, empty each time."""
    if request.param == "sqlite":
        url = str(tmp_path / "runs.db")
    else:
        url = request.getfixturevalue("postgres")
    with RunStore(url) as opened:
        for run in opened.runs():
            opened.delete(run.run_id)
        yield opened


def a_run(name: str = "first", run_id: str | None = None, **fields: object) -> Run:
    ref = EvalSetRef("set", "/nowhere", "1", "labels", "pictures", 3, 2)
    return Run(run_id or new_run_id(), name, ref, "running", now(), **fields)  # type: ignore[arg-type]


def scored(run: Run, store: RunStore, values: dict[str, list[float]]) -> Run:
    """Give a stored run the per-query metrics `values`."""
    n = len(next(iter(values.values())))
    scores = Scores(
        [f"q{i}" for i in range(n)],
        ["even" if i % 2 == 0 else "odd" for i in range(n)],
        [()] * n,
        {name: np.array(v, float) for name, v in values.items()},
    )
    run.state, run.finished, run.finished_queries = "complete", now(), n
    run.scores = {RETRIEVAL: scores}
    run.summaries = {RETRIEVAL: summarise(scores)}
    ranked = [Ranked(f"q{i}", ["a", "b"], [0.9, 0.8], {"encode": 1.0 + i}) for i in range(n)]
    store.start(run)
    store.write(run.run_id, RETRIEVAL, ranked)
    run.timings_ms = percentiles({one.query_id: one for one in ranked})
    store.save(run)
    return store.load(run.run_id)


def test_a_run_comes_back_as_it_was(store: RunStore) -> None:
    run = a_run(
        config={"k": 2, "reranker": {"name": "r"}, "seed": 0},
        environment={"python": "3.11"},
        usage=Usage(3, 1, 10, 5, None),
        skipped=[{"query_id": "ü 'quoted\" \\", "reason": "no picture\n"}],
        notes=["a note"],
        ablations={"modality": {"queries": 1}},
    )
    store.start(run)
    first = Ranked("q\u00fc", ["a", "b c"], [0.5, 0.25], {"encode": 1.5}, details={"subset": ["a"]})
    second = replace(first, image_ids=["b c", "a"], usage=Usage(1, 0, 7, 3, 0.01), details={})
    store.write(run.run_id, RETRIEVAL, [first])
    store.write(run.run_id, RERANKED, [second])
    run.scores = {RETRIEVAL: Scores(["q\u00fc"], ["c"], [("x",)], {"RR": np.array([np.nan])})}
    run.summaries = {RETRIEVAL: summarise(run.scores[RETRIEVAL])}
    run.state = "complete"
    store.save(run)
    loaded = store.load(run.run_id)
    assert loaded.rankings == {RETRIEVAL: {"q\u00fc": first}, RERANKED: {"q\u00fc": second}}
    scores = loaded.scores[RETRIEVAL]
    assert (scores.query_ids, scores.categories, scores.aspects) == (["q\u00fc"], ["c"], [("x",)])
    assert np.isnan(scores.values["RR"][0])
    loaded.rankings, loaded.scores, run.scores = {}, {}, {}
    assert loaded == run
    assert store.runs() == [run]
    assert store.runs(eval_set="other") == []


def test_runs_are_found_by_id_beginning_and_name(store: RunStore) -> None:
    for i, name in enumerate(("same", "same", "100%_odd")):
        store.start(replace(a_run(name, f"2025-{i}a"), created=f"2025-01-0{i + 1}"))
    assert store.find("2025-0") == "2025-0a"
    assert store.find("same") == "2025-1a", "the newest of that name"
    assert store.find("latest") == "2025-2a"
    assert store.find("100%_odd") == "2025-2a"
    with pytest.raises(MmragError, match="beginning of 3 runs"):
        store.find("2025")
    with pytest.raises(MmragError, match="no run '2025_'"):
        store.find("2025_")
    assert store.delete("2025-0a") == "2025-0a"
    assert [run.run_id for run in store.runs()] == ["2025-2a", "2025-1a"]
    with pytest.raises(MmragError, match="`mmrag runs` lists them"):
        store.load("2025-0a")


def test_a_run_that_was_killed_is_shown_as_far_as_it_goes(store: RunStore) -> None:
    run = a_run()
    store.start(run)
    with pytest.raises(MmragError, match="holds no rankings yet"):
        export_run(store.load(run.run_id), "csv")
    store.write(run.run_id, RETRIEVAL, [Ranked("q", ["a"], [1.0])])
    killed = store.load(run.run_id)
    assert export_run(killed, "trec")[0][1] == b"q Q0 a 1 1 first\n"
    for format in ("csv", "json", "parquet", "html"):
        assert export_run(killed, format)[0][1]
    with pytest.raises(MmragError, match="has no metrics yet"):
        compare_runs([killed, killed])


def test_a_note_on_a_run_is_kept_replaced_and_found(store: RunStore) -> None:
    run = a_run("first")
    run.notes = ["3 queries were skipped."]
    store.start(run)
    store.annotate("first", "before the\n new <b>photographs</b>")
    store.annotate("first", "after  the flood")
    assert store.load("first").notes == ["3 queries were skipped.", "Own note: after the flood"]
    assert [one.name for one in frames.narrow(store.runs(), words="FLOOD")] == ["first"]
    store.annotate("first", " ")
    assert store.load("first").notes == ["3 queries were skipped."]
    with pytest.raises(MmragError, match="up to 2,000"):
        store.annotate("first", "x" * 2001)


def test_labels_from_metadata_are_no_models_labels() -> None:
    run = a_run(labels={"models": {"metadata": 3}, "others": 9})
    assert run.label_note == "25% of the 12 labels are not a person's (3 by metadata)."


def test_jobs_of_a_process_that_has_ended_are_left_oldest_first(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = JobRows(store.database)
    for left in rows.left():
        rows.over(left.row_id)
    own = rows.add("index", "own", {})
    gone = f"{socket.gethostname()}:{2**22 + 1}:1.00"
    monkeypatch.setattr("mmrag.runs.job_rows.this_process", lambda: gone)
    made = {rows.add("index", title, {"title": title}) for title in "abc"}
    rows.running(first := min(made))
    found = rows.left()
    assert [job.row_id for job in found] == sorted(made)
    assert [job.state for job in found] == ["running", "waiting", "waiting"]
    assert {job.title: job.plan for job in found} == {t: {"title": t} for t in "abc"}
    for row_id in (first, own):
        rows.over(row_id)
    assert {job.row_id for job in rows.left()} == made - {first}


def test_deleting_a_run_leaves_nothing(store: RunStore) -> None:
    run = scored(a_run(), store, {"RR": [1.0, 0.5]})
    store.delete(run.run_id)
    assert store.read(run.run_id, RETRIEVAL) == {}


def _make_a_run_and_die(url: str) -> None:
    run = a_run("killed", "killed")
    with RunStore(url) as store:
        store.start(run, "key")
        store.write("killed", RETRIEVAL, [Ranked("q", ["a"], [1.0])])
        os.kill(os.getpid(), 9)


def test_a_killed_run_is_taken_over_and_a_live_one_is_not(store: RunStore) -> None:
    store.start(a_run("mine", "mine"), "key")
    assert store.resume("key") is None, "this process is still at it"
    assert store.runs()[0].state == "running"
    url = store.database.url.render_as_string(hide_password=False)
    child = multiprocessing.get_context("spawn").Process(target=_make_a_run_and_die, args=(url,))
    child.start()
    child.join(120)
    assert child.exitcode == -9
    assert store.load("killed").state == "interrupted"
    assert store.resume("other key") is None
    taken = store.resume("key")
    assert taken is not None
    assert (taken.run_id, taken.state) == ("killed", "running")
    assert store.read("killed", RETRIEVAL)["q"].image_ids == ["a"]
    assert store.resume("key") is None


def test_a_new_store_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """Each makes the tables that it finds missing, while others make them."""
    together = threading.Barrier(8)

    def open_store(name: str) -> int:
        together.wait()
        with RunStore(str(tmp_path / name)) as opened:
            return len(opened.runs())

    with ThreadPoolExecutor(8) as threads:
        for turn in range(20):
            assert list(threads.map(open_store, [f"{turn}.db"] * 8)) == [0] * 8


def test_many_threads_write_at_once(store: RunStore) -> None:
    run = a_run()
    store.start(run)
    errors: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for i in range(10):
                store.write(run.run_id, RETRIEVAL, [Ranked(f"{thread}-{i}", ["a"], [1.0])])
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors
    assert len(store.read(run.run_id, RETRIEVAL)) == 60


def test_ten_thousand_queries_are_written_and_read_in_about_a_second(store: RunStore) -> None:
    rng = np.random.default_rng(0)
    run = a_run()
    store.start(run)
    ids = [f"image-{i:06}" for i in range(5000)]
    ranked = [
        Ranked(f"q{i}", [ids[j] for j in rng.integers(0, 5000, 100)], rng.random(100).tolist())
        for i in range(10_000)
    ]
    started = time.process_time()
    store.write(run.run_id, RETRIEVAL, ranked)
    found = store.read(run.run_id, RETRIEVAL)
    seconds = time.process_time() - started
    print(f"\n{store.database.url.get_backend_name()}: 10,000 x 100 in {seconds:.2f} s of CPU time")
    assert len(found) == 10_000
    assert found["q7"] == ranked[7]
    assert seconds < 4


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:secret@host/db", "must be sqlite:///FILE or"),
        ("nonsense://", "must be sqlite:///FILE or"),
        ("postgresql://me:s%40cret@127.0.0.1:9/db", "cannot be opened"),
        ("postgresql+psycopg://me:s@cret@127.0.0.1:notaport/db", "must be sqlite:///FILE or"),
    ],
)
def test_errors_never_show_the_password(url: str, message: str) -> None:
    with pytest.raises(MmragError, match=message) as caught:
        RunStore(url)
    shown = str(caught.value)
    assert "cret" not in shown
    error: BaseException | None = caught.value
    while error is not None:
        assert "cret" not in repr(error)
        error = error.__cause__


def test_wrong_passwords_and_foreign_files(postgres: str, tmp_path: Path) -> None:
    with pytest.raises(MmragError, match="password authentication failed") as caught:
        RunStore(postgres.replace("p%40ss", "wrong"))
    assert "wrong" not in str(caught.value)
    (tmp_path / "photo.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(MmragError, match="file is not a database"):
        RunStore(tmp_path / "photo.db")
    with RunStore(tmp_path / "new.db") as store, store.database.begin("x") as connection:
        connection.exec_driver_sql("UPDATE mmrag_meta SET value = '99'")
    with pytest.raises(MmragError, match="another version"):
        RunStore(tmp_path / "new.db")


def test_settings_name_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with RunStore() as store:
        assert store.database.url.database == str(Path(os.environ["MMRAG_HOME"]) / "runs.db")
    monkeypatch.setenv("MMRAG_RUNS_URL", f"sqlite:///{tmp_path / 'other.db'}")
    with RunStore() as store:
        assert (tmp_path / "other.db").is_file()
        assert store.runs() == []


def test_compare_by_hand(store: RunStore) -> None:
    zeros = [0.0] * 20
    a = scored(a_run("a"), store, {"hit_rate@10": [0, 0, 1, *zeros], "RR": [0.1, 0, 1, *zeros]})
    more = [1.0] * 8 + [0.0] * 12
    b = scored(a_run("b"), store, {"hit_rate@10": [0, 1, 0, *more], "RR": [0.1, 0.5, 0.2, *more]})
    found = compare_runs([a, b])
    assert (found.primary_metric, found.notes) == ("hit_rate@10", [])
    pair = found.pairs[0]
    hit = pair.metrics["hit_rate@10"]
    assert (hit.wins, hit.ties, hit.losses, hit.queries) == (9, 13, 1, 23)
    assert hit.delta == pytest.approx(8 / 23)
    assert hit.ci95[0] > 0
    # Ten differences of one: 9 or more of them to one side.
    assert hit.p == pytest.approx(2 * 11 / 1024)
    assert hit.p_holm is not None
    assert hit.p_holm >= hit.p
    assert [change.query_id for change in pair.gains][:2] == ["q1", "q10"]
    assert [(c.query_id, c.delta) for c in pair.losses] == [("q2", -1.0)]
    both = compare_runs([a, b, a], all_pairs=True)
    assert [(p.a, p.b) for p in both.pairs] == [(0, 1), (0, 2), (1, 2)]
    rr = pair.metrics["RR"].p
    # Six comparisons: the same two twice, and twice that nothing differs.
    small, large = sorted([hit.p, rr])
    corrected = {small: min(1, 6 * small), large: min(1, max(6 * small, 4 * large))}
    for place in (0, 2):
        for name, p in (("hit_rate@10", hit.p), ("RR", rr)):
            found_p = both.pairs[place].metrics[name].p_holm
            assert found_p == pytest.approx(corrected[p]), "over all pairs together"
    assert both.pairs[1].metrics["RR"].p_holm == 1
    table = run_table([a, b])
    assert table.rows[0].differences == {}
    assert table.rows[1].differences["RR"].wins == 9
    assert table.rows[1].p50_ms == pytest.approx(12)
    with pytest.raises(MmragError, match="two runs or more"):
        compare_runs([a])
    other = replace(b, eval_set=replace(b.eval_set, labels_sha256="x"))
    with pytest.raises(MmragError, match="different eval sets"):
        compare_runs([a, other])
    changed = replace(b, eval_set=replace(b.eval_set, pictures_sha256="x"))
    assert "different pictures" in compare_runs([a, changed]).notes[0]
    assert open_entry(store, "b:retrieval").label == "b"
    with pytest.raises(MmragError, match="no stage 'reranked'"):
        open_entry(store, "b:reranked")
    assert [entry.stage for entry in stage_entries(b)] == [RETRIEVAL]


def test_of_shipped_encoders_it_is_said_which_is_weak_on_purpose() -> None:
    with RunStore("sqlite://") as store:
        names = ("demo", "demo-clip", "photos")
        made = [a_run(name, config={"encoder": {"name": name}}) for name in names]
        runs = [scored(one, store, {"RR": [1.0, 0.5]}) for one in made]
    said = "demo-clip is the weaker one on purpose"
    assert [note.startswith(said) for note in compare_runs(runs[:2]).notes] == [True]
    assert compare_runs([runs[0], runs[2]]).notes == []


def reranked(values: list[float], better: list[float], metric: str = "RR") -> Run:
    """A run in memory with both stages, which cost 0.25 and 0.5 dollars a query."""
    n = len(values)
    scores = {
        stage: Scores(
            [f"q{i}" for i in range(n)], [""] * n, [()] * n, {metric: np.array(one, float)}
        )
        for stage, one in ((RETRIEVAL, values), (RERANKED, better))
    }
    rankings = {
        stage: {f"q{i}": Ranked(f"q{i}", ids, [0.9, 0.8], usage=usage) for i in range(n)}
        for stage, ids, usage in (
            (RETRIEVAL, ["a", "b"], Usage(1, 0, 7, 3, 0.25)),
            (RERANKED, ["b", "a"], Usage(1, 0, 7, 3, 0.5)),
        )
    }
    return a_run(scores=scores, rankings=rankings)


def test_each_stage_has_its_cost_and_its_file(tmp_path: Path) -> None:
    run = reranked([1, 1], [1, 1])
    assert [run.stage_cost(stage) for stage in (RETRIEVAL, RERANKED)] == [0.5, 1.5]
    run.lost = Usage(1, 0, 7, 3, 1.0)
    assert [run.stage_cost(stage) for stage in (RETRIEVAL, RERANKED)] == [0.5, 2.5]
    run.lost = Usage(1, 0, 7, 3, None)
    assert [run.stage_cost(stage) for stage in (RETRIEVAL, RERANKED)] == [0.5, None]
    first, last = (
        write_export(run, "trec", tmp_path / f"{stage}.trec", stage)[0].read_text().split()[2]
        for stage in (RETRIEVAL, RERANKED)
    )
    assert (first, last) == ("a", "b")


def test_what_reranking_helped_and_harmed_most() -> None:
    run = reranked([0.5, 0, 1, 0.5, 1], [0.5, 1, 0, 1, 0.5])
    assert changed_most(run, "RR", 9) == (["q1", "q3"], ["q2", "q4"])
    assert changed_most(run, "RR", 1) == (["q1"], ["q2"])
    less = reranked([0.5, 0, 1], [0.25, 1, 1], "hard_negative_rate@1")
    assert changed_most(less, "hard_negative_rate@1", 9) == (["q0"], ["q1"]), "less is better"


def test_the_share_of_judged_hits_stands_beside_and_is_not_tested(tmp_path: Path) -> None:
    with RunStore(str(tmp_path / "runs.db")) as store:
        hits = {"hit_rate@10": [1.0, 0, 0, 1], "Judged@10": [0.5, 0.5, 1, 1]}
        a = scored(a_run("a"), store, hits)
        b = scored(a_run("b"), store, {**hits, "hit_rate@10": [1.0, 1, 0, 1]})
    found = compare_runs([a, b])
    table = comparison_table(found)
    assert table.metrics == ["hit_rate@10", "Judged@10"]
    assert list(table.rows[1].differences) == ["hit_rate@10"]
    assert table.tests == 1
    shown = frames.table(table, table.metrics)
    assert shown["Judged@10"].str.startswith("0.750 [").all()
    assert "Δ hit_rate@10" in shown
    assert "Δ Judged@10" not in shown
    assert table.notes[-1].startswith("b against a: 4 queries find a difference of")
    assert "| Judged@10 | 0.750 | 0.750 | | | | |" in markdown(found, [])
    assert run_table([a], ["hit_rate@10"]).metrics == ["hit_rate@10", "Judged@10"]
    with RunStore(str(tmp_path / "runs.db")) as store:
        hits = {"hit_rate@10": [1.0] * 20}
        a = scored(a_run("a"), store, {**hits, "Judged@10": [0.9] * 20})
        b = scored(a_run("b"), store, {**hits, "Judged@10": [0.4] * 20})
    (note,) = compare_runs([a, b]).notes
    assert note.startswith("Fewer hits of b were judged (Judged@10 0.40, against 0.90)")
    assert compare_runs([a, a]).notes == []
    # Said once, though two others have more.
    assert compare_runs([a, b, replace(a, run_id="c", name="c")]).notes == [note]


def test_the_largest_changes_come_first(store: RunStore) -> None:
    before = [0.5] * 30
    after = [0.5 + ((7 * i) % 30 - 15) / 40 for i in range(30)]
    a = scored(a_run("a"), store, {"hit_rate@10": before})
    b = scored(a_run("b"), store, {"hit_rate@10": after})
    pair = compare_runs([a, b]).pairs[0]
    ordered = sorted((y - x for x, y in zip(before, after, strict=True)), reverse=True)
    assert [change.delta for change in pair.gains] == pytest.approx(ordered[:10])
    assert [change.delta for change in pair.losses] == pytest.approx(ordered[::-1][:10])


def test_which_pairs_and_metrics_are_compared() -> None:
    rises = [0.0, 0, 1, 1], [0.0, 1, 1, 1], [1.0, 1, 1, 1]
    with RunStore("sqlite://") as own:
        a, b, c = (
            scored(a_run(name), own, {"hit_rate@10": one, "RR": one[::-1], "Judged@10": [1] * 4})
            for name, one in zip("abc", rises, strict=True)
        )
        fewer = scored(a_run("fewer"), own, {"hit_rate@10": [1.0, 0], "RR": [1.0, 0]})
    found = compare_runs([a, b, c])
    assert [(pair.a, pair.b) for pair in found.pairs] == [(0, 1), (0, 2)]
    assert list(found.pairs[0].metrics) == ["hit_rate@10", "RR"], "no diagnostic unasked"
    assert (found.primary_metric, found.tests, found.notes) == ("hit_rate@10", 4, [])
    every = compare_runs([a, b, c], all_pairs=True)
    assert [(pair.a, pair.b) for pair in every.pairs] == [(0, 1), (0, 2), (1, 2)]
    second = every.pairs[1]
    assert [change.query_id for change in second.gains] == ["q0", "q1"], "equal ones by their id"
    assert (second.losses, second.queries) == ([], 4)
    assert second.resolution is not None
    assert second.resolution.queries == 4
    assert second.resolution.deviation == pytest.approx(np.std([1, 1, 0, 0], ddof=1))
    assert second.queries_needed == second.resolution.queries_needed(0.5)
    one = compare_runs([a, b], metrics=["RR"])
    assert (one.primary_metric, list(one.pairs[0].metrics)) == ("RR", ["RR"])
    assert list(compare_runs([a, b], metrics=["Judged@10"]).pairs[0].metrics) == ["Judged@10"]
    ref = replace(a.eval_set, primary_metric="hard_negative_rate@1")
    negatives = [
        replace(run, eval_set=ref, scores={RETRIEVAL: replace(run.scores[RETRIEVAL], values=v)})
        for run, v in (
            (a, {"hard_negative_rate@1": np.array([0.0, 1, 1, np.nan])}),
            (b, {"hard_negative_rate@1": np.array([1.0, 1, 0, 1])}),
        )
    ]
    pair = compare_runs(negatives).pairs[0]
    assert [change.query_id for change in pair.gains] == ["q2"], "less of it is better"
    assert [change.query_id for change in pair.losses] == ["q0"]
    assert pair.resolution is not None
    assert pair.resolution.queries == 3, "where both have a value"
    half = compare_runs([a, fewer])
    assert half.pairs[0].queries == 2
    assert "a and fewer are compared on the 2 queries that both have." in half.notes
    for runs, options, message in (
        ([a], {}, "two runs or more"),
        ([a, b], {"metrics": ["RR", "x"]}, "Not every run has the metric 'x'"),
        ([a, b], {"label": "needs both"}, "None of the runs has labels"),
        ([Entry(a, RETRIEVAL, frozenset({f"q{i}"})) for i in (0, 1)], {}, "no scored query in"),
    ):
        with pytest.raises(MmragError, match=message):
            compare_runs(runs, **options)


def test_percentiles_of_the_timings() -> None:
    ranked = {
        str(i): Ranked(str(i), [], [], {"encode": float(i), "search": 1.0}) for i in range(101)
    }
    found = percentiles(ranked)
    assert found["encode"] == pytest.approx({"p50": 50, "p95": 95, "mean": 50})
    assert found["total"] == pytest.approx({"p50": 51, "p95": 96, "mean": 51})
    more = {"100": Ranked("100", [], [], {"rerank": 7.0})}
    assert percentiles(ranked, more)["total"]["p95"] == 108, "of what was reranked"


def test_a_stage_is_exported_by_name() -> None:
    ids = ["a", "b", "c"]
    run = a_run()
    run.config["reranker"] = {"name": "x"}
    with RunStore() as own:
        own.start(run)
        own.write(run.run_id, RETRIEVAL, [Ranked("q3", ids, [3.0, 2, 1])])
        own.write(run.run_id, RERANKED, [Ranked("q3", ids[::-1], [3.0, 2, 1])])
    command = ["export", run.run_id, "--format", "trec"]
    for stage, first in (([], "c"), (["--stage", RETRIEVAL], "a"), (["--stage", RERANKED], "c")):
        done = CliRunner().invoke(main, [*command, *stage])
        assert done.exit_code == 0, done.output
        assert done.stdout.split()[2] == first, stage


@pytest.fixture
def small_set(tmp_path: Path) -> EvalSet:
    """Five pictures, four queries, ids that are a nuisance."""
    root = tmp_path / "set"
    root.mkdir()
    names = ["a", "b", "c d", "=1+1", "é%20"]
    images = []
    for i, name in enumerate(names):
        Image.new("RGB", (20, 16), (50 * i, 80, 120)).save(root / f"{i}.png")
        images.append(GalleryImage(name, str(root / f"{i}.png"), f"<b>{name}</b>"))
    queries = [
        EvalQuery("q1", str(root / "0.png"), "<script>alert(1)</script>", "=cat"),
        EvalQuery("q 2", None, "text", "other"),
        EvalQuery("q3", str(root / "1.png"), None, "other"),
        EvalQuery("nothing", None, "none is right"),
    ]
    qrels = {"q1": {"a": 2, "b": 0}, "q 2": {"c d": 1, "é%20": 1}, "q3": {"=1+1": 1}}
    EvalSet("small", root, root, images, queries, qrels).save()
    return EvalSet.load(root)


TREC = """q1 Q0 b 1 2.5 sys
q1 Q0 a 2 2.5 sys
q%202 Q0 c%20d 1 1 sys
q%202 Q0 =1+1 2 3 sys
gone Q0 a 1 1 sys
"""


def test_import_a_trec_run(store: RunStore, small_set: EvalSet, tmp_path: Path) -> None:
    path = tmp_path / "sys.trec"
    path.write_text(TREC)
    run = import_run(path, small_set, store)
    assert run.name == "sys"
    assert run.ranking() == {"q1": ["b", "a"], "q 2": ["=1+1", "c d"]}
    assert run.skipped == [{"query_id": "gone", "reason": "not in the eval set"}]
    assert run.notes == [
        "2 queries are not in the file and count as having found nothing.",
        "1 query of the file is not in the eval set and was left out.",
    ]
    assert run.metrics["hit_rate@1"] == 0
    official = pytrec_eval.RelevanceEvaluator(small_set.qrels, {"recip_rank"}).evaluate(
        {"q1": {"b": 2.5, "a": 2.5}, "q 2": {"c d": 1.0, "=1+1": 3.0}, "q3": {}}
    )
    assert run.metrics["RR"] == pytest.approx(
        np.mean([one["recip_rank"] for one in official.values()])
    )
    assert store.load(run.run_id).metrics == run.metrics


def test_trec_files_make_the_round_trip(
    store: RunStore, small_set: EvalSet, tmp_path: Path
) -> None:
    """Also where scores do not fall with the rank, as after a language model's reranking."""
    ids = [image.image_id for image in small_set.images]
    run = scored(a_run(), store, {"RR": [1.0]})
    for scores in ([0.9, 0.9, 0.8, 0.7, 0.1], [0.1, 0.9, 0.5, 0.2, 0.3]):
        run.rankings = {RETRIEVAL: {"q 2": Ranked("q 2", ids, scores)}}
        write_export(run, "trec", tmp_path / "out.trec")
        again = import_run(tmp_path / "out.trec", small_set, store)
        assert again.ranking() == {"q 2": ids}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 Q0 a 1 1\n", "line 1: expected query, Q0, image"),
        ("q1 Q0 a 1 x t\n", "line 1: 'x' is no score"),
        ("q1 Q0 a 1 nan t\n", "line 1: 'nan' is no score"),
        ("\nq1 Q0 a 1 1 t\nq1 Q0 a 2 0 t\n", "line 3: 'a' stands twice for 'q1'"),
        ("q1 Q0 zebra 1 1 t\n", "ranks 'zebra', which is not in the eval set"),
        ("other Q0 a 1 1 t\n", "holds no query of the eval set 'small'"),
        ('{"q1": "a"}', "query 'q1': must have a list"),
        ('{"q1": ["a", "a"]}', "query 'q1': an image stands twice"),
        ('{"q1": ["zebra"]}', "the image 'zebra' is not in the gallery"),
        ('{"metric": "recall_subset", "q1": ["a"]}', "import the file whose metric is `recall`"),
        ("{", "file"),
    ],
)
def test_wrong_run_files(content: str, message: str, small_set: EvalSet, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(MmragError, match=message.replace("(", r"\(")):
        import_run(path, small_set, RunStore("sqlite://"))


def test_import_a_submission(small_set: EvalSet, tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text('{"version": "rc2", "metric": "recall", "q1": ["a", "b"], "q3": []}')
    with RunStore("sqlite://") as store:
        run = import_run(path, small_set, store, name="ours")
        assert (run.name, run.ranking()) == ("ours", {"q1": ["a", "b"], "q3": []})
        assert run.metrics["hit_rate@1"] == pytest.approx(1 / 3)


@pytest.fixture
def imported(small_set: EvalSet, tmp_path: Path) -> Run:
    (tmp_path / "sys.trec").write_text(TREC)
    with RunStore("sqlite://") as store:
        return import_run(tmp_path / "sys.trec", small_set, store)


def test_csv_holds_no_formulas(imported: Run) -> None:
    ((name, data),) = export_run(imported, "csv")
    rows = list(csv.DictReader(StringIO(data.decode())))
    assert name.endswith(".csv")
    by_query = {row["query_id"]: row for row in rows}
    assert by_query["q1"]["category"] == "'=cat"
    assert by_query["q 2"]["result_1"] == "'=1+1"
    assert float(by_query["q1"]["RR"]) == 0.5
    assert by_query["q1"]["hard_negative_rate@1"] == "1.0"
    assert by_query["q 2"]["hard_negative_rate@1"] == ""
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)


def test_json_and_parquet_hold_everything(imported: Run) -> None:
    held = json.loads(export_run(imported, "json")[0][1])
    assert held["run_id"] == imported.run_id
    assert held["summaries"]["retrieval"]["overall"]["RR"]["mean"] == imported.metrics["RR"]
    assert {row["query_id"]: row["image_ids"] for row in held["queries"]["retrieval"]} == {
        "q1": ["b", "a"],
        "q 2": ["=1+1", "c d"],
    }
    table = pq.read_table(BytesIO(export_run(imported, "parquet")[0][1])).to_pylist()
    assert {row["query_id"]: row["image_ids"] for row in table} == imported.ranking()
    counts = ["prompt_tokens", "completion_tokens", "reasoning_tokens"]
    assert [name for name in table[0] if name.endswith("_tokens")] == counts
    assert {row["query_id"]: row["RR"] for row in table} == {"q1": 0.5, "q 2": 0.5}


def test_mteb_gets_a_result_and_the_encoders_facts(imported: Run) -> None:
    imported.config |= {"k": 5, "encoder": {"name": "me/mine", "dim": 64, "licence": "MIT"}}
    (file, result), (meta, told) = export_run(imported, "mteb")
    assert (file, meta) == ("small.json", "model_meta.json")
    (scores,) = json.loads(result)["scores"]["test"]
    assert scores["main_score"] == scores["recall_at_1"] == 0
    model = json.loads(told)
    assert (model["name"], model["embed_dim"], model["license"]) == ("me/mine", 64, "mit")


def test_the_examples_of_a_report_are_drawn_by_its_seed(tmp_path: Path) -> None:
    ids = [f"q{i}" for i in range(40)]
    queries = [EvalQuery(i, None, f"text of {i}.") for i in ids]
    images = [GalleryImage("a", str(tmp_path / "a.png"))]
    many = EvalSet("many", tmp_path, tmp_path, images, queries, {i: {"a": 1} for i in ids})
    many.save()
    (tmp_path / "x.trec").write_text("".join(f"{i} Q0 a 1 1 x\n" for i in ids))
    with RunStore("sqlite://") as store:
        run = import_run(tmp_path / "x.trec", EvalSet.load(tmp_path), store)
    pages = [html_report(run, seed) for seed in (0, 0, 1)]
    drawn = [{i for i in ids if f"text of {i}." in page} for page in pages]
    assert [len(one) for one in drawn] == [12] * 3
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_path_counts_however_it_is_written(small_set: EvalSet) -> None:
    expected, root = labels_sha256(small_set), small_set.image_root
    images = [replace(i, path=i.path.replace(f"{root}/", f"{root}//")) for i in small_set.images]
    assert images != small_set.images
    assert labels_sha256(replace(small_set, images=images)) == expected


def test_report_is_one_safe_file(imported: Run) -> None:
    page = export_run(imported, "html")[0][1].decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>a" not in page
    assert "data:image/" in page
    for outside in ("http://", "https://", "@import", 'src="/', "url("):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "")
    assert str(ROOT) not in page
    assert imported.eval_set.folder not in page
    assert "prefers-color-scheme: dark" in page


def test_report_without_its_pictures(imported: Run, small_set: EvalSet) -> None:
    for image in small_set.images:
        Path(image.path).unlink()
    page = export_run(imported, "html")[0][1].decode()
    assert "RR" in page
    (small_set.folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    page = export_run(imported, "html")[0][1].decode()
    assert "has changed since" in page
    with pytest.raises(MmragError, match="has changed since"):
        export_run(imported, "cirr")
    with pytest.raises(MmragError, match="Unknown format 'pdf'"):
        export_run(imported, "pdf")


def test_importing_the_store_needs_no_torch() -> None:
    code = "import sys, mmrag; mmrag.RunStore; mmrag.compare_runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


def test_the_named_mutants_are_of_this_code() -> None:
    """`python -m tests.mutants` tries them; here only that each still changes something."""
    from .mutants import NAMED

    for mutant in NAMED:
        compile(mutant.source(), mutant.file, "exec")
        file, _, name = mutant.test.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / file).read_text(), mutant.name
