"""How far the labels behind a run's metrics can be trusted: their judges, and the correction.

Where a model gave labels, the metrics are by its labels. Queries for which people judged all the
pictures that the model judged are a sample that shows its error: `corrected` removes it (see
`mmrag.labels.corrected`). This holds for a random sample of queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.records import Qrels
from mmrag.labels.corrected import corrected_mean
from mmrag.labels.judgments import Judgment, JudgmentLog, deciding
from mmrag.metrics.metrics import score_rankings
from mmrag.metrics.statistics import Floats
from mmrag.runs.run import Run


def note_labels(run: Run, eval_set: EvalSet) -> None:
    """Write into `Run.labels` and `Run.notes` who gave the labels, if a model gave any.

    Args:
        run: with its rankings, scored by the set's labels.
        eval_set: the set, whose folder holds the judgments.
    """
    run.notes = [note for note in run.notes if note not in run.labels.get("notes", ())]
    run.labels = {}
    queries = {query.query_id for query in eval_set.queries}
    rows = [row for row in JudgmentLog(eval_set.folder).rows() if row.query_id in queries]
    given = Counter((row.kind, row.judge) for row in deciding(rows).values())
    models = {judge: n for (kind, judge), n in given.items() if kind == "model"}
    if not models:
        return
    people, model = _qrels(rows, by_people=True), _qrels(rows, by_people=False)
    sample = [q for q, grades in model.items() if grades.keys() <= people.get(q, {}).keys()]
    others = [query_id for query_id in model if query_id not in set(sample)]
    corrected = {}
    if len(sample) > 1 and others:
        names = [str(one) for one in run.config.get("metrics", [])]
        for stage in run.scores:
            ranked = run.ranking(stage)
            by_people = _values(ranked, eval_set, people, names, sample)
            by_model = _values(ranked, eval_set, model, names, [*sample, *others])
            corrected[stage] = {
                name: asdict(
                    corrected_mean(
                        by_people[name],
                        by_model[name][: len(sample)],
                        by_model[name][len(sample) :],
                    )
                )
                for name in by_people.keys() & by_model.keys()
            }
    run.labels = {
        "models": models,
        "others": sum(given.values()) - sum(models.values()),
        "sample": len(sample),
        "corrected": corrected,
    }
    run.labels["notes"] = _notes(run)
    run.notes += run.labels["notes"]


def _notes(run: Run) -> list[str]:
    notes = [f"{run.label_note} The metrics are by these labels."]
    metric, stage = run.eval_set.primary_metric, run.stage
    found = run.labels["corrected"].get(stage, {}).get(metric)
    sample = run.labels["sample"]
    if found is None:
        notes.append(
            "Too few queries are judged by people too to correct the metrics: draw some at random "
            "and let people judge every picture of them that has a label."
        )
    else:
        low, high = found["ci95"]
        notes.append(
            f"{metric} corrected by the {sample} queries that people judged too: "
            f"{found['mean']:.3f} [{low:.3f}, {high:.3f}]; without people's labels "
            f"{found['by_model']:.3f} (prediction-powered inference; queries without a right "
            "picture count as 0)."
        )
    return notes


def _qrels(rows: Sequence[Judgment], *, by_people: bool) -> Qrels:
    """The labels by one side alone."""
    qrels: Qrels = {}
    chosen = [row for row in rows if (row.kind not in ("model", "repeat")) is by_people]
    for (query_id, image_id), word in deciding(chosen).items():
        if word.grade is not None:
            qrels.setdefault(query_id, {})[image_id] = word.grade
    return qrels


def _values(
    ranked: Mapping[str, Sequence[str]],
    eval_set: EvalSet,
    qrels: Qrels,
    names: Sequence[str],
    query_ids: Sequence[str],
) -> dict[str, Floats]:
    """Metric to its values in the order of the queries; metrics that some lack are left out."""
    found = score_rankings(ranked, replace(eval_set, qrels=qrels), names, query_ids=query_ids)
    place = {query_id: i for i, query_id in enumerate(found.query_ids)}
    values = {}
    for name, given in found.values.items():
        if not np.isnan(given).any():
            values[name] = np.array([given[place[q]] if q in place else 0.0 for q in query_ids])
    return values
