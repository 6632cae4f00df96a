"""`published`: the figures that publications give for the benchmarks."""

from __future__ import annotations

from dataclasses import asdict

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.errors import MmragError


@click.command()
@click.argument("eval_set", metavar="[SET]", default="")
@json_option
def published(eval_set: str, as_json: bool) -> None:
    """List published figures for all benchmarks or for SET: cirr, fashioniq, circo, or cirr-val.

    A run of the same set, protocol, encoder and reranker shows them beside its own figures.

    \b
    Example:
      mmrag published circo
    """
    from mmrag.cli.tables import aligned
    from mmrag.metrics.table import metric_title
    from mmrag.runs.published import find_published

    found = find_published(eval_set)
    if not found:
        raise MmragError(
            f"No published figure of {eval_set!r} is known; `mmrag published` lists all."
        )
    if as_json:
        print_json([{**asdict(one), "commands": one.commands} for one in found])
        return
    rows = [["set", "protocol", "metric", "value", "system"]]
    rows += [
        [
            f"{one.set} {one.split}",
            one.protocol or "not known",
            metric_title(one.metric),
            f"{one.value:.2f}",
            one.system,
        ]
        for one in found
    ]
    for line in aligned(rows):
        click.echo(printable(line))
    click.echo("Sources and the commands that give the same: --json, or docs/published.md.")
