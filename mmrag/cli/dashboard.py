"""`dashboard`: the pages, in a browser."""

from __future__ import annotations

import os
import secrets
import sys

import click

from mmrag import config
from mmrag.system import interrupt, shipped
from mmrag.system.addresses import is_local, reachable_names

SCRIPT = shipped.ROOT / "dashboard.py"


@click.command()
@click.option(
    "--host",
    default="localhost",
    show_default=True,
    help="Address to listen on. Any but this machine's own needs MMRAG_DASHBOARD_PASSWORD, or gets "
    "a link with a secret, printed once.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8501,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Another name that browsers reach it by, such as a proxy's. May be repeated.",
)
@click.option(
    "--read-only",
    is_flag=True,
    help="Nobody can index, evaluate, judge, add or delete anything, or spend money on the API "
    "key.",
)
@click.option(
    "--prepare/--no-prepare",
    default=True,
    help="Index and score the photographs and drawings that ship with mmrag.",
)
def dashboard(
    host: str, port: int, allow_host: tuple[str, ...], read_only: bool, prepare: bool
) -> None:
    """Open the dashboard; stop it with Ctrl-C.

    \b
    Example:
      mmrag dashboard --port 8502
      mmrag dashboard --host 0.0.0.0 --allow-host photos.example.org --read-only
    """
    # Report invalid values before anything starts.
    config.max_tabs(), config.max_tabs_each()
    local = is_local(host)
    env = {**os.environ, **({"MMRAG_READ_ONLY": "1"} if read_only else {})}
    if prepare:
        env["MMRAG_DASHBOARD_PREPARE"] = "1"
    if not local:
        env["MMRAG_DASHBOARD_OWNER"] = owner = secrets.token_urlsafe(24)
        if not env.get("MMRAG_DASHBOARD_PASSWORD"):
            env["MMRAG_DASHBOARD_PASSWORD"] = owner
        _print_link(host, port, owner)
    names = [*reachable_names(host), *allow_host]
    arguments = [f"--server.address={host}", f"--server.port={port}"]
    arguments += [f"--server.allowedHosts={name}" for name in names]
    # Streamlit takes this process's place, so Ctrl-C reaches it alone.
    command = [sys.executable, "-m", "mmrag.cli.serve", "run", str(SCRIPT), *arguments]
    with interrupt.held_back():
        os.execve(sys.executable, command, env)


def _print_link(host: str, port: int, owner: str) -> None:
    shown = "localhost" if host in ("0.0.0.0", "::", "") else host
    shown = f"[{shown}]" if ":" in shown else shown
    click.echo(
        f"The owner's link, good until this dashboard is stopped:\n"
        f"  http://{shown}:{port}/?owner={owner}\n"
        "Only who opens it may index folders, delete things, and spend the key. Others sign in "
        "with MMRAG_DASHBOARD_PASSWORD; where that is not set, the secret in the link is the "
        "password."
    )
