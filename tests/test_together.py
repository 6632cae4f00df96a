"""Several seeds or folds of one model as one entry, with their spread."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmrag import MmragError, evaluate
from mmrag.cli import run as run_command
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.labels.editing import split
from mmrag.metrics.metrics import Scores
from mmrag.runs.compare import compare_runs, comparison_table, open_entry
from mmrag.runs.run import RETRIEVAL, Run
from mmrag.runs.store import RunStore
from mmrag.runs.together import groups, load_together, spread_of, together
from mmrag.search.searcher import Searcher

from .evaluation_fixtures import colours, index, searcher  # noqa: F401

METRIC = "hit_rate@1"


@pytest.fixture
def seeds(colours: EvalSet, searcher: Searcher) -> list[Run]:  # noqa: F811
    """A base run, and two runs of one name of which each fails other queries."""
    with RunStore() as store:
        base = evaluate(colours, searcher, 20, store=store, name="base")
        found = [base]
        for number in range(2):
            values = {k: v.copy() for k, v in base.scores[RETRIEVAL].values.items()}
            values[METRIC][:] = 1.0
            values[METRIC][: 9 * (number + 1)] = 0.0
            run = evaluate(colours, searcher, 20, store=store, name="tuned", resume=False)
            old = run.scores[RETRIEVAL]
            run.scores[RETRIEVAL] = Scores(old.query_ids, old.categories, old.aspects, values)
            run.summaries[RETRIEVAL] = replace(
                run.summary,
                overall={
                    **run.summary.overall,
                    METRIC: replace(run.summary.overall[METRIC], mean=float(values[METRIC].mean())),
                },
            )
            store.save(run)
            found.append(run)
    return found


def test_seeds_are_one_entry_with_their_spread(
    seeds: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    base, one, two = seeds
    with RunStore() as store:
        both = load_together(store, "tuned")
        assert [len(group) for group in groups(store.runs())] == [2, 1]
        comparison = compare_runs([open_entry(store, "base"), open_entry(store, "all:tuned")])
        with pytest.raises(MmragError, match="no complete run named 'other'"):
            open_entry(store, "all:other")
    assert both.metrics[METRIC] == pytest.approx((27 / 36 + 18 / 36) / 2)
    spread = spread_of(both, RETRIEVAL)[METRIC]
    assert (spread.runs, spread.lowest, spread.highest) == (2, 0.5, 0.75)
    assert spread.sd == pytest.approx(np.std([0.5, 0.75], ddof=1))
    assert spread_of(base, RETRIEVAL) == {}
    said = "tuned (2 runs): hit_rate@1 over 2 runs: 0.500 to 0.750, standard deviation 0.177."
    assert said in comparison_table(comparison).notes
    # Each query's value is the mean over the seeds, and pairs with the base's.
    delta = comparison.pairs[0].metrics[METRIC]
    assert delta.b == pytest.approx(both.metrics[METRIC])
    assert delta.queries == 36
    assert both.scores[RETRIEVAL].values[METRIC][10] == 0.5
    assert run_command(["compare", "base", "all:tuned"]) == 0
    out = capsys.readouterr().out
    assert "(2) hit_rate@1 over 2 runs: 0.500 to 0.750, standard deviation 0.177" in out
    assert "tuned (2 runs)" in out
    assert run_command(["compare", "base", "all:tuned", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"]
    assert told[0]["spread"] == {}
    assert sorted(told[1]["runs"]) == sorted([one.run_id, two.run_id])
    assert run_command(["runs", "--together"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("hit_rate@1 0.625 ± 0.177 (0.500 to 0.750)")
    assert "±" not in lines[1]


def test_folds_are_one_entry(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    tmp_path: Path,
) -> None:
    whole = evaluate(colours, searcher, 20, name="whole")
    parts = split(colours, {"a": 0.5, "b": 0.5}, tmp_path / "parts")
    for part in parts:
        part.save()
    sets = [EvalSet.load(part.folder) for part in parts]
    with RunStore() as store:
        for one in sets:
            evaluate(one, searcher, 20, store=store, name="tuned")
        both = load_together(store, "tuned")
        assert len(groups(store.runs())) == 2
    assert sorted(both.scores[RETRIEVAL].query_ids) == sorted(whole.scores[RETRIEVAL].query_ids)
    assert both.metrics == pytest.approx(whole.metrics)
    assert both.eval_set.name == "colours"
    assert both.total_queries == whole.total_queries
    assert set(both.ranking()) == set(whole.ranking())
    assert len(both.config["together"]["runs"]) == 2
    twice = [both, replace(both, eval_set=replace(both.eval_set, labels_sha256="other"))]
    with pytest.raises(MmragError, match="queries in common"):
        together(twice)
