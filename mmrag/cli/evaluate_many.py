"""Output of `evaluate` before anything is asked, and for several rerankers together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import print_json, printable
from mmrag.cli.rerank_options import RerankChoice
from mmrag.cli.run_output import summary_json

if TYPE_CHECKING:
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.expected import Expected
    from mmrag.evaluation.question_answering import Answering
    from mmrag.rerank.reranker import Reranker
    from mmrag.runs.compare import Comparison, Entry
    from mmrag.runs.run import Run
    from mmrag.search.rewrite import Rewriter

NONE = "none"


def choices(choice: RerankChoice) -> list[RerankChoice]:
    """One choice for each reranker that `--rerank A,B` names; "none" is no reranking.

    "A@100,B@20" are the stages of one reranker, not several.
    """
    from mmrag.rerank.cascade import parse_stages

    named = choice.rerank or NONE
    names = [named] if parse_stages(named) else named.split(",")
    found = dict.fromkeys(name.strip() for name in names if name.strip())
    return [replace(choice, rerank=None if name == NONE else name) for name in found]


def run_name(name: str, reranker: Reranker | None, rerankers: int) -> str:
    """The run's name, with the reranker in it if there are several."""
    if not name or rerankers == 1:
        return name
    return f"{name} + {reranker.name if reranker else NONE}"


def show_expected(
    eval_sets: Sequence[EvalSet],
    rerankers: Sequence[Reranker | None],
    rewriter: Rewriter | None,
    choice: RerankChoice,
    encoder: str | None,
    limit: int | None,
    as_json: bool,
    *,
    times: int,
    seed: int,
    answering: Answering | None,
) -> None:
    """Print what evaluations will take; reranking is done `times` times."""
    from mmrag.encoders import default_encoder_name
    from mmrag.evaluation.evaluate import DEFAULT_RERANK_K
    from mmrag.evaluation.expected import expect, expect_answers, expect_rewriting
    from mmrag.evaluation.run_header import sample
    from mmrag.runs.store import RunStore

    with RunStore() as store:
        expected = {
            one.name: [
                expect(
                    one,
                    reranker,
                    rerank_k=(reranker.depth if reranker else None) or DEFAULT_RERANK_K,
                    queries=min(limit or len(one.queries), len(one.queries)),
                    encoder=encoder or default_encoder_name(),
                    store=store,
                    times=times,
                )
                for reranker in rerankers
            ]
            for one in eval_sets
        }
        for one in eval_sets if answering else ():
            assert answering is not None
            asked = one.with_queries(sample(one.queries, limit, seed))
            expected[one.name].append(expect_answers(asked, answering))
        for one in eval_sets if rewriter else ():
            assert rewriter is not None
            queries = min(limit or len(one.queries), len(one.queries))
            expected[one.name].insert(0, expect_rewriting(one, rewriter, queries))
    if as_json:
        print_json({"dry_run": expected})
        return
    for name, some in expected.items():
        click.echo(f"{name}:")
        for line in expected_lines(some):
            click.echo(line)


def show_many(runs: Sequence[Run], as_json: bool) -> None:
    """Print runs of several rerankers, set by set."""
    by_set: dict[str, list[Run]] = {}
    for run in runs:
        by_set.setdefault(run.eval_set.name, []).append(run)
    if as_json:
        print_json(
            {
                "runs": [summary_json(run) for run in runs],
                "comparisons": {name: many_json(some) for name, some in by_set.items()},
            }
        )
        return
    for name, some in by_set.items():
        click.echo(f"{name}:")
        for line in many_lines(some):
            click.echo(line)


def expected_lines(expected: Sequence[Expected]) -> Iterator[str]:
    """The expected effort of evaluations, as a table."""
    from mmrag.cli.tables import aligned

    head = ["", "queries", "requests", "prompt tokens", "answer tokens", "USD", "minutes"]
    rows = [head]
    for one in expected:
        cost = "no price known" if one.cost_usd is None else f"{one.cost_usd:.4f}"
        minutes = "not known" if one.seconds is None else f"{one.seconds / 60:.1f}"
        minutes = "within a day" if one.batch else minutes
        counts = (one.queries, one.requests, one.prompt_tokens, one.completion_tokens)
        rows.append([one.reranker, *(f"{count:,}" for count in counts), cost, minutes])
    yield from aligned(rows)
    yield "Nothing was asked. Tokens are counted from prompts that were made, pictures by the"
    yield "model's own rule; thought is what is common at the effort; minutes are those of earlier"
    yield "runs here, else assumed."


def compared(runs: Sequence[Run]) -> Comparison:
    """Compare the runs with no reranking: the first run without any, else the first's retrieval."""
    from mmrag.runs.compare import Entry, compare_runs
    from mmrag.runs.run import RETRIEVAL

    plain = next((run for run in runs if run.stage == RETRIEVAL), None)
    entries = [Entry(plain or runs[0], RETRIEVAL)]
    entries += [Entry(run, run.stage) for run in runs if run is not plain]
    return compare_runs(entries)


def many_lines(runs: Sequence[Run]) -> Iterator[str]:
    """Several rerankers on one set: gains, recall, costs, and the tests."""
    from mmrag.cli.tables import aligned, comparison_lines

    found = compared(runs)
    overall = [entry.run.summaries[entry.stage].overall for entry in found.entries]
    recall = [name for name in overall[0] if name.startswith("R@")]
    shown = [
        one
        for one in dict.fromkeys([found.primary_metric, *recall])
        if all(one in some for some in overall)
    ]
    for entry in found.entries:
        if entry.stage == entry.run.stage and entry.run.warning:
            yield printable(f"Warning: {entry.label}: {entry.run.warning}")
    rows = [["", *shown, "seconds a query", "USD per 1,000 queries"]]
    for number, entry in enumerate(found.entries, start=1):
        one = costs(entry)
        seconds, usd = one["seconds_per_query"], one["usd_per_1000_queries"]
        mark = "*" if entry.stage == entry.run.stage and entry.run.warning else ""
        rows.append(
            [
                f"({number}) {one['reranker']}",
                *(f"{overall[number - 1][name].mean:.3f}{mark}" for name in shown),
                "" if seconds is None else f"{seconds:.3f}",
                "no price known" if usd is None else f"{usd:.2f}",
            ]
        )
    yield from aligned(rows)
    yield ""
    yield from comparison_lines(found)


def many_json(runs: Sequence[Run]) -> dict[str, Any]:
    """The contents of `many_lines` as JSON, with each pair's tests."""
    found = compared(runs)
    return {
        "rerankers": [costs(entry) for entry in found.entries],
        "pairs": [asdict(pair) for pair in found.pairs],
        "notes": found.notes,
    }


def costs(entry: Entry) -> dict[str, Any]:
    """One reranker: its name, and the seconds and US dollars that it takes."""
    from mmrag.runs.run import RERANKED

    run = entry.run
    total = run.stage_timings(entry.stage).get("total")
    reranked = entry.stage == RERANKED
    spent = run.stage_cost(entry.stage)
    asked = max(1, run.finished_queries)
    return {
        "reranker": run.config["reranker"]["name"] if reranked else NONE,
        "run_id": run.run_id,
        "stage": entry.stage,
        "seconds_per_query": total["mean"] / 1000 if total else None,
        "usd_per_1000_queries": None if spent is None else 1000 * spent / asked,
    }
