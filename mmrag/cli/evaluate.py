"""`evaluate`: run and score a labelled query set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.distributed_options import check_engine, encoder_spec, engine_options
from mmrag.cli.evaluate_many import choices, run_name, show_expected, show_many
from mmrag.cli.options import (
    Numbers,
    encoder_options,
    json_option,
    open_encoder,
    print_json,
    printable,
    warn_of_other_pictures,
)
from mmrag.cli.rerank_options import (
    RerankChoice,
    open_answering_model,
    open_reranker,
    open_rewriter,
    rerank_options,
)
from mmrag.cli.run_output import show_run, summary_json

if TYPE_CHECKING:
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.stages import Ranker
    from mmrag.rerank.reranker import Reranker
    from mmrag.runs.run import Run
    from mmrag.search.searcher import Searcher
    from mmrag.system.jobs import Progress


@click.command()
@click.argument("eval_set")
@click.option(
    "-k",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="Depth to which rankings are kept.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="M",
    help="Metric, e.g. nDCG@10 (repeatable); `mmrag metrics` lists them.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Ask only this many queries, drawn at random."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the sample, the intervals and the tests.",
)
@click.option("--name", default="", help="Name of the run. Default: encoder and reranker.")
@click.option(
    "--embed",
    type=click.Choice(["image", "text", "both"]),
    default="image",
    show_default=True,
    help="What to embed of each gallery image.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Queries encoded and searched together.",
)
@click.option("--uri", metavar="U", help="Milvus. Default: MMRAG_URI, else the local store.")
@click.option(
    "--collection",
    metavar="C",
    help="An adopted collection instead of one for the set; its pictures are matched by path.",
)
@click.option("--resume/--no-resume", default=True, help="Resume an interrupted evaluation.")
@click.option(
    "--ablate-modality",
    is_flag=True,
    help="Also ask each query by its image alone and by its text alone.",
)
@click.option("--paraphrases", is_flag=True, help="Also ask each query in its other wordings.")
@click.option(
    "--check-precision",
    type=click.Choice(["bf16", "fp16"]),
    help="Also compare this precision with float32, in memory.",
)
@click.option(
    "--check-index", is_flag=True, help="Also compare the index's results with exact search."
)
@click.option(
    "--shuffles",
    type=click.IntRange(2, 1000),
    metavar="N",
    help="Also rerank N random orders of the candidates, to see how rankings and metrics vary.",
)
@click.option("--answers", is_flag=True, help="Answer the set's questions with a vision model.")
@click.option(
    "--answer-model",
    metavar="M",
    default="vision",
    show_default=True,
    help="Vision model that answers.",
)
@click.option(
    "--answer-judge", metavar="M", help="Also let this model judge which answers are right."
)
@click.option(
    "--protocol",
    metavar="P",
    help="Protocol to ask and score by: a name (`mmrag eval-set protocols`) or FILE.toml. Default: "
    "the set's own.",
)
@click.option(
    "--query-template",
    metavar="T",
    help='What is asked instead of each query\'s text, such as "{text}, {shared_concept}": its '
    "text, category, or any key of its metadata.",
)
@click.option(
    "--from-run",
    metavar="FILE_OR_RUN",
    help="Rerank these rankings instead of retrieving: a run file as `import-run` takes it, or a "
    "stored run. Needs --rerank.",
)
@click.option(
    "--search-url",
    metavar="URL",
    help="Ask your own search service instead of encoder and index: it gets JSON with picture and "
    "text and returns ids.",
)
@click.option(
    "--repeat",
    type=click.IntRange(2, 100),
    metavar="N",
    help="Ask the reranker N times, and report the spread of every metric.",
)
@click.option(
    "--batch",
    is_flag=True,
    help="Ask vision models through the Batch API: half the price, within a day. If interrupted, "
    "the same command resumes waiting.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show what it would take and cost, without asking any model."
)
@rerank_options
@partial(encoder_options, weights=Numbers())
@engine_options
@json_option
def evaluate(
    eval_set: str,
    k: int,
    metrics: tuple[str, ...],
    limit: int | None,
    seed: int,
    name: str,
    embed: str,
    batch_size: int,
    uri: str | None,
    collection: str | None,
    resume: bool,
    ablate_modality: bool,
    paraphrases: bool,
    check_precision: str | None,
    check_index: bool,
    shuffles: int | None,
    answers: bool,
    answer_model: str,
    protocol: str | None,
    query_template: str | None,
    from_run: str | None,
    search_url: str | None,
    repeat: int | None,
    batch: bool,
    dry_run: bool,
    answer_judge: str | None,
    reranking: RerankChoice,
    engine: str,
    address: str | None,
    workers: int | None,
    as_json: bool,
    image_weight: list[float] | None,
    **encoder: Any,
) -> int:
    """Score a configuration on the labelled queries of EVAL_SET and keep the run.

    The gallery is first indexed into a collection of its own; images already there are not embedded
    again. Run the command again to resume an interrupted evaluation. With --rerank, the first
    --rerank-k results are reordered, and both rankings are scored. Several rerankers, such as
    none,vision,encoder:demo, are compared in one table, each against no reranking; with "@" and a
    depth after every name, as in encoder:demo@100,vision@9, they are stages of one. With --rewrite,
    a model rewords every query first; rerankers see the original. Several image weights
    (--image-weight 0.1,0.3,0.5) share one index; each is a run, compared with the first. A folder
    of several eval sets, as FashionIQ's import makes, is evaluated set by set, with the mean over
    the sets at the end.

    \b
    Example:
      mmrag evaluate eval_sets/catalogue --rerank encoder:demo
      mmrag evaluate eval_sets/catalogue --from-run bm25.trec --rerank encoder:demo
      mmrag evaluate eval_sets/catalogue --search-url http://127.0.0.1:8000/search
      mmrag compare RUN RUN
    """
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.eval_sets.protocols import with_protocol
    from mmrag.evaluation.ablations import Ablations
    from mmrag.evaluation.evaluate import evaluate as run_evaluation
    from mmrag.evaluation.gallery_index import adopted_index, index_eval_set
    from mmrag.evaluation.run_header import run_label
    from mmrag.rerank.cascade import Cascade
    from mmrag.runs.run import RETRIEVAL, STOPPED_BY_BUDGET
    from mmrag.runs.store import RunStore
    from mmrag.search.searcher import Searcher
    from mmrag.vision.budget import Budget

    if shuffles and not reranking.rerank:
        raise click.UsageError("--shuffles needs --rerank.")
    check_engine(engine, address=address, workers=workers)
    if check_precision:
        if encoder["precision"] not in ("auto", "fp32"):
            raise click.UsageError("--check-precision compares with --precision fp32.")
        encoder["precision"] = "fp32"
    budget = Budget(reranking.max_cost)
    answering = None
    if answers:
        from mmrag.evaluation.question_answering import Answering

        asked = (answer_model, answer_judge)
        model, judge = (open_answering_model(m, reranking, budget) if m else None for m in asked)
        assert model is not None
        answering = Answering(model, judge, reranking.concurrency)
    labelled_sets = [
        with_protocol(EvalSet.load(folder), protocol) for folder in set_folders(Path(eval_set))
    ]
    chosen = choices(reranking)
    rerankers = [
        open_reranker(
            one,
            device=encoder["device"],
            precision=encoder["precision"],
            budget=budget,
            batch=batch,
        )
        for one in chosen
    ]
    for one in rerankers:
        if isinstance(one, Cascade):
            k = max(k, one.depth or 0)
    if repeat and all(one is None for one in rerankers):
        raise click.UsageError("--repeat needs --rerank.")
    rewriter = open_rewriter(reranking, budget)
    if rewriter is not None and (from_run is not None or search_url is not None):
        raise click.UsageError("--rewrite goes with an encoder, which reads the new words.")
    if dry_run:
        show_expected(
            labelled_sets,
            rerankers,
            rewriter,
            reranking,
            encoder["encoder"],
            limit,
            as_json,
            times=(repeat or 1) + (shuffles or 0),
            seed=seed,
            answering=answering,
        )
        return 0
    if from_run is not None:
        (reranker, *more) = rerankers
        if reranker is None or more or len(labelled_sets) != 1:
            raise click.UsageError("--from-run goes with one --rerank and one eval set.")
        return _rerank_given(
            from_run,
            labelled_sets[0],
            reranker,
            reranking.rerank_k,
            name,
            resume,
            as_json,
            query_template,
        )
    if search_url is not None:
        (reranker, *more) = rerankers
        if more or len(labelled_sets) != 1:
            raise click.UsageError("--search-url goes with one eval set and at most one --rerank.")
        return _search_elsewhere(
            search_url,
            labelled_sets[0],
            reranker,
            reranking,
            name,
            as_json,
            k=k,
            metrics=list(metrics) or None,
            seed=seed,
            limit=limit,
            query_template=query_template,
        )
    weights: Sequence[float | None] = image_weight or [None]
    if len(weights) > 1 and len(rerankers) > 1:
        raise click.UsageError("Give several image weights or several rerankers, not both.")
    loaded = open_encoder(image_weight=weights[0], **encoder)
    images = chain.from_iterable(one.images for one in labelled_sets)
    warn_of_other_pictures(loaded.info.name, (image.path for image in images))
    bars = _Bars()
    runs: list[Run] = []
    with RunStore() as store, bars:
        for weight, labelled in product(weights, labelled_sets):
            if weight != weights[0] and labelled is labelled_sets[0]:
                loaded = open_encoder(image_weight=weight, **encoder)
            shown = ""
            if len(weights) > 1:
                only = rerankers[0]
                again = rewriter.name if rewriter else None
                label = run_label(loaded.info.name, only.name if only else None, again)
                shown = f"{name or label}, image weight {weight:g}"
            options = {**encoder, "image_weight": weight}
            if collection is not None:
                index = adopted_index(labelled, loaded, collection, uri)
            else:
                index, _ = index_eval_set(
                    labelled,
                    loaded,
                    uri,
                    embed=embed,
                    batch_size=batch_size,
                    progress=bars.counter("indexing", len(labelled.images), "img"),
                )
            with index:
                retrieved = None
                for reranker in rerankers:
                    searcher = Searcher(index, loaded, reranker, rewriter)
                    with _ranker(engine, options, searcher, address, workers) as ranker:
                        run = run_evaluation(
                            labelled,
                            searcher,
                            k,
                            rerank_k=reranking.rerank_k if reranker else None,
                            metrics=metrics or None,
                            ablations=Ablations(
                                modality=ablate_modality,
                                paraphrases=paraphrases,
                                precision=check_precision,
                                index=check_index,
                                answers=answers,
                                repeat=(repeat or 0) if reranker else 0,
                                shuffles=shuffles if reranker else None,
                            ),
                            store=store,
                            name=shown or run_name(name, reranker, len(rerankers)),
                            seed=seed,
                            limit=limit,
                            batch_size=batch_size,
                            resume=resume,
                            answer_model=answering,
                            on_progress=bars.show,
                            ranker=ranker,
                            retrieved=retrieved,
                            query_template=query_template,
                        )
                    runs.append(run)
                    retrieved = run.rankings.get(RETRIEVAL)
                    if run.state != "complete":
                        break
            if runs[-1].state != "complete":
                break
    if len(weights) > 1:
        _show_sweep([runs[i :: len(labelled_sets)] for i in range(len(labelled_sets))], as_json)
    elif len(rerankers) > 1:
        show_many(runs, as_json)
    elif len(labelled_sets) == 1:
        show_run(runs[0], as_json)
    else:
        _show_several(runs, as_json)
    if runs[-1].state != "complete":
        how = "with a higher --max-cost " if runs[-1].state == STOPPED_BY_BUDGET else ""
        print(f"Not complete: {runs[-1].state}. The same command {how}goes on.", file=sys.stderr)
        return 1
    warnings = [run.warning for run in runs if run.warning]
    for warning in warnings:
        print(warning, file=sys.stderr)
    return 1 if warnings else 0


def _rerank_given(
    reference: str,
    labelled: EvalSet,
    reranker: Reranker,
    rerank_k: int | None,
    name: str,
    resume: bool,
    as_json: bool,
    query_template: str | None,
) -> int:
    """Rerank a run from a file or from the store."""
    from mmrag.evaluation.from_run import rerank_run
    from mmrag.runs.importing import read_run
    from mmrag.runs.store import RunStore

    with RunStore() as store, _Bars() as bars:
        is_file = Path(reference).is_file()
        first = read_run(reference, labelled) if is_file else store.load(reference)
        run = rerank_run(
            first,
            labelled,
            reranker,
            store,
            rerank_k=rerank_k,
            query_template=query_template,
            name=name,
            resume=resume,
            on_progress=bars.show,
        )
    show_run(run, as_json)
    if run.state != "complete":
        print(f"Not complete: {run.state}. The same command goes on.", file=sys.stderr)
        return 1
    if run.warning:
        print(run.warning, file=sys.stderr)
    return 1 if run.warning else 0


def _search_elsewhere(
    url: str,
    labelled: EvalSet,
    reranker: Reranker | None,
    reranking: RerankChoice,
    name: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Score a search service; its rankings may be reranked here."""
    from mmrag.evaluation.from_run import rerank_run
    from mmrag.evaluation.search_url import search_url
    from mmrag.runs.store import RunStore

    with RunStore() as store, _Bars() as bars:
        run = search_url(
            url,
            labelled,
            store,
            name=name,
            timeout=reranking.timeout,
            concurrency=reranking.concurrency,
            on_progress=bars.show,
            **options,
        )
        if reranker is not None:
            depth = reranking.rerank_k
            run = rerank_run(run, labelled, reranker, store, rerank_k=depth, on_progress=bars.show)
    show_run(run, as_json)
    return 0 if run.state == "complete" else 1


