"""A dashboard as a user starts it, with a state folder of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from .helpers import ROOT, free_port, wait_until


@dataclass
class Dashboard:
    """A running dashboard; it took `started_s` seconds until it answered."""

    url: str
    home: Path
    log: Path
    pid: int = 0
    started_s: float = 0.0


def start_dashboard(home: Path, **env: str) -> tuple[subprocess.Popen[bytes], Dashboard]:
    """Start one and wait until it answers."""
    port = free_port()
    log = home / "dashboard.log"
    home.mkdir(parents=True, exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MMRAG_", "OPENAI_"))}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mmrag", "dashboard", "--no-prepare", "--port", str(port)],
        cwd=ROOT,
        env={**clean, "MMRAG_HOME": str(home), "MMRAG_STORE_LINGER": "0.5", **env},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    url = f"http://localhost:{port}"

    def up() -> bool:
        try:
            return httpx.get(url).status_code == 200
        except httpx.HTTPError:
            return False

    if not wait_until(up, 60):
        process.kill()
        raise AssertionError(log.read_text())
    return process, Dashboard(url, home, log, process.pid, time.perf_counter() - started)


def stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; a second time where a connection of the browser's is still open."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def running_dashboard(home: Path, **env: str) -> Iterator[Dashboard]:
    """A dashboard while the block runs."""
    process, dashboard = start_dashboard(home, **env)
    try:
        yield dashboard
    finally:
        stop(process)
