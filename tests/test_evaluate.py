# ruff: noqa: F811
"""Evaluations: what they measure, how they are interrupted, and that they go on."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmrag import (
    EvalSet,
    MmragError,
    RunStore,
    Searcher,
    compare_runs,
    evaluate,
    import_run,
    index_eval_set,
    load_reranker,
    run_table,
)
from mmrag.cli import main
from mmrag.cli.tables import run_lines
from mmrag.encoders.encoder import Encoder
from mmrag.errors import ModelServerError
from mmrag.eval_sets.eval_set import EvalQuery
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.exact_search import hit_rates, rank_in_memory
from mmrag.evaluation.run_header import sample
from mmrag.index.image_index import ImageIndex
from mmrag.runs.compare import stage_entries
from mmrag.runs.exports import export_run, write_export
from mmrag.runs.provenance import labels_sha256
from mmrag.system.jobs import Progress
from mmrag.vision.budget import Budget

from .evaluation_fixtures import (  # noqa: F401
    colours,
    draw,
    index,
    quick_searcher,
    searcher,
)
from .helpers import ROOT, invoke, mmrag, outcome, wait_until
from .memory_milvus import URI, MemoryClient, in_memory  # noqa: F401
from .published_forms import FORMATS, imported
from .vision_server import KEY, Scene, VisionServer


def test_it_measures_what_exact_search_in_memory_does(
    colours: EvalSet, searcher: Searcher, tiny: Encoder
) -> None:
    seen: list[Progress] = []
    run = evaluate(colours, searcher, 20, seed=3, on_progress=seen.append)
    exact = hit_rates(rank_in_memory(tiny, colours, 20), colours)
    for k in (1, 5, 10):
        assert run.metrics[f"hit_rate@{k}"] == pytest.approx(exact["all"][f"hit_rate@{k}"])
        for category in ("composed", "image", "text"):
            found = run.summary.categories[category][f"hit_rate@{k}"].mean
            assert found == pytest.approx(exact[category][f"hit_rate@{k}"])
    assert (run.state, run.finished_queries, run.total_queries) == ("complete", 37, 37)
    assert (run.summary.queries, run.summary.without_relevant) == (36, 1)
    assert run.notes == ["1 query has no relevant image and counts in no metric."]
    assert seen[0] == Progress("retrieval", 0, 37)
    assert seen[-1] == Progress("retrieval", 37, 37)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert next(iter(run.metrics)) == "hit_rate@1", "the primary metric comes first"
    assert "hard_negative_rate@10" in run.metrics
    assert set(run.timings_ms) == {"encode", "search", "total"}
    assert run.timings_ms["total"]["p95"] >= run.timings_ms["total"]["p50"] > 0
    assert set(run.latency_ms) == {"encode", "search", "total"}
    alone = run.latency_ms["total"]
    assert 2 <= alone["queries"] <= 20
    assert alone["p95"] > alone["p50"] > 0, "each query has its own time"
    assert run_table([run]).rows[0].p50_ms == alone["p50"]
    said = "\n".join(run_lines(run))
    assert re.search(
        r"Throughput: [\d,.]+ queries/s; milliseconds a query, in batches: encode", said
    )
    assert " queries asked one by one" in said
    assert run.config["encoder"]["fingerprint"] == tiny.info.fingerprint
    assert run.config["seed"] == 3
    assert run.environment["device"] == "cpu"
    assert run.environment["libraries"]["torch"]
    assert len(run.environment["git_commit"] or "x" * 40) >= 40
    assert run.created.endswith("+00:00")
    with RunStore() as store:
        assert outcome(store.load(run.run_id)) == outcome(run)


def test_the_same_evaluation_twice_is_identical(colours: EvalSet, searcher: Searcher) -> None:
    first, second = (evaluate(colours, searcher, 10) for _ in range(2))
    assert first.run_id != second.run_id
    assert outcome(first) == outcome(second)
    pair = compare_runs([first, second]).pairs[0]
    assert all(d.delta == 0 and d.p == 1 for d in pair.metrics.values())
    table = run_table([first, second])
    assert [row.queries for row in table.rows] == [36, 36]
    assert {row.cost_usd for row in table.rows} == {0.0}


def test_stopped_and_resumed_equals_uninterrupted(colours: EvalSet, searcher: Searcher) -> None:
    options: dict[str, Any] = {"batch_size": 8, "ablations": Ablations(modality=True)}
    whole = evaluate(colours, searcher, 10, **options)
    stops = iter([False, False, True])
    stopped = evaluate(colours, searcher, 10, should_stop=lambda: next(stops), **options)
    assert (stopped.state, stopped.finished_queries) == ("stopped", 16)
    assert stopped.summary.queries == 16
    assert "21 of 37 queries were not reached; all metrics are over the 16" in stopped.notes[0]
    anew = evaluate(colours, searcher, 10, resume=False, **options)
    assert anew.run_id != stopped.run_id
    resumed = evaluate(colours, searcher, 10, **options)
    assert (resumed.run_id, resumed.state) == (stopped.run_id, "complete")
    assert outcome(resumed) == outcome(whole) == outcome(anew)
    other = evaluate(colours, searcher, 10, seed=1, **options)
    assert other.run_id not in {whole.run_id, resumed.run_id}


def test_only_the_same_evaluation_is_continued(
    colours: EvalSet, searcher: Searcher, tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one with another setting, encoder, or other software."""
    from mmrag.evaluation import run_header

    def stopped() -> str:
        stops = iter([False, True])
        run = evaluate(colours, searcher, 10, batch_size=8, should_stop=lambda: next(stops))
        assert run.state == "stopped"
        return run.run_id

    first = stopped()
    assert evaluate(colours, searcher, 10, batch_size=9).run_id != first
    info = replace(tiny.info, precision="bf16")
    other = Searcher(searcher.index, Encoder(tiny.model, info))
    assert evaluate(colours, other, 10, batch_size=8).run_id != first
    environment = run_header.environment
    with monkeypatch.context() as changed:
        changed.setattr(run_header, "environment", lambda device: {**environment(device), "x": 1})
        assert evaluate(colours, searcher, 10, batch_size=8).run_id != first
    searcher.index.encoder = tiny
    assert evaluate(colours, searcher, 10, batch_size=8).run_id == first


