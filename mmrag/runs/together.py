"""Several runs of one model as one: seeds on the same queries, or folds of a set.

Runs belong together if they share name, protocol and primary metric, and were made on the same eval
set, or on parts of one set made by `eval-set split`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmrag.errors import MmragError
from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import summarise
from mmrag.runs.run import Ranked, Run
from mmrag.runs.store import RunStore

# Prefix that names all runs of a name together.
ALL = "all:"


@dataclass(frozen=True)
class Spread:
    """A metric over several runs: `sd` is the sample standard deviation, 0 for one run."""

    runs: int
    mean: float
    sd: float
    lowest: float
    highest: float


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Complete runs that belong together, in the order of first appearance."""
    found: dict[Hashable, list[Run]] = {}
    for run in runs:
        if run.state == "complete":
            found.setdefault(_key(run), []).append(run)
    return list(found.values())


def load_together(store: RunStore, name: str) -> Run:
    """Load all complete runs that belong together with the newest one of a name, as one.

    Raises:
        MmragError: there is none.
    """
    there = [group for group in groups(store.runs()) if group[0].name == name]
    if not there:
        raise MmragError(f"There is no complete run named {name!r}; `mmrag runs` lists them.")
    return together([store.load(run.run_id) for run in reversed(there[0])])


def together(runs: Sequence[Run]) -> Run:
    """Combine loaded runs into one, which is not stored.

    Each query's metrics are means over its runs; runs on one set share its queries, folds have
    their own. `config["together"]` has the ids of the runs and the `spread` of every metric, by
    stage. Rankings and times come from the first run on each set.

    Raises:
        MmragError: no run, different stages or metrics, or folds with queries in common.
    """
    if not runs:
        raise MmragError("There is no run to put together.")
    first = runs[0]
    by_set: dict[str, list[Run]] = {}
    for run in runs:
        if list(run.scores) != list(first.scores):
            raise MmragError(
                f"{first.run_id} and {run.run_id} differ in their stages, so they are not one."
            )
        by_set.setdefault(run.eval_set.labels_sha256, []).append(run)
    folds = list(by_set.values())
    scores = {
        stage: _joined([_mean([run.scores[stage] for run in some]) for some in folds])
        for stage in first.scores
    }
    rankings: dict[str, dict[str, Ranked]] = {}
    for some in folds:
        for stage, ranked in some[0].rankings.items():
            rankings.setdefault(stage, {}).update(ranked)
    seed = int(first.config.get("seed", 0))
    asked = sum(some[0].total_queries for some in folds)
    made = {
        "runs": [run.run_id for run in runs],
        "folds": len(folds),
        "spread": {stage: _spread(runs, stage) for stage in first.scores},
    }
    return replace(
        first,
        run_id=f"{ALL}{first.name}",
        name=first.name if len(runs) == 1 else f"{first.name} ({len(runs)} runs)",
        eval_set=first.eval_set if len(folds) == 1 else _set_of_folds(folds),
        config={**first.config, "together": made, "queries": asked},
        scores=scores,
        summaries={stage: summarise(one, seed) for stage, one in scores.items()},
        rankings=rankings,
        usage=sum((run.usage for run in runs[1:]), first.usage),
        spent_usd=sum(run.spent_usd for run in runs),
        finished_queries=sum(some[0].finished_queries for some in folds),
        notes=[] if len(runs) == 1 else [_note(runs, folds)],
        ablations={},
    )


def spread_of(run: Run, stage: str) -> dict[str, Spread]:
    """Metric to its spread, of a run that `together` made of several; empty for others."""
    kept = run.config.get("together", {})
    if len(kept.get("runs", ())) < 2:
        return {}
    return {name: Spread(**one) for name, one in kept["spread"].get(stage, {}).items()}


def _key(run: Run) -> Hashable:
    ref = run.eval_set
    protocol = json.dumps(run.config.get("protocol"), sort_keys=True)
    where = (ref.name, ref.folder)
    # `eval-set split` calls a part SET-PART and puts it into a folder PART.
    above, _, part = ref.name.rpartition("-")
    folder = Path(ref.folder)
    if above and folder.name == part:
        where = (above, str(folder.parent))
    return run.name, where, ref.primary_metric, protocol


def _mean(scores: Sequence[Scores]) -> Scores:
    """Per-query means over runs of the same queries; NaN where a run has none."""
    first = scores[0]
    names = [name for name in first.values if all(name in one.values for one in scores)]
    common = set(first.query_ids).intersection(*(one.query_ids for one in scores[1:]))
    row_of = [{query_id: i for i, query_id in enumerate(one.query_ids)} for one in scores]
    rows = [[there[i] for i in first.query_ids if i in common] for there in row_of]
    if not common or not names:
        raise MmragError("The runs have no query or no metric in common, so they are not one.")
    kept = rows[0]
    return Scores(
        [first.query_ids[i] for i in kept],
        [first.categories[i] for i in kept],
        [first.aspects[i] for i in kept],
        {
            name: np.mean([s.values[name][r] for s, r in zip(scores, rows, strict=True)], axis=0)
            for name in names
        },
        first.without_relevant,
    )


def _joined(scores: Sequence[Scores]) -> Scores:
    """The queries of folds one after the other."""
    ids = [query_id for one in scores for query_id in one.query_ids]
    if len(set(ids)) < len(ids):
        raise MmragError("The eval sets have queries in common, so they are no folds of one.")
    names = [name for name in scores[0].values if all(name in one.values for one in scores)]
    return Scores(
        ids,
        [category for one in scores for category in one.categories],
        [aspects for one in scores for aspects in one.aspects],
        {name: np.concatenate([one.values[name] for one in scores]) for name in names},
        sum(one.without_relevant for one in scores),
    )


def _spread(runs: Sequence[Run], stage: str) -> dict[str, dict[str, Any]]:
    found = {}
    for name in runs[0].scores[stage].values:
        means = [run.summaries[stage].overall.get(name) for run in runs]
        values = np.array([one.mean for one in means if one is not None])
        if len(values) == len(runs):
            sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            ends = float(values.min()), float(values.max())
            found[name] = asdict(Spread(len(values), float(values.mean()), sd, *ends))
    return found


def _set_of_folds(folds: Sequence[Sequence[Run]]) -> Any:
    refs = [some[0].eval_set for some in folds]
    labels = "".join(sorted(ref.labels_sha256 for ref in refs))
    wholes = {ref.name.rpartition("-")[0] for ref in refs}
    return replace(
        refs[0],
        name=wholes.pop() if len(wholes) == 1 else " + ".join(ref.name for ref in refs),
        labels_sha256=hashlib.sha256(labels.encode()).hexdigest(),
        pictures_sha256=None,
        gallery_sha256=None,
        queries=sum(ref.queries for ref in refs),
    )


def _note(runs: Sequence[Run], folds: Sequence[Sequence[Run]]) -> str:
    sets = f" on {len(folds)} sets" if len(folds) > 1 else ""
    return (
        f"Metrics are means over {len(runs)} runs{sets}; rankings and times are those of "
        f"{', '.join(some[0].run_id for some in folds)}."
    )
