"""`eval-set`: import, check and describe labelled query sets."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmrag.cli import labels
from mmrag.cli.options import json_option, print_json, printable
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.exporters import EXPORTERS, export_eval_set
from mmrag.eval_sets.importers import IMPORTERS, import_eval_set, import_options
from mmrag.eval_sets.protocols import benchmarks, find_protocol, protocols, with_protocol
from mmrag.metrics.resolution import Resolution, resolution, resolution_of
from mmrag.system.words import counted
from mmrag.types import Skipped

SHOWN_MISSING, SHOWN_PROBLEMS, SHOWN_CATEGORIES = 5, 50, 20


@click.group(name="eval-set")
def eval_set() -> None:
    """Import, make, label, check and describe query sets."""


for _command in labels.COMMANDS:
    eval_set.add_command(_command)


@eval_set.command(name="import")
@click.argument("format", type=click.Choice(sorted(IMPORTERS)))
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--split",
    help="Which split. Default: val; for beir, test. genecis: the task, such as change_object; "
    "circus: the label, such as validated or shortcut_free; pinpoint: queries (one per wording) or "
    "paraphrases.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the pictures, if not in their usual place below SOURCE.",
)
@click.option(
    "--category",
    type=click.Choice(["all", "dress", "shirt", "toptee", "cirr", "fashioniq", "lasco", "circo"]),
    help="fashioniq: which queries; all (the default) makes an eval set per category in "
    "DESTINATION, or a single one if the protocol has one gallery for all. circus: which "
    "benchmark.",
)
@click.option(
    "--gallery",
    type=click.Choice(["split", "all", "together"]),
    help="Images to search: the split's (the default), every split's, or (fashioniq) all "
    "categories together.",
)
@click.option(
    "--protocol",
    metavar="P",
    help="Protocol, by name (`mmrag eval-set protocols` lists them) or FILE.toml.",
)
@json_option
def import_(
    format: str,
    source: Path,
    destination: Path,
    split: str | None,
    images: Path | None,
    category: str | None,
    gallery: str | None,
    protocol: str | None,
    as_json: bool,
) -> None:
    """Make an eval set from SOURCE, a data set in FORMAT; its pictures stay where they are.

    The annotation files are enough; missing pictures are listed, and found if they are added later.

    \b
    Example:
      mmrag eval-set import cirr data/cirr cirr-val --split val
      mmrag eval-set import cirr data/cirr cirr-vista --protocol vista
      mmrag eval-set import fashioniq data/fashion-iq fashioniq --images pictures
      mmrag eval-set import folder photos-by-class same-class
    """
    given: dict[str, Any] = {
        "split": split,
        "images": images,
        "category": category,
        "gallery": gallery,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(options.keys() - import_options(format)):
        raise click.UsageError(f"The format {format} takes no --{unknown[0]}.")
    if protocol is not None:
        options["protocol"] = protocol
    if format == "fashioniq" and category in (None, "all"):
        options["category"] = "all"
    if format == "fashioniq" and options["category"] == "all" and not _together(gallery, protocol):
        from mmrag.eval_sets.importers.fashioniq import CATEGORIES

        sets = [
            import_eval_set(format, source, destination / one, **{**options, "category": one})
            for one in CATEGORIES
        ]
        described = [_description(one, one.missing()) for one in sets]
        if as_json:
            print_json({"sets": described})
        else:
            for one in described:
                _show(one)
        return
    imported = import_eval_set(format, source, destination, **options)
    description = _description(imported, imported.missing())
    if as_json:
        print_json(description)
    else:
        _show(description)


@eval_set.command("export")
@click.argument("folder")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--format", "format_", type=click.Choice(sorted(EXPORTERS)), required=True, help="Layout."
)
@click.option("--protocol", metavar="P", help="By name or FILE.toml. Default: the set's own.")
@json_option
def export_(
    folder: str, destination: Path, format_: str, protocol: str | None, as_json: bool
) -> None:
    """Write an eval set with its pictures in the layout of another tool.

    \b
    Example:
      mmrag eval-set export eval_sets/catalogue catalogue-mteb --format mteb
    """
    export_eval_set(with_protocol(EvalSet.load(folder), protocol), format_, destination)
    if as_json:
        print_json({"folder": str(destination), "format": format_})
    else:
        click.echo(printable(f"Wrote {destination}."))


def _together(gallery: str | None, protocol: str | None) -> bool:
    """Whether FashionIQ's three categories form one eval set."""
    if gallery is None and protocol is not None:
        gallery = find_protocol(protocol, "fashioniq").gallery
    return gallery in ("all", "together")


