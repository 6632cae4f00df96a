"""Run a labelled query set through a configuration, score it, and keep the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmrag.encoders.queries import several_note
from mmrag.errors import BudgetReached, Cancelled, MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.templates import templated
from mmrag.evaluation import ablations as measure
from mmrag.evaluation.ablations import Ablations, Setting
from mmrag.evaluation.latency import measure_latency
from mmrag.evaluation.notes import notes_on
from mmrag.evaluation.question_answering import ANSWERED, Answering, answer_questions
from mmrag.evaluation.repetitions import repetitions, stage_name
from mmrag.evaluation.run_header import (
    check_ids,
    indexed_pictures,
    new_run,
    resume_key,
    sample,
)
from mmrag.evaluation.shuffled import SHUFFLE, shuffled
from mmrag.evaluation.stages import Ranker, Stages, Variant
from mmrag.labels.trust import note_labels
from mmrag.metrics.metrics import Scores, canonical, cutoff, default_metrics, score_rankings
from mmrag.metrics.summary import summarise
from mmrag.rerank.cascade import Cascade
from mmrag.rerank.reranker import GaveUp
from mmrag.runs.provenance import query_picture_hashes
from mmrag.runs.rerank_stages import rerank_stages
from mmrag.runs.run import (
    RERANKED,
    RETRIEVAL,
    REWRITTEN,
    STOPPED_BY_BUDGET,
    Ranked,
    Run,
    percentiles,
)
from mmrag.runs.store import RunStore, now
from mmrag.search.searcher import Searcher
from mmrag.system.jobs import Progress
from mmrag.types import Usage

if TYPE_CHECKING:
    from mmrag.vision.budget import Budget
    from mmrag.vision.model import VisionModel

DEFAULT_RERANK_K = 10


def evaluate(
    eval_set: EvalSet,
    searcher: Searcher,
    k: int = 50,
    *,
    rerank_k: int | None = None,
    metrics: Sequence[str] | None = None,
    ablations: Ablations | None = None,
    store: RunStore | None = None,
    name: str = "",
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 32,
    resume: bool = True,
    answer_model: VisionModel | Answering | None = None,
    on_progress: Callable[[Progress], Any] | None = None,
    should_stop: Callable[[], bool] | None = None,
    ranker: Ranker | None = None,
    retrieved: Mapping[str, Ranked] | None = None,
    query_template: str | None = None,
) -> Run:
    """Rank, score and store; an interrupted evaluation with the same arguments resumes.

    With a reranker, the rankings before and after it are kept, and `Run.summaries` has both
    stages. Rankings are stored as they are made: after each batch, and each reranked query.

    Args:
        eval_set: gallery, queries and judgments.
        searcher: its index holds the eval set's gallery (see `index_eval_set`); its reranker, if
            any, reorders the first `rerank_k` results; its rewriter, if any, rewords the queries
            before they are encoded; a reranker does not see the new words.
        k: results per query.
        rerank_k: how many of them the reranker sees. Default: the reranker's own depth, else 10.
        metrics: see `score_rankings`. Default: those that suit the set.
        ablations: extra measurements.
        store: where the run is kept. Default: `RunStore()`.
        name: of the run. Default: encoder and reranker.
        seed: of the sample of queries and of the resamples behind the intervals.
        limit: evaluate a random sample of this many queries.
        batch_size: queries encoded and searched together; `timings_ms` are shares of a batch.
        resume: False starts afresh even if an interrupted run could resume.
        answer_model: answers the questions, for `Ablations.answers`: a model, or an `Answering`,
            which also says who judges the answers and how many are asked at once.
        on_progress: called with a `Progress` as stages advance, in this thread.
        should_stop: called between batches and reranked queries; when true, the run is kept with
            state "stopped" and its metrics cover the queries that were finished.
        ranker: ranks the batches elsewhere, with the same results.
        retrieved: the first stage of a run that differs only in its reranker, to be reused.
        query_template: replaces each query's text; see `eval_sets.templates`.

    Returns:
        The run. Its state is "complete", "stopped" or "stopped: budget".

    Raises:
        MmragError: options that do not fit, or the index holds images that are not the eval set's.
    """
    own = RunStore() if store is None else None
    try:
        evaluation = _Evaluation(
            eval_set,
            searcher,
            k=k,
            rerank_k=rerank_k,
            metrics=metrics,
            ablations=ablations or Ablations(),
            store=own or store or RunStore(),
            name=name,
            seed=seed,
            limit=limit,
            batch_size=batch_size,
            answer_model=answer_model,
            ranker=ranker,
            retrieved=retrieved or {},
            query_template=query_template,
        )
        return evaluation.run(resume, on_progress, should_stop)
    finally:
        if own is not None:
            own.close()


class _Evaluation:
    def __init__(
        self,
        eval_set: EvalSet,
        searcher: Searcher,
        *,
        k: int,
        rerank_k: int | None,
        metrics: Sequence[str] | None,
        ablations: Ablations,
        store: RunStore,
        name: str,
        seed: int,
        limit: int | None,
        batch_size: int,
        answer_model: VisionModel | Answering | None,
        ranker: Ranker | None,
        retrieved: Mapping[str, Ranked],
        query_template: str | None,
    ) -> None:
        if not 1 <= k <= 10_000 or batch_size < 1:
            raise MmragError("k must be between 1 and 10,000, and the batch size at least 1.")
        check_ids(eval_set)
        self.searcher, self.k, self.retrieved = searcher, k, retrieved
        self.reranker, self.rewriter = searcher.reranker, searcher.rewriter
        self.rerank_k = self._rerank_k(rerank_k)
        self.ablations, self.store = ablations, store
        if answer_model is not None and not isinstance(answer_model, Answering):
            answer_model = Answering(answer_model)
        self.answering = answer_model
        self.seed, self.batch_size, self.ranker = seed, batch_size, ranker
        self.metrics = [canonical(one) for one in metrics or default_metrics(eval_set, k)]
        for one in self.metrics:
            if (cutoff(one) or 1) > k:
                raise MmragError(f"{one} needs more than the k = {k} results asked for.")
        if ablations.precision:
            measure.check_can_lower(searcher.encoder, ablations.precision)
        if ablations.shuffles is not None and (self.reranker is None or ablations.shuffles < 2):
            raise MmragError("Shuffles need a reranker, and there must be 2 or more.")
        if ablations.answers and answer_model is None:
            raise MmragError("Answering questions needs `answer_model`, the model that answers.")
        asked = templated(sample(eval_set.queries, limit, seed), query_template)
        self.eval_set = eval_set.with_queries(asked)
        hashes = indexed_pictures(searcher.index, eval_set)
        self.images = {i.image_id: i for i in eval_set.images if i.image_id in hashes}
        settings = {
            "k": k,
            "rerank_k": self.rerank_k,
            "metrics": self.metrics,
            "batch_size": batch_size,
            "seed": seed,
            "limit": limit,
            "queries": len(self.eval_set.queries),
            "exclude_query_image": eval_set.exclude_query_image,
            "ablations": ablations.settings(),
            **(self.answering.settings if self.answering else {"answer_model": None}),
            **(ranker.settings if ranker else {}),
            **({"query_template": query_template} if query_template is not None else {}),
            **({"protocol": eval_set.protocol.as_json()} if eval_set.protocol else {}),
            **({"rewriter": self.rewriter.configuration} if self.rewriter else {}),
        }
        several = max((len(one.images) for one in self.eval_set.queries), default=0)
        if several > 1:
            settings["several_pictures"] = several_note(searcher.encoder, several)
        self.pictures = query_picture_hashes(self.eval_set)
        self.fresh = new_run(eval_set, searcher, hashes, self.pictures, name, settings)

    def run(
        self,
        resume: bool,
        on_progress: Callable[[Progress], Any] | None,
        should_stop: Callable[[], bool] | None,
    ) -> Run:
        """Make or finish the run."""
        key = resume_key(self.fresh)
        run = self.store.resume(key) if resume else None
        if run is None:
            run = self.fresh
            self.store.start(run, key)
        carried = self._carry_over(run)
        before = sum(one.spent for one in self._budgets())
        stages = Stages(
            self.store,
            run.run_id,
            self.batch_size,
            on_progress,
            should_stop,
            self.ranker,
            self.pictures,
        )
        state = "interrupted"
        try:
            self._make(run, stages)
            state = "complete"
        except Cancelled:
            state = "stopped"
        except BudgetReached as reached:
            state = STOPPED_BY_BUDGET
            run.notes = [str(reached)]
        except GaveUp as gave:
            run.lost += gave.usage
            raise
        finally:
            run.state = state
            run.spent_usd = carried + sum(one.spent for one in self._budgets()) - before
            self._conclude(run)
        return run

    def _budgets(self) -> list[Budget]:
        """The budgets of all models that are asked, usually one for all."""
        found = [
            self.rewriter.budget if self.rewriter else None,
            self.reranker.budget if self.reranker else None,
            self.answering.model.budget if self.answering else None,
        ]
        return list({id(one): one for one in found if one is not None}.values())

    def _carry_over(self, run: Run) -> float:
        """Count what earlier commands spent on the run, in US dollars, towards its cost limit."""
        spent = max(run.spent_usd, self._usage(run).cost_usd or 0.0)
        for budget in self._budgets():
            budget.carry_over(run.run_id, spent)
        return spent

    def _usage(self, run: Run) -> Usage:
        """Usage of all requests whose outcome is known."""
        shuffles = range(1, 1 + (self.ablations.shuffles or 0))
        stages = [REWRITTEN, RERANKED, ANSWERED, *(SHUFFLE.format(number) for number in shuffles)]
        stages += [stage_name(number) for number in range(1, self.ablations.repeat)]
        stored = [one for stage in stages for one in self.store.read(run.run_id, stage).values()]
        return sum((one.usage for one in stored if one.usage), run.lost)

    def _make(self, run: Run, stages: Stages) -> None:
        """Run all stages in order; each resumes where it stopped."""
        variants = [Variant(query, query.query()) for query in self.eval_set.queries]
        there = self.store.read(run.run_id, RETRIEVAL) if self.retrieved else {}
        known = [one for query_id, one in self.retrieved.items() if query_id not in there]
        self.store.write(run.run_id, RETRIEVAL, known)
        rewritten = None
        if self.rewriter is not None:
            there |= {one.query_id: one for one in known}
            there = there or self.store.read(run.run_id, RETRIEVAL)
            variants, rewritten = stages.rewrite(self.rewriter, variants, there)
        first = stages.retrieve(
            RETRIEVAL,
            self.searcher,
            variants,
            self.k,
            exclude_query_image=self.eval_set.exclude_query_image,
            rewritten=rewritten,
        )
        if not run.latency_ms:
            run.latency_ms = measure_latency(
                self.searcher,
                variants,
                self.k,
                exclude_query_image=self.eval_set.exclude_query_image,
                seed=self.seed,
            )
        readable = [q for q in self.eval_set.queries if "reason" not in first[q.query_id].details]
        last = first
        if self.reranker is not None:
            last = stages.rerank(
                RERANKED, self.reranker, readable, first, self.images, self.rerank_k or 0
            )
        present = replace(self.eval_set, images=list(self.images.values()), queries=readable)
        setting = Setting(present, self.searcher, stages, first, self.k, self.metrics, self.seed)
        wanted = self.ablations
        if wanted.shuffles and self.reranker is not None:
            run.ablations["shuffles"] = shuffled(
                setting, self.reranker, self.images, self.rerank_k or 0, wanted.shuffles
            )
        if wanted.modality:
            run.ablations["modality"] = measure.modality(setting)
        if wanted.paraphrases:
            run.ablations["paraphrases"] = measure.paraphrases(setting)
        if wanted.index:
            run.ablations["index"] = measure.check_index(setting)
        if wanted.precision:
            run.ablations["precision"] = measure.check_precision(setting, wanted.precision)
        if wanted.repeat and self.reranker is not None:
            run.ablations["repeat"] = repetitions(
                setting,
                self.reranker,
                readable,
                last,
                self.images,
                self.rerank_k or 0,
                wanted.repeat,
            )
        if wanted.answers and self.answering is not None:
            run.ablations["answers"] = answer_questions(setting, last, self.images, self.answering)

    def _conclude(self, run: Run) -> None:
        """Score what is finished and store it."""
        first = self.store.read(run.run_id, RETRIEVAL)
        last = self.store.read(run.run_id, RERANKED) if self.reranker is not None else None
        run.rankings = {RETRIEVAL: first} if last is None else {RETRIEVAL: first, RERANKED: last}
        run.skipped = [
            {"query_id": query_id, "reason": str(one.details["reason"])}
            for query_id, one in first.items()
            if "reason" in one.details
        ]
        done = set(first if last is None else last) - {one["query_id"] for one in run.skipped}
        run.finished_queries = len(done)
        subsets = {i: one.details["subset"] for i, one in first.items() if "subset" in one.details}
        for stage, ranked in run.rankings.items():
            scores = score_rankings(
                {query_id: one.image_ids for query_id, one in ranked.items()},
                self.eval_set,
                self.metrics,
                query_ids=done,
                subset_orders=subsets,
            )
            run.scores[stage] = scores
            run.summaries[stage] = summarise(scores, self.seed)
        if self.reranker is not None:
            run.ceiling = self._ceiling(first, done)
        if last is not None:

            def score(orders: Mapping[str, list[str]]) -> Scores:
                return score_rankings(
                    orders, self.eval_set, self.metrics, query_ids=done, subset_orders=subsets
                )

            run.rerank_stages = rerank_stages(first, last, run.config["reranker"], score)
        run.timings_ms = percentiles({i: one for i, one in first.items() if i in done}, last)
        run.usage = self._usage(run)
        run.reranks = dict(
            Counter(str(one.details["status"]) for one in (last or {}).values() if one.details)
        )
        if self.rewriter is not None:
            keys = {"rewritten": "rewritten", "failed": "rewrite_problem"}
            run.rewrites = {
                name: sum(key in one.details for one in first.values())
                for name, key in keys.items()
            }
        run.notes = [note for note in run.notes if run.state == STOPPED_BY_BUDGET]
        run.notes += notes_on(run, len(self.eval_set.queries))
        note_labels(run, self.eval_set)
        run.finished = now()
        self.store.save(run)

    def _ceiling(self, first: Mapping[str, Ranked], done: set[str]) -> dict[str, float]:
        """Hit rate and recall of the first stage within the results that the reranker sees."""
        names = [f"{name}@{self.rerank_k}" for name in ("hit_rate", "R")]
        rankings = {query_id: one.image_ids for query_id, one in first.items()}
        scores = score_rankings(rankings, self.eval_set, names, query_ids=done)
        if not scores.query_ids:
            return {}
        return {name: float(values.mean()) for name, values in scores.values.items()}

    def _rerank_k(self, asked: int | None) -> int | None:
        if self.reranker is None:
            if asked is not None:
                raise MmragError("rerank_k needs a searcher with a reranker.")
            return None
        if asked is not None and isinstance(self.reranker, Cascade):
            raise MmragError("The stages say how many hits each reranks; leave rerank_k out.")
        depth = asked or self.reranker.depth or DEFAULT_RERANK_K
        if depth < 1:
            raise MmragError(f"rerank_k must be at least 1, not {depth}.")
        return int(min(depth, self.k))