def test_a_failure_keeps_what_is_done(colours: EvalSet, searcher: Searcher) -> None:
    def fail(progress: Progress) -> None:
        if progress.done == 16:
            raise RuntimeError("the caller fails")

    with RunStore() as store:
        with pytest.raises(RuntimeError):
            evaluate(colours, searcher, 10, batch_size=8, store=store, on_progress=fail)
        kept = store.runs()[0]
        assert (kept.state, kept.finished_queries) == ("interrupted", 16)
        again = evaluate(colours, searcher, 10, batch_size=8, store=store)
        assert (again.run_id, again.state) == (kept.run_id, "complete")


def test_reranking_keeps_both_rankings(
    colours: EvalSet, searcher: Searcher, server: VisionServer
) -> None:
    searcher.reranker = load_reranker("gpt-4o", cache=False)
    run = evaluate(colours, searcher, 20, rerank_k=5)
    assert run.state == "complete"
    assert server.requests == 37
    for query_id, first in run.ranking("retrieval").items():
        last = run.ranking("reranked")[query_id]
        assert set(last[:5]) == set(first[:5])
        assert last[5:] == first[5:]
    before = {name: one.mean for name, one in run.summaries["retrieval"].overall.items()}
    assert run.stage == "reranked"
    assert run.ceiling["hit_rate@5"] == before["hit_rate@5"] == run.metrics["hit_rate@5"]
    assert run.metrics["hit_rate@1"] <= run.ceiling["hit_rate@5"]
    assert run.ranking("retrieval") != run.ranking("reranked")
    assert sum(run.reranks.values()) == 37
    assert "failed" not in run.reranks
    assert run.usage.requests == 37
    assert run.usage.prompt_tokens == server.tokens[0]
    assert run.usage.cost_usd == pytest.approx(
        (2.5 * server.tokens[0] + 10 * server.tokens[1]) / 1e6
    )
    assert run.config["reranker"]["name"] == "openai:gpt-4o"
    assert run.rankings["reranked"]["q00"].details["explanation"].startswith("Its colour")
    first, last = run_table(stage_entries(run)).rows
    assert (first.cost_usd, last.cost_usd) == (0, run.usage.cost_usd)
    assert last.cost_per_query_usd == pytest.approx((run.usage.cost_usd or 0) / 37)
    assert first.p50_ms is not None
    assert last.p50_ms is not None
    assert last.p50_ms > first.p50_ms
    gain = last.differences["hit_rate@1"]
    assert gain.delta == pytest.approx(run.metrics["hit_rate@1"] - before["hit_rate@1"])
    assert gain.wins + gain.losses > 0
    page = export_run(run, "html")[0][1].decode()
    assert "most by reranking" in page
    assert "/tmp" not in page, "no paths of this machine"
    assert KEY not in page + export_run(run, "json")[0][1].decode()


