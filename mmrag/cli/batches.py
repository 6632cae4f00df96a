"""`batches`: requests sent through the Batch API and not yet collected."""

from __future__ import annotations

import time

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.errors import MmragError


@click.command()
@click.option("--cancel", "name", metavar="BATCH", help="Stop this batch.")
@json_option
def batches(name: str | None, as_json: bool) -> None:
    """List the batches that `evaluate --batch` has sent and not yet collected.

    Run the same `evaluate` command again to wait for its batch and collect it.

    \b
    Example:
      mmrag batches
    """
    from mmrag.vision.batch import cancel, pending_batches

    pending = pending_batches()
    if name:
        found = [one for one in pending if name in one.batches]
        if not found:
            raise MmragError(f"There is no batch {name!r} here; `mmrag batches` lists them.")
        cancel(found[0])
        if as_json:
            print_json({"cancelled": found[0].batches})
        else:
            click.echo(f"Cancelled {name}. What it has answered already is paid for.")
        return
    if as_json:
        print_json(
            [
                {"batches": one.batches, "model": one.model, "created": one.created}
                for one in pending
            ]
        )
        return
    for one in pending:
        hours = (time.time() - one.created) / 3600
        names = ", ".join(one.batches)
        click.echo(printable(f"{names}  {one.model} at {one.address}, sent {hours:.1f} hours ago"))
    if not pending:
        click.echo("No batch is waited for.")
