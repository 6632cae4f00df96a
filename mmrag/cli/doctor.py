"""`doctor`: what works on this machine, and what is missing."""

from __future__ import annotations

import click

from mmrag.cli.options import json_option, print_json
from mmrag.doctor import examine


@click.command()
@click.option("--uri", metavar="U", help="Milvus to try. Default: MMRAG_URI, else the local store.")
@json_option
def doctor(uri: str | None, as_json: bool) -> None:
    """Say what works here: devices, precisions, encoders, Milvus, API key present or not.

    \b
    Example:
      mmrag doctor
    """
    report = examine(uri).as_json()
    if as_json:
        print_json(report)
        return
    for name, value in report.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' '):12} {shown}")