def test_a_budget_stops_it_and_a_higher_one_goes_on(
    colours: EvalSet, searcher: Searcher, server: VisionServer
) -> None:
    one = load_reranker("gpt-4o", max_cost=Budget(), concurrency=1)
    searcher.reranker = one
    price = evaluate(colours, searcher, 5, limit=1, rerank_k=5).usage.cost_usd or 0
    searcher.reranker = load_reranker("gpt-4o", max_cost=8 * price, concurrency=1, cache=False)
    stopped = evaluate(colours, searcher, 5, rerank_k=5)
    assert stopped.state == "stopped: budget"
    assert 0 < stopped.finished_queries < 20
    assert stopped.summary.queries <= stopped.finished_queries
    assert set(stopped.scores["retrieval"].query_ids) == set(stopped.scores["reranked"].query_ids)
    assert (stopped.usage.cost_usd or 0) <= 8 * price
    assert "is reached" in stopped.notes[0]
    assert f"all metrics are over the {stopped.finished_queries}" in stopped.notes[1]
    asked = server.requests
    searcher.reranker = load_reranker("gpt-4o", max_cost=8 * price, concurrency=1, cache=False)
    again = evaluate(colours, searcher, 5, rerank_k=5)
    assert (again.run_id, again.state) == (stopped.run_id, "stopped: budget")
    assert server.requests == asked, "the limit is the run's, however often it goes on"
    spent = f"${stopped.usage.cost_usd:.4f} are spent"
    assert spent in again.notes[0]
    assert "a higher --max-cost" in again.notes[0]
    searcher.reranker = load_reranker("gpt-4o", max_cost=100, concurrency=1, cache=False)
    resumed = evaluate(colours, searcher, 5, rerank_k=5)
    assert (resumed.run_id, resumed.state) == (stopped.run_id, "complete")
    assert server.requests - asked == 37 - stopped.finished_queries, "nothing is paid for twice"
    assert resumed.notes == ["1 query has no relevant image and counts in no metric."]


def test_a_dead_server_interrupts_and_bad_answers_do_not(
    colours: EvalSet, searcher: Searcher, server: VisionServer
) -> None:
    searcher.reranker = load_reranker("gpt-4o", retries=0, concurrency=1)
    server.script.extend([Scene(text="no idea"), Scene(refusal="no")])
    server.script.extend([Scene() for _ in range(8)])
    server.script.extend([Scene(status=500) for _ in range(40)])
    with pytest.raises(ModelServerError, match="What is finished is kept"):
        evaluate(colours, searcher, 5, rerank_k=5)
    server.script.clear()
    run = evaluate(colours, searcher, 5, rerank_k=5)
    assert run.state == "complete"
    assert run.reranks["failed"] == 2
    assert "Reranking failed for 2 queries" in run.notes[-1]


