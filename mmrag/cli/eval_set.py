"""`eval-set`: import and describe labelled query sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.evaluation.eval_set import EvalSet
from mmrag.evaluation.importers import IMPORTERS, import_eval_set


@click.group(name="eval-set")
def eval_set() -> None:
    """Import and describe labelled query sets."""


@eval_set.command(name="import")
@click.argument("format", type=click.Choice(sorted(IMPORTERS)))
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--split", default="val", show_default=True)
@json_option
def import_(format: str, source: Path, destination: Path, split: str, as_json: bool) -> None:
    """Make an eval set from SOURCE, a data set in FORMAT; its pictures stay where they are.

    \b
    Example:
      python -m mmrag eval-set import grocery GroceryStoreDataset grocery-val --split val
    """
    _describe(import_eval_set(format, source, destination, split=split), as_json)


@eval_set.command()
@click.argument("folder")
@json_option
def info(folder: str, as_json: bool) -> None:
    """Say what an eval set holds.

    \b
    Example:
      python -m mmrag eval-set info eval_sets/catalogue
    """
    _describe(EvalSet.load(folder), as_json)


def _describe(loaded: EvalSet, as_json: bool) -> None:
    categories = Counter(query.category or "(none)" for query in loaded.queries)
    if as_json:
        print_json(
            {
                "name": loaded.name,
                "version": loaded.version,
                "folder": str(loaded.folder),
                "images": len(loaded.images),
                "queries": len(loaded.queries),
                "categories": dict(categories),
                "judgments": sum(map(len, loaded.qrels.values())),
                "licence": loaded.licence,
                "source": loaded.source,
            }
        )
        return
    click.echo(printable(f"{loaded.name} ({loaded.folder}): {loaded.description}"))
    click.echo(f"{len(loaded.images)} images, {len(loaded.queries)} queries:")
    for name, count in sorted(categories.items()):
        click.echo(f"  {count:6} {printable(name)}")