@eval_set.command("protocols")
@click.argument("benchmark", required=False, type=click.Choice(benchmarks()))
@json_option
def protocols_(benchmark: str | None, as_json: bool) -> None:
    """List each benchmark's protocols, the default one first.

    \b
    Example:
      mmrag eval-set protocols cirr
    """
    found = [
        one
        for name in ([benchmark] if benchmark else benchmarks())
        for one in protocols(name).values()
    ]
    if as_json:
        print_json([one.as_json() for one in found])
        return
    for one in found:
        click.echo(one.title)
        for line in one.lines():
            click.echo(f"  {line}")


@eval_set.command()
@click.argument("folder")
@click.option("--protocol", metavar="P", help="By name or FILE.toml. Default: the set's own.")
@json_option
def queries(folder: str, protocol: str | None, as_json: bool) -> None:
    """Print each query as it is asked: id, pictures, text.

    \b
    Example:
      mmrag eval-set queries circo-val --protocol bge-vl --json
    """
    asked = with_protocol(EvalSet.load(folder), protocol).queries
    if as_json:
        print_json([_asked(one) for one in asked])
        return
    for one in asked:
        words = [one.query_id, " ".join(one.images), one.text or ""]
        if one.without is not None:
            unwanted = (*map(str, one.without.images), one.without.text)
            words.append(f"without {' '.join(filter(None, unwanted))}")
        click.echo(printable("\t".join(words)))


def _asked(query: EvalQuery) -> dict[str, Any]:
    asked = {"id": query.query_id, "images": list(query.images), "text": query.text}
    if query.without is None:
        return asked
    unwanted = {"images": list(query.without.images), "text": query.without.text}
    return {**asked, "without": {**unwanted, "weight": query.without_weight}}


@eval_set.command()
@click.argument("folder")
@click.option(
    "--difference",
    type=click.FloatRange(0, 1, min_open=True),
    help="Also report how likely the set is to detect this difference in hit rate, and how many "
    "queries that would take.",
)
@json_option
def info(folder: str, difference: float | None, as_json: bool) -> None:
    """Describe an eval set.

    \b
    Example:
      mmrag eval-set info eval_sets/catalogue --difference 0.02
    """
    loaded = EvalSet.load(folder)
    description = _description(loaded)
    found = Resolution(**description["resolution"])
    if difference is not None:
        description["resolution"] |= {
            "difference": difference,
            "power": found.power(difference),
            "queries_needed": found.queries_needed(difference),
        }
    if as_json:
        print_json(description)
        return
    _show(description)
    if difference is not None:
        click.echo(found.sentence_on(difference))