def test_killed_in_the_middle_and_run_again(
    colours: EvalSet, tiny_folder: Path, server: VisionServer, tmp_path: Path
) -> None:
    """SIGKILL while a slow model is asked: at most the requests under way are asked again."""
    server.delay = 0.4
    command = [sys.executable, "-m", "mmrag", "evaluate", str(colours.folder), "--json"]
    command += ["--encoder", str(tiny_folder), "--precision", "fp32", "--rerank", "gpt-4o"]
    command += ["--rerank-k", "5", "-k", "10", "--no-cache", "--concurrency", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)
    path = Path(os.environ["MMRAG_HOME"]) / "runs.db"

    def written() -> int:
        try:
            with sqlite3.connect(path, timeout=5) as connection:
                query = "SELECT count(*) FROM mmrag_rankings WHERE stage = 'reranked'"
                return int(connection.execute(query).fetchone()[0])
        except sqlite3.Error:
            return 0

    assert wait_until(lambda: written() >= 6, 180)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.delay = 0
    kept, asked = written(), server.requests
    assert 6 <= kept < 37
    listed = json.loads(mmrag("runs", "--json").stdout)
    assert [run["state"] for run in listed] == ["interrupted"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resumed = json.loads(done.stdout)
    assert resumed["run_id"] == listed[0]["run_id"]
    assert server.requests - asked == 37 - kept
    whole = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout)
    assert whole["run_id"] != resumed["run_id"]
    assert whole["stages"] == resumed["stages"]
    assert {"run_id", "metrics", "queries", "timings_ms", "usage"} <= set(whole)
    compared = json.loads(mmrag("compare", whole["run_id"], resumed["run_id"], "--json").stdout)
    assert all(one["delta"] == 0 for one in compared["metrics"].values())
    keys = {"a", "b", "delta", "ci95", "p", "wins", "ties", "losses"}
    assert all(keys <= set(one) for one in compared["metrics"].values())


def test_unreadable_pictures_are_counted_and_listed(
    colours: EvalSet, tiny: Encoder, tmp_path: Path
) -> None:
    (colours.image_root / "red-1.png").write_bytes(b"no picture")
    (colours.image_root / "queries" / "1.png").write_bytes(b"no picture")
    (colours.image_root / "queries" / "4.png").unlink()
    opened, _ = index_eval_set(colours, tiny, tmp_path / "g.db")
    with opened:
        run = evaluate(colours, Searcher(opened, tiny), 10, ablations=Ablations(precision="bf16"))
    assert sorted(one["query_id"] for one in run.skipped) == ["q01", "q04"]
    assert "not an image" in next(o["reason"] for o in run.skipped if o["query_id"] == "q01")
    assert run.missing_images == [{"image_id": "red-1", "reason": "not in the index"}]
    assert (run.finished_queries, run.summary.queries) == (35, 34)
    assert "2 queries were skipped" in run.notes[0]
    assert run.ablations["precision"]["queries"] == 35


def test_modality_ablation_by_hand(colours: EvalSet, searcher: Searcher, tiny: Encoder) -> None:
    run = evaluate(colours, searcher, 10, ablations=Ablations(modality=True, index=True))
    found = run.ablations["modality"]
    composed = [q for q in colours.queries if q.image and q.text]
    assert found["queries"] == len(composed) == 12
    expected = {}
    for part, changed in (
        ("image", [replace(q, text=None) for q in composed]),
        ("text", [replace(q, image=None) for q in composed]),
        ("composed", composed),
    ):
        some = colours.with_queries(changed)
        expected[part] = hit_rates(rank_in_memory(tiny, some, 10), some)["all"]["hit_rate@5"]
        assert found["metrics"]["hit_rate@5"][part] == pytest.approx(expected[part])
    gain = found["metrics"]["hit_rate@5"]["gain"]
    better = max(expected["image"], expected["text"])
    assert gain["delta"] == pytest.approx(expected["composed"] - better)
    assert gain["ci95"][0] <= gain["delta"] <= gain["ci95"][1]
    assert not any(name.startswith("hard_negative") for name in found["metrics"])
    exact = run.ablations["index"]
    assert (exact["vectors"], exact["queries"]) == (20, 37)
    assert {name: one["mean"] for name, one in exact["metrics"].items()} == {
        "recall@1": 1.0,
        "recall@10": 1.0,
    }


