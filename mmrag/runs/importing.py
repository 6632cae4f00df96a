"""Rankings from elsewhere, scored and kept like our own."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.records import read_json
from mmrag.eval_sets.submissions import SUBMISSIONS
from mmrag.metrics.metrics import canonical, default_metrics, score_rankings, trec_order
from mmrag.metrics.summary import summarise
from mmrag.runs.provenance import environment, eval_set_ref
from mmrag.runs.run import RETRIEVAL, Ranked, Run
from mmrag.runs.store import RunStore, new_run_id, now
from mmrag.runs.trec import decoded, read_trec
from mmrag.system.names import Names
from mmrag.system.text_files import open_text
from mmrag.system.words import counted

_SHOWN = 1000


def import_run(
    path: str | os.PathLike[str],
    eval_set: EvalSet,
    store: RunStore | None = None,
    *,
    name: str = "",
    metrics: list[str] | None = None,
    seed: int = 0,
    duplicates: Literal["refuse", "first"] = "refuse",
) -> Run:
    """Score a run file and store it.

    Args:
        path: a TREC run file (ordered by score as a 32-bit float, ties by id, both descending,
            as trec_eval does), or a submission to CIRR's or CIRCO's server (a JSON object of query
            id to image ids, best first).
        eval_set: the set it answers. Queries of the set that the file lacks count as no hits.
        store: where it is kept. Default: `RunStore()`.
        name: of the run. Default: the TREC file's tag, else the file's name.
        metrics: see `score_rankings`. Default: those that suit the set.
        seed: of the intervals.
        duplicates: what to do about an image that occurs twice in a ranking, as in some published
            ones: "first" counts its first place and notes how many queries are affected.

    Returns:
        The run. Queries of the file that the set does not have are in `skipped`.

    Raises:
        MmragError: a malformed line, an image not in the set, or no query of the set at all.
    """
    run = read_run(path, eval_set, name=name, metrics=metrics, seed=seed, duplicates=duplicates)
    own = RunStore() if store is None else None
    try:
        kept = own or store
        assert kept is not None
        kept.start(run)
        kept.write(run.run_id, RETRIEVAL, list(run.rankings[RETRIEVAL].values()))
        kept.save(run)
    finally:
        if own is not None:
            own.close()
    return run


def read_run(
    path: str | os.PathLike[str],
    eval_set: EvalSet,
    *,
    name: str = "",
    metrics: list[str] | None = None,
    seed: int = 0,
    duplicates: Literal["refuse", "first"] = "refuse",
) -> Run:
    """Score a run file without storing it; see `import_run`."""
    path = Path(path)
    repeated: set[str] | None = set() if duplicates == "first" else None
    if _begins_with_brace(path):
        rankings, tag = _read_submission(path, eval_set, repeated), ""
        scored = {
            query_id: {one: float(len(ids) - i) for i, one in enumerate(ids)}
            for query_id, ids in rankings.items()
        }
    else:
        scored, tag = read_trec(path, repeated)
        rankings = {query_id: trec_order(scores) for query_id, scores in scored.items()}
    queries = Names(query.query_id for query in eval_set.queries)
    images = Names(image.image_id for image in eval_set.images)
    ranked: dict[str, Ranked] = {}
    skipped: list[dict[str, str]] = []
    pools = _pools(eval_set)
    outside = 0
    for written, order in rankings.items():
        query_id = decoded(written, queries)
        if query_id is None:
            skipped.append({"query_id": written, "reason": "not in the eval set"})
            continue
        pairs = [(_known(one, images, path, written), float(scored[written][one])) for one in order]
        if pool := pools.get(query_id):
            outside += sum(one not in pool for one, _ in pairs)
            pairs = [pair for pair in pairs if pair[0] in pool]
        ids, values = [one for one, _ in pairs], [value for _, value in pairs]
        ranked[query_id] = Ranked(query_id, ids, values)
    if not ranked:
        raise MmragError(f"{path} holds no query of the eval set {eval_set.name!r}.")
    k = max(len(one.image_ids) for one in ranked.values())
    # A ranking of the whole gallery has metrics at any depth; others only up to their cut-off.
    whole = k >= len(eval_set.images) - 1
    names = [canonical(m) for m in metrics or default_metrics(eval_set, max(k, 50 * whole, 1))]
    scores = score_rankings({i: one.image_ids for i, one in ranked.items()}, eval_set, names)
    return Run(
        run_id=new_run_id(),
        name=name or tag or path.stem,
        eval_set=eval_set_ref(eval_set),
        state="complete",
        created=now(),
        finished=now(),
        config={
            "imported": path.name,
            "k": k,
            "metrics": names,
            "seed": seed,
            "queries": len(eval_set.queries),
            **({"protocol": eval_set.protocol.as_json()} if eval_set.protocol else {}),
        },
        environment=environment(),
        summaries={RETRIEVAL: summarise(scores, seed)},
        finished_queries=len(ranked),
        skipped=skipped[:_SHOWN],
        notes=_notes(eval_set, ranked, len(skipped), len(repeated or ()), outside),
        rankings={RETRIEVAL: ranked},
        scores={RETRIEVAL: scores},
    )


def _pools(eval_set: EvalSet) -> dict[str, frozenset[str]]:
    """The candidates of each query that has its own; queries may share one set."""
    made = {pool: frozenset(pool) for pool in {query.pool for query in eval_set.queries}}
    return {query.query_id: made[query.pool] for query in eval_set.queries if query.pool}


def _notes(
    eval_set: EvalSet, ranked: Mapping[str, Ranked], skipped: int, repeated: int, outside: int
) -> list[str]:
    notes = []
    if outside:
        images = "1 image is" if outside == 1 else f"{outside:,} images are"
        notes.append(f"{images} no candidate of the query that found it, and left out.")
    if repeated:
        queries = counted(repeated, "query repeats", "queries repeat")
        notes.append(f"{queries} an image; it counts at its first place.")
    lacking = [q.query_id for q in eval_set.queries if q.query_id not in ranked]
    if lacking:
        notes.append(
            counted(
                len(lacking),
                "query is not in the file and counts as having found nothing.",
                "queries are not in the file and count as having found nothing.",
            )
        )
    if skipped:
        notes.append(
            counted(
                skipped,
                "query of the file is not in the eval set and was left out.",
                "queries of the file are not in the eval set and were left out.",
            )
        )
    cut = 0
    for query in eval_set.queries:
        subset = query.metadata.get("subset")
        if subset and query.query_id in ranked:
            cut += not set(subset) <= set(ranked[query.query_id].image_ids)
    if cut:
        notes.append(
            counted(cut, "ranking does", "rankings do")
            + " not reach the whole subset of the query; R_subset counts what is not there as not "
            "found."
        )
    return notes


def _known(written: str, images: Names, path: Path, query_id: str) -> str:
    image_id = decoded(written, images)
    if image_id is None:
        raise MmragError(
            f"{path}: query {query_id!r} ranks {written!r}, which is not in the eval set."
        )
    return image_id


def _begins_with_brace(path: Path) -> bool:
    try:
        with open_text(path) as file:
            return file.read(64).lstrip()[:1] == "{"
    except UnicodeDecodeError as error:
        raise MmragError(f"{path} cannot be read: {error}.") from error
    except OSError as error:
        raise MmragError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_submission(
    path: Path, eval_set: EvalSet, repeated: set[str] | None
) -> dict[str, list[str]]:
    held: Any = read_json(path)
    metric = held.get("metric") if isinstance(held, dict) else None
    if metric == "recall_subset":
        raise MmragError(
            f"{path} ranks each query's subset only; import the file whose metric is `recall`."
        )
    module = importlib.import_module(SUBMISSIONS["circo" if metric is None else "cirr"])
    rankings: dict[str, list[str]] = module.read(path, eval_set, repeated)
    return rankings
