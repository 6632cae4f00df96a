"""`runs`, `compare`, `export` and `import-run`: the run store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.cli.run_output import comparison_json, show_run
from mmrag.errors import MmragError
from mmrag.runs.labels import LABELS
from mmrag.system.durable import write_file
from mmrag.system.words import counted

if TYPE_CHECKING:
    from mmrag.metrics.summary import Estimate
    from mmrag.runs.compare import Entry
    from mmrag.runs.run import Run
    from mmrag.runs.store import RunStore

# The exit status of `compare` when a condition of --fail-if holds.
GATE_FAILED = 3


@click.group(invoke_without_command=True)
@click.option("--eval-set", metavar="NAME", help="Only runs on the eval set of this name.")
@click.option("--limit", type=click.IntRange(1), help="Only this many of the newest.")
@click.option("--delete", metavar="RUN", help="Remove this run instead.")
@click.option(
    "--together",
    is_flag=True,
    help="Show runs of one name on one set, or on its parts, as one line with their spread.",
)
@json_option
@click.pass_context
def runs(
    context: click.Context,
    eval_set: str | None,
    limit: int | None,
    delete: str | None,
    together: bool,
    as_json: bool,
) -> None:
    """List the stored runs, newest first, or carry one to another machine.

    They are in MMRAG_HOME/runs.db, or where MMRAG_RUNS_URL says.

    \b
    Example:
      mmrag runs --eval-set catalogue
      mmrag runs export demo --out baseline.run.gz
    """
    if context.invoked_subcommand is not None:
        return
    from mmrag.runs.store import RunStore

    with RunStore() as store:
        if delete:
            run_id = store.delete(delete)
            print_json({"deleted": run_id}) if as_json else click.echo(f"Deleted {run_id}.")
            return
        found = store.runs(eval_set, limit)
        if together:
            _show_together(store, found, as_json)
            return
    if as_json:
        print_json(
            [
                {
                    "run_id": run.run_id,
                    "name": run.name,
                    "eval_set": run.eval_set.name,
                    "state": run.state,
                    "created": run.created,
                    "queries": run.summary.queries,
                    "primary_metric": run.eval_set.primary_metric,
                    "metrics": run.metrics,
                }
                for run in found
            ]
        )
        return
    for run in found:
        primary = run.eval_set.primary_metric
        value = f"{primary} {run.metrics[primary]:.3f}" if primary in run.metrics else ""
        click.echo(
            printable(
                f"{run.run_id}  {run.created[:16].replace('T', ' ')}  {value:20}  "
                f"{run.summary.queries:6} queries  {run.eval_set.name}: {run.name}"
                + (f"  [{run.label_note}]" if run.label_note else "")
                + ("" if run.state == "complete" else f"  [{run.state}]")
            )
        )
    if not found:
        click.echo("No runs yet; `mmrag evaluate EVAL_SET` makes one.")


def _show_together(store: RunStore, found: Sequence[Run], as_json: bool) -> None:
    """Print runs that belong together, such as the seeds of one model, one line per group."""
    from mmrag.runs.together import groups, spread_of
    from mmrag.runs.together import together as put_together

    made = [put_together([store.load(run.run_id) for run in some]) for some in groups(found)]
    if as_json:
        print_json(
            [
                {
                    "name": run.name,
                    "eval_set": run.eval_set.name,
                    "runs": run.config["together"]["runs"],
                    "metrics": run.metrics,
                    "spread": {name: asdict(o) for name, o in spread_of(run, run.stage).items()},
                }
                for run in made
            ]
        )
        return
    for run in made:
        primary = run.eval_set.primary_metric
        value = f"{primary} {run.metrics[primary]:.3f}" if primary in run.metrics else ""
        if over := spread_of(run, run.stage).get(primary):
            value += f" ± {over.sd:.3f} ({over.lowest:.3f} to {over.highest:.3f})"
        click.echo(printable(f"{value:45}  {run.eval_set.name}: {run.name}"))
    if not made:
        click.echo("No complete run yet; `mmrag evaluate EVAL_SET` makes one.")


@runs.command("export")
@click.argument("reference", metavar="RUN")
@click.option("--out", metavar="FILE", required=True, help="One gzipped file.")
@json_option
def export_(reference: str, out: str, as_json: bool) -> None:
    """Write a whole run as one file that `runs import` takes on another machine.

    \b
    Example:
      mmrag runs export demo --out baseline.run.gz
    """
    from mmrag.runs.store import RunStore
    from mmrag.runs.transfer import export_baseline

    with RunStore() as store:
        run = store.load(reference)
    written = str(export_baseline(run, out))
    if as_json:
        print_json({"run_id": run.run_id, "file": written})
    else:
        click.echo(f"Wrote {printable(written)}.")


@runs.command("import")
@click.argument("file", metavar="FILE")
@click.option("--eval-set", metavar="DIR", help="Its eval set on this machine. Default: by name.")
@json_option
def import_(file: str, eval_set: str | None, as_json: bool) -> None:
    """Store the run in a file that `runs export` wrote.

    \b
    Example:
      mmrag runs import baseline.run.gz
    """
    from mmrag.runs.store import RunStore
    from mmrag.runs.transfer import import_baseline

    with RunStore() as store:
        run, new = import_baseline(file, store, eval_set)
    if as_json:
        print_json({"run_id": run.run_id, "name": run.name, "new": new})
    else:
        said = "Imported" if new else "Already here:"
        click.echo(printable(f"{said} run {run.run_id} ({run.name}) on {run.eval_set.name}."))


@runs.command("note")
@click.argument("reference", metavar="RUN")
@click.argument("text")
@json_option
def note_(reference: str, text: str, as_json: bool) -> None:
    """Write a note on a run, replacing any earlier one; "" removes it.

    It appears among the run's notes wherever the run is shown, and its words find the run.

    \b
    Example:
      mmrag runs note demo "before the new photographs"
    """
    from mmrag.runs.store import RunStore

    with RunStore() as store:
        run_id = store.annotate(reference, text)
    print_json({"run_id": run_id, "note": text}) if as_json else click.echo(f"Noted on {run_id}.")


@click.command()
@click.argument("references", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--metric", "metrics", multiple=True, metavar="M", help="Only this metric (repeatable)."
)
@click.option("--all-pairs", is_flag=True, help="Compare every pair, not only each with the first.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the intervals and the tests.",
)
@click.option("--mixed-protocols", is_flag=True, help="Pair runs of different protocols.")
@click.option(
    "--overlap",
    is_flag=True,
    help="How alike the rankings are, without labels: RBO, Kendall's tau, same first hits.",
)
@click.option(
    "--label",
    type=click.Choice(LABELS),
    help="Only queries that `evaluate --ablate-modality` gave this label.",
)
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="CONDITION",
    help="Exit with status 3 when it holds (repeatable): 'hit_rate@1 < -0.01' for the difference, "
    "'hit_rate@1 high < 0' for an end of its interval, 'hit_rate@1 p < 0.05'; joined by 'and'.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "markdown", "junit"]),
    default="text",
    show_default=True,
    help="For a terminal, a pull request, or a build server.",
)
@click.option("--out", metavar="FILE", help="Write to this file instead of standard output.")
@json_option
def compare(
    references: tuple[str, ...],
    metrics: tuple[str, ...],
    all_pairs: bool,
    seed: int,
    mixed_protocols: bool,
    overlap: bool,
    label: str | None,
    fail_if: tuple[str, ...],
    format_: str,
    out: str | None,
    as_json: bool,
) -> int:
    """Compare runs query by query: differences, intervals and p-values.

    A run is named by its id, the beginning of it, its name (the newest of that name) or "latest";
    RUN:retrieval is its ranking before reranking; all:NAME is all runs of a name on one set or its
    parts, as one entry with their spread. A single run with a reranker is compared with its own
    retrieval.

    \b
    Example:
      mmrag compare demo-clip demo
      mmrag compare baseline latest --fail-if "hit_rate@1 < -0.01" --format junit --out gate.xml
    """
    from mmrag.runs import gate
    from mmrag.runs.compare import compare_runs, open_entry, stage_entries
    from mmrag.runs.store import RunStore

    if as_json and (format_ != "text" or out is not None):
        raise click.UsageError("--json goes without --format and --out.")
    conditions = [gate.parse_condition(text) for text in fail_if]

    with RunStore() as store:
        entries = [open_entry(store, reference) for reference in references]
    if overlap:
        _show_overlaps(entries, as_json)
        return 0
    if len(entries) == 1:
        entries = stage_entries(entries[0].run)
    found = compare_runs(
        entries,
        metrics=metrics or None,
        all_pairs=all_pairs,
        seed=seed,
        mixed_protocols=mixed_protocols,
        label=label,
    )
    verdicts = gate.judge(found, conditions)
    failed = [verdict for verdict in verdicts if verdict.failed]
    if not as_json:
        from mmrag.cli.tables import comparison_lines

        if format_ == "text":
            lines = [*comparison_lines(found), *(printable(one.sentence) for one in verdicts)]
            text = "\n".join(lines) + "\n"
        else:
            text = {"markdown": gate.markdown, "junit": gate.junit}[format_](found, verdicts)
        if out is None:
            click.echo(text, nl=False)
        else:
            write_file(Path(out), text)
            click.echo(f"Wrote {printable(out)}.")
        for verdict in failed:
            click.echo(printable(verdict.sentence), err=True)
        return GATE_FAILED if failed else 0
    gate_json = [asdict(verdict) for verdict in verdicts]
    print_json({**comparison_json(found), "gate": gate_json})
    return GATE_FAILED if failed else 0


def _show_overlaps(entries: Sequence[Entry], as_json: bool) -> None:
    from mmrag.runs.overlap import overlap_of

    if len(entries) < 2:
        raise MmragError("An overlap needs two runs or more.")
    first, *others = entries
    found = [(entry, overlap_of(first, entry)) for entry in others]
    if as_json:
        print_json([{"a": first.label, "b": e.label, **asdict(one)} for e, one in found])
        return
    for entry, one in found:
        click.echo(
            printable(f"{entry.label} against {first.label}, {counted(one.queries, 'query')}:")
        )
        click.echo(f"  rank-biased overlap (p = {one.persistence}): {_interval(one.rbo)}")
        click.echo(f"  Kendall's tau of the images that both rank: {_interval(one.tau)}")
        click.echo(f"  same first hit: {_interval(one.same_first)}")
        for query_id, a, b in one.other_first[:5]:
            click.echo(printable(f"  {query_id}: {a}, {b}"))


def _interval(one: Estimate | None) -> str:
    if one is None:
        return "no query has two images in common"
    return f"{one.mean:.3f} ({one.ci95[0]:.3f} to {one.ci95[1]:.3f})"


@click.command()
@click.argument("reference", metavar="RUN")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["trec", "csv", "json", "parquet", "html", "mteb", "cirr", "circo"]),
    required=True,
    help="File format.",
)
@click.option(
    "--out", metavar="FILE", help="File, or folder for two files. Default: standard output."
)
@click.option(
    "--stage",
    type=click.Choice(["retrieval", "reranked"]),
    help="For trec, mteb, cirr and circo. Default: the run's last stage.",
)
@json_option
def export(reference: str, format_: str, out: str | None, stage: str | None, as_json: bool) -> None:
    """Write a run as a file: a TREC run, a table, a page, or a benchmark's submission.

    mteb writes the result and the model's metadata as MTEB's results repository keeps them.

    RUN is an id, the beginning of one, a name, or "latest".

    \b
    Example:
      mmrag export latest --format html --out report.html
    """
    from mmrag.runs.exports import export_run, write_export
    from mmrag.runs.store import RunStore

    if as_json and out is None:
        raise click.UsageError("--json reports what was written; name it with --out.")
    with closing(RunStore()) as store:
        run = store.load(reference)
    if out is not None:
        written = [str(path) for path in write_export(run, format_, out, stage)]
        if as_json:
            print_json({"run_id": run.run_id, "format": format_, "files": written})
        else:
            click.echo("\n".join(f"Wrote {printable(path)}." for path in written))
        return
    files = export_run(run, format_, stage)
    if len(files) > 1:
        names = ", ".join(name for name, _ in files)
        raise MmragError(f"{format_} makes {len(files)} files ({names}); name a folder with --out.")
    if format_ == "parquet" and sys.stdout.isatty():
        raise MmragError("Parquet is not for a terminal; name a file with --out.")
    sys.stdout.buffer.write(files[0][1])
    sys.stdout.buffer.flush()


@click.command("import-run")
@click.argument("file", metavar="FILE")
@click.option("--eval-set", metavar="DIR", required=True, help="The eval set it answers.")
@click.option("--name", default="", help="Name of the run. Default: the file's tag or name.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="M",
    help="Metric, e.g. nDCG@10 (repeatable); `mmrag metrics` lists them.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the intervals and the tests.",
)
@click.option("--protocol", metavar="P", help="By name or FILE.toml. Default: the set's own.")
@click.option(
    "--duplicates",
    type=click.Choice(["refuse", "first"]),
    default="refuse",
    show_default=True,
    help="If a ranking holds an image twice: refuse the file, or count the image's first place.",
)
@json_option
def import_run(
    file: str,
    eval_set: str,
    name: str,
    metrics: tuple[str, ...],
    seed: int,
    protocol: str | None,
    duplicates: Literal["refuse", "first"],
    as_json: bool,
) -> None:
    """Score rankings from elsewhere and keep them as a run.

    FILE is a TREC run, or a submission to the server of CIRR or CIRCO.

    \b
    Example:
      mmrag import-run bm25.trec --eval-set eval_sets/catalogue
    """
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.eval_sets.protocols import with_protocol
    from mmrag.labels.trust import note_labels
    from mmrag.runs.importing import import_run as import_file
    from mmrag.runs.store import RunStore

    labelled = with_protocol(EvalSet.load(eval_set), protocol)
    with RunStore() as store:
        run = import_file(
            file,
            labelled,
            store,
            name=name,
            metrics=list(metrics) or None,
            seed=seed,
            duplicates=duplicates,
        )
        note_labels(run, labelled)
        store.save(run)
    show_run(run, as_json)