def test_the_index_check_notices_a_bad_index(colours: EvalSet, searcher: Searcher) -> None:
    search = searcher.index.search

    def forgetful(vectors: Any, k: int, filter: str | None = None) -> Any:
        return [rows[1:] for rows in search(vectors, k + 1, filter)]

    searcher.index.search = forgetful  # type: ignore[method-assign]
    found = evaluate(colours, searcher, 10, ablations=Ablations(index=True)).ablations["index"]
    assert found["metrics"]["recall@1"]["mean"] < 0.1
    assert found["metrics"]["recall@10"]["mean"] == pytest.approx(0.9, abs=0.02)


def test_paraphrases_by_hand(colours: EvalSet, searcher: Searcher, tiny: Encoder) -> None:
    run = evaluate(colours, searcher, 20, ablations=Ablations(paraphrases=True))
    found = run.ablations["paraphrases"]
    worded = [q for q in colours.queries if q.paraphrases]
    assert (found["queries"], found["wordings"]) == (6, 12)
    per_wording = []
    for wording in range(3):
        texts = [(q.text or "", *q.paraphrases)[wording] for q in worded]
        some = colours.with_queries(
            [replace(q, text=t) for q, t in zip(worded, texts, strict=True)]
        )
        rankings = rank_in_memory(tiny, some, 20)
        ranks = [
            min(rankings[q.query_id].index(i) for i in colours.relevant(q.query_id)) for q in worded
        ]
        per_wording.append([1 / (1 + rank) for rank in ranks])
    rr = np.array(per_wording)
    one = found["metrics"]["RR"]
    assert one["original"] == pytest.approx(rr[0].mean())
    assert one["paraphrases"] == pytest.approx(rr[1:].mean())
    assert one["worst"] == pytest.approx(rr[1:].min(axis=0).mean())
    assert one["spread"] == pytest.approx((rr.max(axis=0) - rr.min(axis=0)).mean())
    assert one["difference"]["delta"] == pytest.approx(rr[1:].mean() - rr[0].mean())


def test_the_original_wording_counts_in_the_spread(colours: EvalSet, searcher: Searcher) -> None:
    queries = [
        replace(q, image=None, paraphrases=("black 0",)) if q.paraphrases else q
        for q in colours.queries
    ]
    run = evaluate(
        colours.with_queries(queries), searcher, 20, ablations=Ablations(paraphrases=True)
    )
    one = run.ablations["paraphrases"]["metrics"]["RR"]
    assert one["worst"] == one["paraphrases"] != one["original"]
    assert one["spread"] >= abs(one["original"] - one["paraphrases"]) > 0


def test_precision_check(colours: EvalSet, searcher: Searcher, tiny: Encoder) -> None:
    found = evaluate(colours, searcher, 10, ablations=Ablations(precision="bf16"))
    one = found.ablations["precision"]
    assert (one["reference"], one["precision"], one["queries"]) == ("fp32", "bf16", 37)
    assert 0.99 < one["cosine"]["min"] < 1 - 1e-6
    assert 0.5 < one["overlap@10"] <= 1
    assert one["metrics"]["hit_rate@10"]["a"] == pytest.approx(found.metrics["hit_rate@10"])
    assert next(tiny.model.parameters()).dtype.itemsize == 4, "the encoder stays as it was"
    with pytest.raises(MmragError, match="is bf16 or fp16, not 'int8'"):
        evaluate(colours, searcher, 10, ablations=Ablations(precision="int8"))


def test_the_query_picture_is_left_out_of_every_ablation(
    tmp_path: Path, tiny: Encoder, colours: EvalSet
) -> None:
    queries = [
        EvalQuery("a", str(colours.image_root / "red-0.png"), "red 0"),
        EvalQuery("b", str(colours.image_root / "blue-0.png"), "blue 0"),
    ]
    qrels = {"a": {"red-1": 1}, "b": {"blue-1": 1}}
    own = replace(colours, queries=queries, qrels=qrels, exclude_query_image=True)
    opened, _ = index_eval_set(own, tiny, tmp_path / "g.db")
    with opened, RunStore() as store:
        options = Ablations(modality=True)
        run = evaluate(own, Searcher(opened, tiny), 20, ablations=options, store=store)
        for stage in ("retrieval", "image alone", "text alone"):
            ranked = store.read(run.run_id, stage)
            assert "red-0" not in ranked["a"].image_ids
            assert "blue-0" not in ranked["b"].image_ids
            assert len(ranked["a"].image_ids) == 19


