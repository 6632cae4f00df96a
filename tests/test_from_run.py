"""Rankings of others as a first stage: reranked without an encoder or an index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.evaluation.from_run import rerank_run
from mmrag.rerank.reranker import OnDone, Reranker
from mmrag.runs.importing import read_run
from mmrag.runs.run import Run
from mmrag.runs.store import RunStore
from mmrag.types import RerankReport, SearchResult

from .helpers import invoke
from .published_forms import picture, write

IDS = [f"{i}.png" for i in range(5)]


class Backwards(Reranker):
    """Turns the hits round, and counts the queries that it saw."""

    name = "backwards"
    depth = 3

    def __init__(self) -> None:
        self.seen: list[int] = []

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        done = []
        for place, result in enumerate(results):
            self.seen.append(len(result.hits))
            hits = [replace(hit, rank=i) for i, hit in enumerate(reversed(result.hits), start=1)]
            report = RerankReport(self.name, "complete")
            done.append(replace(result, hits=hits, rerank=report, timings_ms={"rerank": 1.0}))
            if on_done is not None:
                on_done(place, done[-1])
        return done


@pytest.fixture
def labelled(tmp_path: Path) -> EvalSet:
    source = tmp_path / "source"
    for name in IDS:
        picture(source / "images" / name)
    write(source / "topics.tsv", "".join(f"q{i}\ttext {i}\n" for i in range(4)))
    write(source / "qrels.txt", "".join(f"q{i} 0 2.png 1\n" for i in range(4)))
    return import_eval_set("trec", source, tmp_path / "set")


@pytest.fixture
def first(labelled: EvalSet, tmp_path: Path) -> Run:
    lines = [f"q{q} Q0 {one} {i} {9 - i} bm25\n" for q in range(4) for i, one in enumerate(IDS)]
    return read_run(write(tmp_path / "first.trec", "".join(lines)), labelled)


def test_a_given_first_stage_is_reranked_and_both_are_scored(labelled: EvalSet, first: Run) -> None:
    reranker = Backwards()
    with RunStore("sqlite://") as store:
        run = rerank_run(first, labelled, reranker, store)
        kept = store.load(run.run_id)
    assert reranker.seen == [3] * 4
    assert kept.ranking("retrieval")["q0"] == IDS
    assert kept.ranking()["q0"] == [*IDS[2::-1], *IDS[3:]]
    rates = [
        kept.summaries[stage].overall["hit_rate@1"].mean for stage in ("retrieval", "reranked")
    ]
    assert rates == [0, 1]
    assert (kept.name, kept.state) == ("bm25 + backwards", "complete")
    assert (kept.ceiling["hit_rate@3"], kept.reranks) == (1, {"complete": 4})


def test_a_first_stage_from_a_file_on_the_command_line(
    labelled: EvalSet, first: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    file = str(tmp_path / "first.trec")
    options = ["--from-run", file, "--rerank", f"encoder:{tiny_folder}", "--rerank-k", "3"]
    done = invoke("evaluate", str(labelled.folder), *options, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["stage"], told["config"]["first_stage"]) == ("reranked", "bm25")
    assert told["stages"]["retrieval"]["overall"]["hit_rate@1"]["mean"] == 0
    assert told["ceiling"]["hit_rate@3"] == 1


def test_an_interrupted_one_goes_on(labelled: EvalSet, first: Run) -> None:
    with RunStore("sqlite://") as store:
        answers = iter([False, False, True])
        half = rerank_run(
            first, labelled, Backwards(), store, should_stop=lambda: next(answers, True)
        )
        assert half.state == "stopped"
        assert 0 < half.finished_queries < 4
        assert "not reached" in half.notes[-1]
        rest = Backwards()
        whole = rerank_run(first, labelled, rest, store)
        assert (whole.run_id, whole.state, len(whole.ranking())) == (half.run_id, "complete", 4)
        assert len(rest.seen) == 4 - half.finished_queries
        other = replace(
            first, rankings={"retrieval": dict(list(first.rankings["retrieval"].items())[:2])}
        )
        assert rerank_run(other, labelled, Backwards(), store).run_id != whole.run_id


def test_missing_pictures_and_other_sets_are_named(labelled: EvalSet, first: Run) -> None:
    with RunStore("sqlite://") as store:
        with pytest.raises(MmragError, match="another eval set"):
            rerank_run(first, replace(labelled, version="2"), Backwards(), store)
        (labelled.image_root / "1.png").unlink()
        with pytest.raises(MmragError, match=r"1 of the ranked pictures, such as '1.png'"):
            rerank_run(first, labelled, Backwards(), store)
