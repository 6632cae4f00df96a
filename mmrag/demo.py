"""The demo of a fresh clone: photographs and drawings, searched and scored by shipped encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.encoders.folders import is_shipped
from mmrag.eval_sets.known_sets import CATALOGUE, PHOTOS

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder
    from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
    from mmrag.rerank.reranker import Reranker
    from mmrag.runs.run import Run
    from mmrag.runs.store import RunStore

RERANK_K = 20
OnProgress = Callable[[float, str], object]


@dataclass(frozen=True)
class Show:
    """An eval set that ships, with the encoder that knows it, and a weaker one."""

    title: str
    folder: Path
    encoder: str
    weaker: str
    examples: tuple[str, ...]
    """Categories to show one query of."""
    knows: str
    """The pictures that its encoder knows, for a warning on others."""
    every: int = 1
    """Step between the queries asked: photographs take longer than drawings."""

    @property
    def encoders(self) -> tuple[str, str]:
        """Names of both, the good one first."""
        return self.encoder, self.weaker

    @property
    def configurations(self) -> tuple[tuple[str, str | None], ...]:
        """Encoder and reranker of each run."""
        return (self.weaker, None), (self.weaker, f"encoder:{self.encoder}"), (self.encoder, None)

    def is_possible(self) -> bool:
        """Whether the set and its encoders are here, as they are in a clone."""
        shipped = all(is_shipped(name) for name in self.encoders)
        return shipped and (self.folder / "eval_set.json").is_file()

    def eval_set(self) -> EvalSet:
        """The eval set, with the queries that the demo asks."""
        from mmrag.eval_sets.eval_set import EvalSet

        whole = EvalSet.load(self.folder)
        return whole.with_queries(whole.queries[:: self.every]) if self.every > 1 else whole


PHOTOGRAPHS = Show(
    "photographs",
    PHOTOS,
    "photos",
    "photos-small",
    ("variety", "name"),
    "81 products of a Swedish grocery",
    every=5,
)
DRAWINGS = Show(
    "drawings",
    CATALOGUE,
    "demo",
    "demo-clip",
    ("theme", "colour", "pattern", "product"),
    "the catalogue's drawings",
)
# In the order they are shown.
SHOWS = (PHOTOGRAPHS, DRAWINGS)


def possible() -> list[Show]:
    """The shows that are here."""
    return [show for show in SHOWS if show.is_possible()]


def index_galleries(
    on_progress: OnProgress | None = None, shows: Iterable[Show] | None = None
) -> None:
    """Bring the collections up to date, one for each shipped encoder.

    Args:
        on_progress: called with the share done, 0 to 1, and the work under way.
        shows: those to index; by default all that are possible.
    """
    from mmrag.encoders import load_encoder
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.gallery_index import index_eval_set

    todo = [
        (show, EvalSet.load(show.folder), name)
        for show in (possible() if shows is None else shows)
        for name in show.encoders
    ]
    total = sum(len(eval_set.images) for _, eval_set, _ in todo)
    done = 0
    for show, eval_set, name in todo:

        def advance(n: int, what: str = f"Indexing the {show.title} with {name}") -> None:
            nonlocal done
            done += n
            if on_progress is not None:
                on_progress(min(1.0, done / total), what)

        advance(0)
        index_eval_set(eval_set, load_encoder(name), progress=advance)[0].close()


def runs(
    store: RunStore, on_progress: OnProgress | None = None, show: Show = DRAWINGS
) -> list[Run]:
    """A show's three runs, each with all paraphrases; made if not stored.

    Args:
        store: the run store.
        on_progress: as for `index_galleries`.
        show: the show.
    """
    from mmrag.encoders import load_encoder
    from mmrag.evaluation.ablations import Ablations
    from mmrag.evaluation.evaluate import evaluate
    from mmrag.evaluation.gallery_index import index_eval_set
    from mmrag.search.searcher import Searcher

    eval_set = show.eval_set()
    encoders = {name: load_encoder(name) for name in show.encoders}
    best = encoders[show.encoder]
    made = []
    for place, (name, reranker) in enumerate(show.configurations):
        title = f"{name} + {reranker}" if reranker else name
        finished = _finished(store, eval_set, encoders[name], best if reranker else None)
        if finished is not None:
            made.append(store.load(finished))
            continue
        share = place / len(show.configurations)
        what = f"Evaluating {title}"
        if on_progress is not None:
            on_progress(share, what)
        index, _ = index_eval_set(eval_set, encoders[name])
        with index:
            again = _reranker(eval_set, reranker, best) if reranker else None
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


def _reranker(eval_set: EvalSet, name: str, encoder: Encoder) -> Reranker:
    """A show's encoder as a reranker that already knows the vectors of its own collection."""
    import numpy as np

    from mmrag.evaluation.gallery_index import index_eval_set
    from mmrag.rerank.encoder import EncoderReranker

    again = EncoderReranker(encoder, name)
    index, _ = index_eval_set(eval_set, encoder)
    with index:
        rows = index.rows(["content_hash", "vector"])
        again.candidates.know({r["content_hash"]: np.asarray(r["vector"], "<f4") for r in rows})
    return again


def _finished(
    store: RunStore, eval_set: EvalSet, encoder: Encoder, reranker: Encoder | None
) -> str | None:
    """The latest complete run of these queries with these weights."""
    for run in store.runs(eval_set.name):
        again = run.config.get("reranker") or {}
        if (
            run.state == "complete"
            and run.config["encoder"]["fingerprint"] == encoder.info.fingerprint
            and again.get("fingerprint") == (reranker.info.fingerprint if reranker else None)
            and run.config.get("limit") is None
            and run.eval_set.queries == len(eval_set.queries)
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
    """The scores of a shipped encoder, as shares of queries."""

    composed_first: float
    composed_in_10: float
    unseen_first: float | None
    """On combinations that no training set holds; None if a set has none."""
    original_first: float
    paraphrased_first: float


def numbers(run: Run, eval_set: EvalSet) -> Numbers:
    """Hit rates of one run, from its scores and its paraphrase ablation."""
    whole, new = on_queries(run, composed(eval_set)), unseen(eval_set)
    said_otherwise = run.ablations["paraphrases"]["metrics"]["hit_rate@1"]
    return Numbers(
        whole.metrics["hit_rate@1"],
        whole.metrics["hit_rate@10"],
        on_queries(run, new).metrics["hit_rate@1"] if new else None,
        said_otherwise["original"],
        said_otherwise["paraphrases"],
    )


def knows_only(encoder: str, paths: Iterable[str]) -> str | None:
    """A warning, one line, when a shipped model is used on pictures it does not know.

    Args:
        encoder: its name.
        paths: pictures of the gallery; the first few are looked at.
    """
    show = next((one for one in SHOWS if encoder in one.encoders), None)
    if show is None or not is_shipped(encoder):
        return None
    root = show.folder.resolve()
    if all(Path(path).resolve().is_relative_to(root) for path in islice(paths, 20)):
        return None
    return (
        f"Note: the shipped encoder {encoder!r} knows {show.knows} only; for your own "
        "pictures run `mmrag download visualized-bge-base` and use "
        "--encoder visualized-bge-base."
    )