def _ranker(
    engine: str,
    encoder: dict[str, Any],
    searcher: Searcher,
    address: str | None,
    workers: int | None,
) -> AbstractContextManager[Ranker | None]:
    """The ranker: Ray workers, or None for this process alone."""
    if engine != "ray":
        return nullcontext()
    from mmrag.distributed.ray_ranker import ray_ranker

    return ray_ranker(encoder_spec(encoder), searcher, address=address, workers=workers)


def set_folders(folder: Path) -> list[Path]:
    """An eval set's folder itself, or the eval sets in it, such as FashionIQ's three."""
    inside = sorted(head.parent for head in folder.glob("*/eval_set.json"))
    return [folder] if (folder / "eval_set.json").is_file() or not inside else inside


def mean_over_sets(runs: Sequence[Run]) -> dict[str, float]:
    """Each metric's mean over runs on several eval sets, every set with the same weight.

    FashionIQ reports its score this way (H. Wu et al.: "Fashion IQ", CVPR 2021).
    """
    shared = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    return {name: sum(run.metrics[name] for run in runs) / len(runs) for name in shared}


def _show_several(runs: Sequence[Run], as_json: bool) -> None:
    from mmrag.runs.published import beside

    mean = mean_over_sets(runs)
    if as_json:
        print_json({"runs": [summary_json(run) for run in runs], "mean": mean})
        return
    for run in runs:
        show_run(run, as_json)
        click.echo("")
    click.echo(f"Mean over {len(runs)} sets:")
    for metric, value in mean.items():
        click.echo(f"  {metric:24} {value:.4f}")
    for one in beside(runs):
        click.echo(printable(one.sentence + "."))