def test_subsets_reach_beyond_the_first_k(colours: EvalSet, searcher: Searcher) -> None:
    """R_subset needs the order of all members, however few results are kept."""
    subset = ["red-0", "red-1", "blue-0", "green-1", "black-0", "gold-1"]
    queries = [
        replace(query, metadata={"subset": subset}) for query in colours.queries if query.image
    ][:12]
    qrels = {query.query_id: {subset[i % 6]: 1} for i, query in enumerate(queries)}
    cirr = replace(colours, queries=queries, qrels=qrels)
    few, many = (evaluate(cirr, searcher, k) for k in (3, 20))
    for k in (1, 2, 3):
        assert few.metrics[f"R_subset@{k}"] == many.metrics[f"R_subset@{k}"]
    assert 0 < many.metrics["R_subset@3"] < 1 or many.metrics["R_subset@1"] < 1


def test_a_sample_of_the_queries(colours: EvalSet, searcher: Searcher) -> None:
    first, again = (evaluate(colours, searcher, 5, limit=10, seed=1) for _ in range(2))
    other = evaluate(colours, searcher, 5, limit=10, seed=2)
    assert first.total_queries == first.finished_queries == 10
    assert first.ranking().keys() == again.ranking().keys() != other.ranking().keys()
    larger = evaluate(colours, searcher, 5, limit=20, seed=1)
    notes = compare_runs([first, larger]).notes
    assert not any("pictures" in note or "galler" in note for note in notes), "none has changed"
    both = set(first.ranking()) & set(larger.ranking())
    changed = next(q for q in colours.queries if q.query_id in both and q.image)
    draw(Path(changed.image or ""), 99, "white")
    later = evaluate(colours, searcher, 5, limit=20, seed=1)
    assert "different pictures of 1 query" in compare_runs([first, later]).notes[0]
    assert "different pictures of 1 query" in compare_runs([larger, later]).notes[0]


def test_samples_repeat_without_repeating_a_query(colours: EvalSet) -> None:
    ids = [query.query_id for query in colours.queries]
    for limit in (1, 20, 36):
        drawn = [[q.query_id for q in sample(colours.queries, limit, seed)] for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]
        assert len(set(drawn[0])) == limit
        assert drawn[0] == [one for one in ids if one in drawn[0]], "in the order of the set"
    assert sample(colours.queries, None, 1) == sample(colours.queries, 37, 1) == colours.queries


def test_what_has_left_the_set_leaves_its_collection(
    colours: EvalSet, tiny: Encoder, in_memory: type[MemoryClient]
) -> None:
    """However much it is: the set's files alone decide."""
    for n, removed in ((20, 0), (5, 15)):
        opened, report = index_eval_set(replace(colours, images=colours.images[:n]), tiny, URI)
        with opened:
            assert (report.removed, opened.info().rows) == (removed, n)


def test_single_queries_are_timed_as_they_are_evaluated(
    colours: EvalSet, quick_searcher: Searcher
) -> None:
    """A picture that is left out takes one result more, in batches and alone."""
    search, asked = quick_searcher.index.search, []

    def listen(vectors: Any, k: int, filter: str | None = None) -> Any:
        asked.append((len(vectors), k))
        return search(vectors, k, filter)

    quick_searcher.index.search = listen  # type: ignore[method-assign]
    for left_out in (False, True):
        asked.clear()
        own = replace(colours, exclude_query_image=left_out)
        run = evaluate(own, quick_searcher, 10, limit=6)
        assert run.latency_ms["total"]["queries"] == 6
        assert set(asked) == {(6, 10 + left_out), (1, 10 + left_out)}


