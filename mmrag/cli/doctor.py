"""`doctor`: what works on this machine, what is missing, what is broken."""

from __future__ import annotations

from dataclasses import asdict

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.doctor import examine


@click.command()
@click.option("--uri", metavar="U", help="Milvus to try. Default: MMRAG_URI, else the local store.")
@click.option(
    "--check",
    is_flag=True,
    help="Verify everything under MMRAG_HOME: databases, weights, rows and index of every "
    "collection. Exit status 1 when something is broken.",
)
@click.option(
    "--repair",
    is_flag=True,
    help="Move what is broken aside (nothing is deleted) and rebuild what can be derived.",
)
@json_option
def doctor(uri: str | None, check: bool, repair: bool, as_json: bool) -> int:
    """Report what works here: devices, precisions, encoders, Milvus, whether there is an API key.

    \b
    Example:
      mmrag doctor
      mmrag doctor --check
      mmrag doctor --repair
    """
    if check or repair:
        return _look_through(check, repair, as_json)
    report = examine(uri).as_json()
    if as_json:
        print_json(report)
        return 0
    for name, value in report.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' '):12} {shown}")
    return 0


def _look_through(check: bool, repair: bool, as_json: bool) -> int:
    from mmrag import repair as repairing

    repaired = repairing.repair() if repair else []
    broken = repairing.check() if check else []
    if as_json:
        print_json(
            {"repaired": [asdict(f) for f in repaired], "broken": [asdict(f) for f in broken]}
        )
    else:
        for found in [*repaired, *broken]:
            click.echo(printable(f"{found.what}: {found.problem}; {found.done}."))
        if not repaired and not broken:
            click.echo("Nothing is broken.")
    return 1 if broken else 0
