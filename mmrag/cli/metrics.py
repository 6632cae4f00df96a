"""`metrics`: the metrics that rankings are scored by."""

from __future__ import annotations

from typing import Any

import click

from mmrag.cli.options import json_option, print_json
from mmrag.metrics.table import METRICS, Metric

_COLUMNS = ("Metric", "For people", "What it says", "Formula", "Source", "Better", "Needs")


@click.command()
@click.option("--markdown", is_flag=True, help="Print the table of the documentation.")
@json_option
def metrics(markdown: bool, as_json: bool) -> None:
    """List the metrics that evaluate, import-run and compare know.

    K is any cut-off. Any metric that ir_measures computes can be named as well.

    \b
    Example:
      mmrag metrics
      mmrag evaluate eval_sets/catalogue --metric hit_rate@3 --metric nDCG@20
    """
    if as_json:
        print_json([_described(one) for one in METRICS.values()])
    elif markdown:
        rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(one) for one in METRICS.values())]
        click.echo("\n".join("| " + " | ".join(row) + " |" for row in rows))
    else:
        for one in METRICS.values():
            needs = f" Needs {one.needs.what}." if one.needs else ""
            lower = "" if one.higher_is_better else " Lower is better."
            click.echo(f"{_name(one)}: {one.help}{lower}{needs}")
        click.echo("Others by their names in ir_measures, such as AP(rel=2)@10 or Judged@10.")


def _described(one: Metric) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "help": one.help,
        "cutoffs": list(one.cutoffs),
        "needs": one.needs.what if one.needs else None,
        "higher_is_better": one.higher_is_better,
        "source": "mmrag" if one.function else "ir_measures",
        "formula": one.formula,
        "defined_by": one.source,
    }


def _row(one: Metric) -> tuple[str, ...]:
    better = "higher" if one.higher_is_better else "lower"
    needs = one.needs.what if one.needs else ""
    return f"`{_name(one)}`", one.title, one.help, one.formula, one.source, better, needs


def _name(one: Metric) -> str:
    return one.name if None in one.cutoffs else f"{one.name}@K"