def _show_sweep(by_set: Sequence[Sequence[Run]], as_json: bool) -> None:
    """Print runs that differ in one setting, compared with the first, set by set."""
    from mmrag.cli.run_output import comparison_json
    from mmrag.cli.tables import comparison_lines
    from mmrag.runs.compare import compare_runs

    found = [compare_runs(runs) for runs in by_set if len(runs) > 1]
    if as_json:
        runs = [summary_json(run) for some in by_set for run in some]
        print_json({"runs": runs, "comparisons": [comparison_json(one) for one in found]})
        return
    for one in found:
        click.echo(f"{one.entries[0].run.eval_set.name}:")
        for line in comparison_lines(one):
            click.echo(line)


class _Bars:
    """Progress bars on standard error, one for each stage as it starts."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def counter(self, stage: str, total: int, unit: str) -> Any:
        """A function that advances a new bar by a number of steps."""
        self._begin(stage, total, unit)
        return self._bar.update

    def show(self, progress: Progress) -> None:
        """Update the stage's bar."""
        if progress.stage != self._stage:
            self._begin(progress.stage, progress.total, "query", progress.done)
        self._bar.n = progress.done
        self._bar.refresh() if progress.done == progress.total else self._bar.update(0)

    def _begin(self, stage: str, total: int, unit: str, initial: int = 0) -> None:
        from mmrag.cli.progress import progress_bar

        if self._bar is not None:
            self._bar.close()
        self._stage = stage
        self._bar = progress_bar(total=total, initial=initial, unit=unit, desc=stage.capitalize())
