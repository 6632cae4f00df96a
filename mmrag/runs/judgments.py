"""More judgments of an eval set: a qrels file becomes a set of the same gallery and queries."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from mmrag import config
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet, Qrels, read_qrels
from mmrag.eval_sets.importers.trec import read_trec_qrels
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.eval_sets.records import read_lines
from mmrag.metrics.metrics import Scores, cutoff, default_metrics, score_rankings
from mmrag.metrics.summary import summarise
from mmrag.runs.provenance import eval_set_ref
from mmrag.runs.rerank_stages import rerank_stages
from mmrag.runs.run import RERANKED, RETRIEVAL, Run
from mmrag.runs.store import RunStore, new_run_id, now
from mmrag.runs.trec import decoded
from mmrag.system.durable import write_file
from mmrag.system.names import Names
from mmrag.system.words import counted

# Marks the folder of a set that was made here; only such sets are ever removed.
_MARK = "judgments_of.json"


def import_qrels(
    path: str | os.PathLike[str], eval_set: EvalSet, title: str
) -> tuple[EvalSet, list[str]]:
    """Keep a qrels file as a set of its own under `MMRAG_HOME/eval_sets`.

    Args:
        path: TREC's four columns (topic, iteration, image, grade; grades below 0 become 0), or
            BEIR's three with their header.
        eval_set: whose queries were judged. Gallery and queries of the new set are the same.
        title: of the judgments; the new set's name joins both.

    Returns:
        The new set, and sentences on what its numbers leave out.

    Raises:
        MmragError: a malformed line, an image not in the set, no query of the set with a
            right image, or a name that is taken.
    """
    path = Path(path)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:60]
    if not slug:
        raise MmragError("Give the judgments a name, with letters or digits.")
    name = f"{eval_set.folder.name}-{slug}"
    folder = _home() / name
    if folder.exists() or name in known_eval_sets():
        raise MmragError(f"There is an eval set {name!r} already; choose another name.")
    qrels, strange = _known(_read(path), eval_set, path)
    judged = {query for query, grades in qrels.items() if max(grades.values(), default=0) > 0}
    if not judged:
        raise MmragError(f"{path} judges no image right for any query of {eval_set.name!r}.")
    made = replace(
        eval_set,
        name=name,
        folder=folder,
        qrels=qrels,
        description=f"{eval_set.name}, with the judgments of {path.name}.",
    )
    folder.mkdir(parents=True)
    try:
        mark = {"eval_set": eval_set.folder.name, "file": path.name}
        write_file(folder / _MARK, json.dumps(mark))
        made.save()
    except BaseException:
        shutil.rmtree(folder)
        raise
    notes = []
    without = len(eval_set.queries) - len(judged)
    if without:
        notes.append(
            counted(
                without,
                "query has no right image in the file and counts in no metric.",
                "queries have no right image in the file and count in no metric.",
            )
        )
    if strange:
        notes.append(
            counted(
                strange,
                "query of the file is not in the set and was left out.",
                "queries of the file are not in the set and were left out.",
            )
        )
    return EvalSet.load(folder), notes


def rescore(run: Run, eval_set: EvalSet, store: RunStore) -> Run:
    """Copy a run, scored against other judgments of the same queries and images.

    Rankings, timings and costs stay. Ablations are left out: they were scored with the old
    judgments.

    Raises:
        MmragError: the run has no rankings yet, or ranks images that the set lacks.
    """
    run.check_stage(run.stage)
    _check_same(run, eval_set)
    stages = [stage for stage in (RETRIEVAL, RERANKED) if stage in run.rankings]
    skipped = {one["query_id"] for one in run.skipped}
    # An imported file answers the whole set; queries it lacks count as no hits.
    done = None if "imported" in run.config else set(run.rankings[stages[-1]]) - skipped
    deepest = max((cutoff(metric) or 1 for metric in run.config.get("metrics", [])), default=1)
    names = default_metrics(eval_set, deepest)
    first = run.rankings[RETRIEVAL]
    subsets = {i: one.details["subset"] for i, one in first.items() if "subset" in one.details}

    def scored(stage: str, metrics: list[str]) -> Scores:
        return score_rankings(
            run.ranking(stage), eval_set, metrics, query_ids=done, subset_orders=subsets
        )

    scores = {stage: scored(stage, names) for stage in stages}
    seed = int(run.config.get("seed", 0))
    ceiling = {}
    if run.ceiling:
        reached = scored(RETRIEVAL, list(run.ceiling)).values
        ceiling = {name: float(values.mean()) for name, values in reached.items() if len(values)}
    made = replace(
        run,
        run_id=new_run_id(),
        eval_set=eval_set_ref(eval_set, run.eval_set.pictures_sha256, run.eval_set.gallery_sha256),
        created=now(),
        finished=now(),
        config={**run.config, "metrics": names, "rescored": run.run_id},
        summaries={stage: summarise(one, seed) for stage, one in scores.items()},
        ceiling=ceiling,
        rerank_stages=rerank_stages(
            first,
            run.rankings.get(RERANKED, {}),
            run.config.get("reranker") or {},
            lambda orders: score_rankings(
                orders, eval_set, names, query_ids=done, subset_orders=subsets
            ),
        ),
        ablations={},
        notes=[f"Rankings, times and costs are those of run {run.run_id}; the judgments are new."],
        rankings={stage: run.rankings[stage] for stage in stages},
        scores=scores,
    )
    store.start(made)
    for stage, ranked in made.rankings.items():
        store.write(made.run_id, stage, list(ranked.values()))
    store.save(made)
    return made


def uploaded_judgments() -> dict[str, Path]:
    """Name to folder of the sets that `import_qrels` made."""
    return {mark.parent.name: mark.parent for mark in sorted(_home().glob(f"*/{_MARK}"))}


def remove_judgments(name: str, store: RunStore) -> list[str]:
    """Remove a set that `import_qrels` made, and its runs for which `is_from_elsewhere` holds.

    Returns:
        The ids of the removed runs. Runs evaluated with the set stay.

    Raises:
        MmragError: there is no such set.
    """
    folder = uploaded_judgments().get(name)
    if folder is None or folder.is_symlink():
        raise MmragError(f"There are no uploaded judgments {name!r}.")
    shutil.rmtree(folder)
    runs = [run.run_id for run in store.runs(name) if is_from_elsewhere(run)]
    for run_id in runs:
        store.delete(run_id)
    return runs


def is_from_elsewhere(run: Run) -> bool:
    """Whether a run came in as a file, or was scored with uploaded judgments."""
    return "imported" in run.config or "rescored" in run.config


def _home() -> Path:
    return config.home() / "eval_sets"


def _read(path: Path) -> Qrels:
    for _, line in read_lines(path):
        return read_qrels(path) if line.startswith(b"query-id\t") else read_trec_qrels(path)
    raise MmragError(f"{path} holds no judgments.")


def _known(written: Qrels, eval_set: EvalSet, path: Path) -> tuple[Qrels, int]:
    """The judgments of the set's queries, and how many other queries the file has."""
    queries = Names(query.query_id for query in eval_set.queries)
    images = Names(image.image_id for image in eval_set.images)
    qrels: Qrels = {}
    for topic, grades in written.items():
        query_id = decoded(topic, queries)
        if query_id is None:
            continue
        known = qrels.setdefault(query_id, {})
        for name, grade in grades.items():
            image_id = decoded(name, images)
            if image_id is None:
                raise MmragError(
                    f"{path}: query {topic!r} judges {name!r}, which is not in the eval set."
                )
            known[image_id] = grade
    return qrels, len(written) - len(qrels)


def _check_same(run: Run, eval_set: EvalSet) -> None:
    queries = {query.query_id for query in eval_set.queries}
    images = {image.image_id for image in eval_set.images}
    for query_id, one in run.rankings[RETRIEVAL].items():
        if query_id not in queries or not images.issuperset(one.image_ids):
            raise MmragError(
                f"Run {run.run_id} ranks other queries or images than those of {eval_set.name!r}."
            )
