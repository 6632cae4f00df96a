"""`dashboard`: the pages, in a browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mmrag.errors import MmragError
from mmrag.system import interrupt

LOCAL = ("localhost", "127.0.0.1", "::1")
SCRIPT = Path(__file__).parents[2] / "dashboard.py"


@click.command()
@click.option(
    "--host",
    default="localhost",
    show_default=True,
    help="Address to listen on. Set MMRAG_DASHBOARD_PASSWORD before you name another one.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--prepare/--no-prepare", default=True, help="First index and score the catalogue.")
def dashboard(host: str, port: int, prepare: bool) -> None:
    """Open the dashboard; stop it with Ctrl-C.

    \b
    Example:
      python -m mmrag dashboard --port 8502
    """
    if not SCRIPT.is_file():
        raise MmragError("dashboard.py is not here; run this in a clone of the repository.")
    if prepare:
        from mmrag.cli.demo import prepare_demo

        prepare_demo()
    arguments = [f"--server.address={host}", f"--server.port={port}"]
    if host not in LOCAL:
        # By what name others reach it is not known here; the password guards it.
        arguments.append("--server.allowedHosts=*")
    # Streamlit takes this process's place, so Ctrl-C reaches it alone.
    command = [sys.executable, "-m", "mmrag.cli.serve", "run", str(SCRIPT), *arguments]
    with interrupt.held_back():
        os.execv(sys.executable, command)