def test_the_precision_check_says_how_far_it_is(colours: EvalSet, quick_searcher: Searcher) -> None:
    seen: list[Progress] = []
    options: dict[str, Any] = {"limit": 3, "on_progress": seen.append}
    run = evaluate(colours, quick_searcher, 5, ablations=Ablations(precision="bf16"), **options)
    assert run.ablations["precision"]["queries"] == 3
    assert seen[-3:] == [Progress("precision check", done, 2) for done in range(3)]


def test_image_weights_share_one_index(colours: EvalSet) -> None:
    command = ["evaluate", str(colours.folder), "--encoder", "demo-clip", "--precision", "fp32"]
    command += ["-k", "5", "--image-weight", "0.1,0.9"]
    done = CliRunner().invoke(main, [*command, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = [run["name"] for run in found["runs"]]
    assert names == [f"demo-clip, image weight {weight}" for weight in ("0.1", "0.9")]
    assert len({run["config"]["index"]["collection"] for run in found["runs"]}) == 1
    texts = [run["stages"]["retrieval"]["categories"]["text"] for run in found["runs"]]
    assert texts[0] == texts[1], "a text alone has no weight"
    with RunStore() as store:
        first, second = (store.load(run["run_id"]).ranking() for run in found["runs"])
    composed = [q.query_id for q in colours.queries if q.image and q.text]
    assert any(first[one] != second[one] for one in composed)
    (compared,) = found["comparisons"]
    assert [run["name"] for run in compared["runs"]] == names
    assert 0 < compared["metrics"]["hit_rate@1"]["p_holm"] <= 1
    wrong = CliRunner().invoke(main, [*command[:-1], "0.1,much"])
    assert (wrong.exit_code, "numbers with commas" in wrong.output) == (2, True)


def test_wrong_options_and_wrong_indexes(
    colours: EvalSet, searcher: Searcher, tiny: Encoder, folder: Path, tmp_path: Path
) -> None:
    for options, message in (
        ({"k": 0}, "k must be between"),
        ({"rerank_k": 5}, "needs a searcher with a reranker"),
        ({"metrics": ["hit_rate@99"]}, "needs more than the k = 50 results"),
        ({"metrics": ["wit_rate@1"]}, "Unknown metric"),
        ({"limit": 0}, "limit must be at least 1"),
    ):
        with pytest.raises(MmragError, match=message):
            evaluate(colours, searcher, **options)  # type: ignore[arg-type]
    from mmrag import open_gallery

    with ImageIndex.open(tmp_path / "other.db", "other", tiny) as other:
        other.add(open_gallery(folder))
        with pytest.raises(MmragError, match="12 images that are not in the eval set 'colours'"):
            evaluate(colours, Searcher(other, tiny))
    with RunStore() as store:
        assert store.runs() == []


def test_the_hash_covers_what_decides_a_score(colours: EvalSet, tmp_path: Path) -> None:
    original = labels_sha256(colours)
    assert labels_sha256(EvalSet.load(colours.folder)) == original
    moved = tmp_path / "moved"
    colours.folder.rename(moved)
    assert labels_sha256(EvalSet.load(moved)) == original
    query = colours.queries[0]
    changes = [
        replace(colours, qrels=colours.qrels | {"q00": {"red-0": 1}}),
        replace(colours, queries=[replace(query, text="x"), *colours.queries[1:]]),
        replace(colours, exclude_query_image=True),
        replace(colours, images=colours.images[1:]),
    ]
    assert len({original, *(labels_sha256(one) for one in changes)}) == 5


def test_evaluations_share_an_index_and_embed_once(
    colours: EvalSet, tiny: Encoder, index: ImageIndex, tmp_path: Path
) -> None:
    again, report = index_eval_set(colours, tiny, tmp_path / "gallery.db")
    again.close()
    assert (report.unchanged, report.embedded) == (20, 0)
    assert again.collection == index.collection
    assert again.collection.startswith("eval_colours_")


@pytest.mark.parametrize("format", FORMATS)
def test_import_evaluate_export(format: str, tiny: Encoder, tmp_path: Path) -> None:
    """Every benchmark from its own files to a run file that scores the same when it comes back."""
    eval_set = imported(format, tmp_path)
    pictures = {image.path for image in eval_set.images}
    pictures |= {query.image for query in eval_set.queries if query.image}
    for seed, path in enumerate(sorted(pictures)):
        draw(Path(path), seed, "grey")
    index, _ = index_eval_set(eval_set, tiny, tmp_path / "g.db")
    with index, RunStore() as store:
        run = evaluate(eval_set, Searcher(index, tiny), store=store)
        assert run.state == "complete"
        assert eval_set.primary_metric in run.metrics
        own = {"cirr": {"R_subset@1"}, "circo": {"R_target@10", "mAP@50"}}
        assert own.get(format, set()) <= set(run.metrics)
        if format == "circo":
            assert set(run.summary.aspects) == {"cardinality", "negation"}
        (path,) = write_export(run, "trec", tmp_path / "own.trec")
        back = import_run(path, eval_set, store)
        assert back.ranking() == run.ranking()
        same = {m for m in run.metrics if not m.startswith("R_subset")}
        assert {m: back.metrics[m] for m in same} == {m: run.metrics[m] for m in same}
        if format not in ("cirr", "circo"):
            return
        files = write_export(run, format, tmp_path / "out" if format == "cirr" else tmp_path / "f")
        assert len(files) == (2 if format == "cirr" else 1)
        again = import_run(files[0], eval_set, store)
        assert again.ranking() == {i: ids[:50] for i, ids in run.ranking().items()}


def test_command_line(colours: EvalSet, tiny_folder: Path, tmp_path: Path) -> None:
    encoder = ("--encoder", str(tiny_folder), "--precision", "fp32")
    options = ("-k", "10", "--name", "a\x1b[2Jb", *encoder)
    rerank = ("--rerank", f"encoder:{tiny_folder}", "--rerank-k", "3", "--check-index")
    done = invoke("evaluate", str(colours.folder), *options, *rerank)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "Ceiling of reranking the first 3: hit_rate@3" in done.stdout
    assert "hit_rate@1 by category:" in done.stdout
    assert "The index against exact search over 20 vectors" in done.stdout
    assert "Retrieval: 100%" in done.stderr
    assert "Reranked: 100%" in done.stderr
    run_id = done.stdout.splitlines()[-1].split()[2]
    listed = json.loads(invoke("runs", "--json").stdout)
    assert [run["run_id"] for run in listed] == [run_id]
    assert run_id in invoke("runs").stdout

    trec = invoke("export", run_id, "--format", "trec", "--stage", "retrieval")
    assert trec.stdout.count("\n") == 37 * 10
    (tmp_path / "own.trec").write_text(trec.stdout)
    place = ("--eval-set", str(colours.folder))
    imported = json.loads(invoke("import-run", str(tmp_path / "own.trec"), *place, "--json").stdout)
    compared = invoke("compare", f"{run_id}:retrieval", imported["run_id"], "--json")
    found = json.loads(compared.stdout)
    assert all(one["delta"] == 0 for one in found["metrics"].values()), "the same ranking"
    assert found["runs"][0]["stage"] == "retrieval"
    shown = invoke("compare", run_id, imported["run_id"], run_id)
    assert "Holm" in shown.stdout
    own = invoke("compare", run_id)
    assert "(1)" in own.stdout
    for format in ("csv", "json", "parquet", "html"):
        out = tmp_path / f"out.{format}"
        done = invoke("export", "latest", "--format", format, "--out", str(out), "--json")
        assert json.loads(done.stdout)["files"] == [str(out)], done.stderr
        assert out.stat().st_size > 500
    assert json.loads(invoke("export", run_id, "--format", "json").stdout)["run_id"] == run_id
    assert invoke("runs", "--delete", run_id).stdout == f"Deleted {run_id}.\n"
    failed = invoke("export", run_id, "--format", "trec")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "There is no run" in failed.stderr
    wrong = invoke(
        "evaluate", str(colours.folder), "--check-precision", "bf16", "--precision", "bf16"
    )
    assert wrong.returncode == 2
