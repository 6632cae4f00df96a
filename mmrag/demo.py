"""The demo of a fresh clone: the catalogue, searched and scored with shipped encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.encoders.folders import is_shipped
from mmrag.eval_sets.known_sets import CATALOGUE

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder
    from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
    from mmrag.runs.run import Run
    from mmrag.runs.store import RunStore

SHIPPED = ("demo", "demo-clip")
# Encoder and reranker of the runs that are made.
CONFIGURATIONS = (("demo-clip", None), ("demo-clip", "encoder:demo"), ("demo", None))
RERANK_K = 20
OnProgress = Callable[[float, str], object]


def is_possible() -> bool:
    """Whether the catalogue and the shipped encoders are here, as in a clone they are."""
    shipped = all(is_shipped(name) for name in SHIPPED)
    return shipped and (CATALOGUE / "eval_set.json").is_file()


def index_catalogue(on_progress: OnProgress | None = None) -> None:
    """Bring the catalogue's collections up to date, one for each shipped encoder.

    Args:
        on_progress: called with the share that is done, 0 to 1, and what is being done.
    """
    from mmrag.encoders import load_encoder
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.gallery_index import index_eval_set

    eval_set = EvalSet.load(CATALOGUE)
    total = len(SHIPPED) * len(eval_set.images)
    done = 0
    for name in SHIPPED:

        def advance(n: int, what: str = f"Indexing the catalogue with {name}") -> None:
            nonlocal done
            done += n
            if on_progress is not None:
                on_progress(min(1.0, done / total), what)

        advance(0)
        index_eval_set(eval_set, load_encoder(name), progress=advance)[0].close()


def runs(store: RunStore, on_progress: OnProgress | None = None) -> list[Run]:
    """The three runs on the catalogue, each with all paraphrases; made where they are not stored.

    Args:
        store: where they are kept.
        on_progress: as for `index_catalogue`.
    """
    from mmrag.encoders import load_encoder
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.ablations import Ablations
    from mmrag.evaluation.evaluate import evaluate
    from mmrag.evaluation.gallery_index import index_eval_set
    from mmrag.rerank import load_reranker
    from mmrag.search.searcher import Searcher

    eval_set = EvalSet.load(CATALOGUE)
    encoders = {name: load_encoder(name) for name in SHIPPED}
    made = []
    for place, (name, reranker) in enumerate(CONFIGURATIONS):
        title = f"{name} + {reranker}" if reranker else name
        finished = _finished(store, encoders[name], encoders["demo"] if reranker else None)
        if finished is not None:
            made.append(store.load(finished))
            continue
        share = place / len(CONFIGURATIONS)
        what = f"Evaluating {title}"
        if on_progress is not None:
            on_progress(share, what)
        index, _ = index_eval_set(eval_set, encoders[name])
        with index:
            again = load_reranker(reranker, encoder=encoders["demo"]) if reranker else None
            made.append(
                evaluate(
                    eval_set,
                    Searcher(index, encoders[name], again),
                    rerank_k=RERANK_K if reranker else None,
                    ablations=Ablations(paraphrases=again is None),
                    store=store,
                )
            )
    if on_progress is not None:
        on_progress(1.0, "Evaluated")
    return made


def _finished(store: RunStore, encoder: Encoder, reranker: Encoder | None) -> str | None:
    """The latest whole run of the catalogue with these weights."""
    for run in store.runs("catalogue"):
        again = run.config.get("reranker") or {}
        if (
            run.state == "complete"
            and run.config["encoder"]["fingerprint"] == encoder.info.fingerprint
            and again.get("fingerprint") == (reranker.info.fingerprint if reranker else None)
            and run.config.get("limit") is None
            and (reranker is None or run.config.get("rerank_k") == RERANK_K)
            and (reranker is not None or (not again and "paraphrases" in run.ablations))
        ):
            return run.run_id
    return None


def on_queries(run: Run, queries: Iterable[EvalQuery]) -> Run:
    """The same run with metrics over some of its queries only."""
    from mmrag.metrics.paired import select
    from mmrag.metrics.summary import summarise

    wanted = {query.query_id: query for query in queries}
    scores = {stage: select(found, wanted) for stage, found in run.scores.items()}
    seed = int(run.config.get("seed", 0))
    summaries = {stage: summarise(found, seed) for stage, found in scores.items()}
    return replace(run, scores=scores, summaries=summaries)


def composed(eval_set: EvalSet) -> list[EvalQuery]:
    """Queries with a picture and an instruction."""
    return [query for query in eval_set.queries if query.image and query.text]


def unseen(eval_set: EvalSet) -> list[EvalQuery]:
    """Composed queries for combinations that no training set of the generator holds."""
    return [query for query in composed(eval_set) if query.metadata.get("unseen")]


@dataclass(frozen=True)
class Numbers:
    """The scores that the shipped `demo` must reach, as shares of queries."""

    composed_first: float
    composed_in_10: float
    unseen_first: float
    original_first: float
    paraphrased_first: float


def numbers(run: Run, eval_set: EvalSet) -> Numbers:
    """Hit rates of one run, from its scores and its paraphrase ablation."""
    whole, new = on_queries(run, composed(eval_set)), on_queries(run, unseen(eval_set))
    said_otherwise = run.ablations["paraphrases"]["metrics"]["hit_rate@1"]
    return Numbers(
        whole.metrics["hit_rate@1"],
        whole.metrics["hit_rate@10"],
        new.metrics["hit_rate@1"],
        said_otherwise["original"],
        said_otherwise["paraphrases"],
    )


def drawings_only(encoder: str, paths: Iterable[str]) -> str | None:
    """One line for a shipped model that is used on pictures other than the catalogue's.

    Args:
        encoder: its name.
        paths: pictures of the gallery; the first few are looked at.
    """
    if not is_shipped(encoder):
        return None
    root = CATALOGUE.resolve()
    if all(Path(path).resolve().is_relative_to(root) for path in islice(paths, 20)):
        return None
    return (
        f"Note: the shipped encoder {encoder!r} knows the catalogue's drawings only; for your own "
        "pictures run `mmrag download visualized-bge-base` and use "
        "--encoder visualized-bge-base."
    )