@eval_set.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--decode", is_flag=True, help="Also decode every picture.")
@json_option
def validate(folder: Path, decode: bool, as_json: bool) -> None:
    """Check every line of an eval set; exit with status 1 if there are errors.

    \b
    Example:
      mmrag eval-set validate eval_sets/catalogue --decode
    """
    from mmrag.cli.progress import progress_bar
    from mmrag.eval_sets.validate import validate as look

    with progress_bar(unit=" pictures", disable=not decode or not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = look(folder, decode=decode, progress=progress)
    errors, warnings = found.count("error"), found.count("warning")
    counts = {
        "images": found.images,
        "queries": found.queries,
        "judgments": found.judgments,
        "errors": errors,
        "warnings": warnings,
    }
    if as_json:
        print_json({"folder": str(folder), **counts, "problems": found.problems})
    else:
        for problem in found.problems[:SHOWN_PROBLEMS]:
            place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
            click.echo(printable(f"{place}: {problem.severity}: {problem.message}"))
        if len(found.problems) > SHOWN_PROBLEMS:
            more = len(found.problems) - SHOWN_PROBLEMS
            click.echo(f"... and {more} more problems (--json prints all).")
        click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    if errors:
        raise EvalSetError(f"{folder} has {errors} error{'s' if errors > 1 else ''}.")


def _description(loaded: EvalSet, missing: Iterable[Skipped] | None = None) -> dict[str, Any]:
    categories = Counter(query.category or "(none)" for query in loaded.queries)
    described: dict[str, Any] = {
        "name": loaded.name,
        "version": loaded.version,
        "description": loaded.description,
        "folder": str(loaded.folder),
        "image_root": str(loaded.image_root),
        "images": len(loaded.images),
        "queries": len(loaded.queries),
        "categories": dict(categories),
        "judgments": sum(map(len, loaded.qrels.values())),
        "judges": _judges(loaded),
        "candidates": _candidates(loaded),
        "primary_metric": loaded.primary_metric,
        "licence": loaded.licence,
        "source": loaded.source,
        "notes": list(loaded.notes),
        "protocol": loaded.protocol.as_json() if loaded.protocol else None,
        "resolution": asdict(resolution_of(loaded)),
    }
    return described if missing is None else {**described, "missing": list(missing)}


def _judges(loaded: EvalSet) -> str | None:
    """The judges and how far they agree; None if none are recorded."""
    from mmrag.labels.judgments import JudgmentLog
    from mmrag.labels.report import judge_report

    noted = JudgmentLog(loaded.folder).path.exists()
    return judge_report(loaded.folder).sentence if noted else None


def _candidates(loaded: EvalSet) -> dict[str, Any] | None:
    """How many queries have candidates of their own, and how many each; None if no query has."""
    counts = [len(query.pool) for query in loaded.queries if query.pool]
    if not counts:
        return None
    mean = sum(counts) / len(counts)
    return {"queries": len(counts), "least": min(counts), "mean": mean, "most": max(counts)}


def _show(described: dict[str, Any]) -> None:
    click.echo(printable("{name} ({folder}): {description}".format_map(described)))
    click.echo(printable(f"pictures under {described['image_root']}"))
    images, queries = counted(described["images"], "image"), counted(described["queries"], "query")
    click.echo(f"{images}, {queries}, {counted(described['judgments'], 'judgment')}:")
    categories = sorted(described["categories"].items())
    for name, count in categories[:SHOWN_CATEGORIES]:
        click.echo(f"  {count:6} {printable(name)}")
    if len(categories) > SHOWN_CATEGORIES:
        click.echo(f"  ... and {len(categories) - SHOWN_CATEGORIES} more categories")
    if held := described["candidates"]:
        click.echo(
            "candidates of their own: {queries:,} queries, {least:,} to {most:,}, {mean:,.1f} in "
            "the mean".format_map(held)
        )
    found = resolution(described["resolution"]["queries"])
    if found.queries:
        click.echo(found.sentence)
    if described["judges"]:
        click.echo(printable(f"{described['judges']}."))
    if protocol := described["protocol"]:
        click.echo(printable(f"protocol: {protocol['name']}"))
    for key in ("licence", "source"):
        if described[key]:
            click.echo(printable(f"{key}: {described[key]}"))
    for note in described["notes"]:
        click.echo(printable(note))
    missing = described.get("missing", ())
    for skipped in missing[:SHOWN_MISSING]:
        click.echo(printable(f"missing {skipped.path}: {skipped.reason}"))
    if missing:
        rest = len(missing) - SHOWN_MISSING
        more = f"... and {rest} more. " if rest > 0 else ""
        are = counted(len(missing), "picture is missing; put it", "pictures are missing; put them")
        click.echo(f"{more}{are} there before evaluating.")
