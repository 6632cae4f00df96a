"""Ctrl-C in every command: it stops within two seconds, says what is kept, shows no stack trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from mmrag import EvalSet
from mmrag.cli import COMMANDS

from ..helpers import ROOT, free_port, mmrag, wait_until
from ..hub import Hub
from ..vision_server import VisionServer
from .conftest import draw

SENTENCE = "Stopped. What was written is kept; the same command goes on."


class Interrupted:
    """A command, as it is typed into a terminal, and Ctrl-C."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmrag", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            env={**os.environ, **(env or {})},
            # A process group of its own, all of which gets the signal, as from a terminal.
            start_new_session=True,
        )

    def press(self) -> tuple[float, str]:
        """Ctrl-C; returns the seconds until it had stopped, and all that it wrote."""
        os.killpg(self.process.pid, signal.SIGINT)
        pressed = time.monotonic()
        self.process.wait(20)
        seconds = time.monotonic() - pressed
        out, error = self.process.communicate(timeout=20)
        return seconds, out + error

    def assert_stops(self) -> None:
        assert self.process.poll() is None, self.process.communicate()[1]
        seconds, written = self.press()
        assert "Traceback (most recent call last)" not in written, written
        assert self.process.returncode == 130, written
        assert written.count(SENTENCE) == 1, written
        assert seconds < 2


@pytest.fixture
def locked() -> Iterator[dict[str, str]]:
    """A run store that somebody else has locked: SQLite waits for half a minute."""
    path = Path(os.environ["MMRAG_HOME"]) / "runs.db"
    assert mmrag("runs").returncode == 0
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    yield {}
    connection.close()


def wait_for(seconds: float) -> Callable[[Interrupted], None]:
    return lambda _: time.sleep(seconds)


def wait_for_words(words: str, stream: str = "stderr") -> Callable[[Interrupted], None]:
    """Until the command has written this."""

    def wait(command: Interrupted) -> None:
        file = getattr(command.process, stream)
        seen = ""
        while words not in seen:
            one = file.read(1)
            assert one, seen
            seen += one

    return wait


def test_index(tiny_folder: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    draw(many, range(600))
    command = Interrupted("index", str(many), "--encoder", str(tiny_folder))
    wait_for_words("/600")(command)
    command.assert_stops()
    done = mmrag("index", str(many), "--encoder", str(tiny_folder), "--json")
    report = json.loads(done.stdout)
    assert report["unchanged"] + report["added"] == 600


def test_train(colours: EvalSet, tmp_path: Path) -> None:
    command = Interrupted(
        *("train", str(colours.folder), "--encoder", "new:visualized-bge-tiny"),
        *("--out", str(tmp_path / "out"), "--steps", "1000", "--batch-size", "8"),
    )
    wait_for_words("Training:")(command)
    command.assert_stops()


@pytest.mark.parametrize("command", ["search", "ask", "evaluate", "adopt"])
def test_what_waits_for_milvus(command: str, tiny_folder: Path, colours: EvalSet) -> None:
    given = {
        "search": ("--text", "red"),
        "ask": ("Which one?", "--text", "red"),
        "evaluate": (str(colours.folder),),
        "adopt": ("--collection", "theirs", "--vector-field", "v", "--path-field", "p"),
    }[command]
    env = {"OPENAI_API_KEY": "sk-none"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        options = ("--uri", uri, "--encoder", str(tiny_folder))
        running = Interrupted(command, *given, *options, env=env)
        connection, _ = server.accept()
        running.assert_stops()
        connection.close()


def test_what_waits_for_a_vision_model(folder: Path, tiny_folder: Path) -> None:
    encoder = ("--encoder", str(tiny_folder))
    assert mmrag("index", str(folder), *encoder).returncode == 0
    for command in (("ask", "Which one?", "--text", "red"), ("search", "--text", "red")):
        with VisionServer(delay=8) as server:
            env = {"OPENAI_API_KEY": "sk-none", "OPENAI_BASE_URL": server.url}
            options = ("--rerank", "gpt-4o") if command[0] == "search" else ()
            running = Interrupted(*command, *options, *encoder, env=env)
            deadline = time.monotonic() + 60
            while not server.requests and time.monotonic() < deadline:
                time.sleep(0.05)
            running.assert_stops()


@pytest.mark.parametrize(
    "arguments",
    [
        "runs",
        "compare latest latest",
        "export latest --format json",
        "import-run {file} --eval-set {set}",
        "demo",
    ],
)
def test_what_waits_for_a_locked_run_store(
    arguments: str, locked: dict[str, str], colours: EvalSet, tmp_path: Path
) -> None:
    """SQLite waits without letting Python see a signal."""
    file = tmp_path / "own.trec"
    file.write_text("q00 Q0 red-0 1 1.0 own\n")
    given = [part.format(file=file, set=colours.folder) for part in arguments.split()]
    command = Interrupted(*given)
    time.sleep(3)
    command.assert_stops()


def test_download() -> None:
    """What has arrived stays, for the next one to go on with."""
    hub = Hub({"BAAI/bge-base-en-v1.5/config.json": bytes(1_000_000)})
    hub.pause = 0.2

    def arrived() -> list[int]:
        parts = Path(os.environ["MMRAG_HOME"]).rglob("config.json.part")
        return [part.stat().st_size for part in parts if part.stat().st_size]

    try:
        command = Interrupted("download", "visualized-bge-base", env={"HF_ENDPOINT": hub.url})
        assert wait_until(arrived, 60)
        command.assert_stops()
        assert len(arrived()) == 1
    finally:
        hub.close()


def test_bench() -> None:
    """The suite runs in a process of its own, and stops as well."""
    command = Interrupted("bench", "--quick", "--only", "search")
    time.sleep(4)
    command.assert_stops()


def test_dashboard() -> None:
    """Streamlit has taken the command's place; stopping it is how it is left."""
    port = free_port()
    command = Interrupted("dashboard", "--no-prepare", "--port", str(port))

    def serves() -> bool:
        try:
            return httpx.get(f"http://localhost:{port}/_stcore/health").is_success
        except httpx.TransportError:
            return False

    assert wait_until(serves, 60)
    seconds, written = command.press()
    assert "Traceback" not in written
    assert seconds < 2


@pytest.mark.parametrize("seconds", [0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0])
def test_dashboard_while_it_starts(seconds: float) -> None:
    """From the moment on in which Streamlit takes the command's place."""
    command = Interrupted("dashboard", "--no-prepare", "--port", str(free_port()))
    process = psutil.Process(command.process.pid)
    assert wait_until(lambda: "mmrag.cli.serve" in process.cmdline(), 60)
    time.sleep(seconds)
    took, written = command.press()
    assert "Traceback" not in written, written
    if command.process.returncode:
        assert command.process.returncode == 130, written
        assert written.count(SENTENCE) == 1, written
    else:
        # It served by then.
        assert "Stopping..." in written
    assert took < 2


QUICK_COMMANDS = {
    "eval-set": "eval-set validate {set}",
    "encoders": "encoders",
    "metrics": "metrics",
    "batches": "batches",
    "published": "published",
    "doctor": "doctor",
}


@pytest.mark.parametrize("name", QUICK_COMMANDS)
@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.0])
def test_while_it_is_being_loaded(name: str, seconds: float, colours: EvalSet) -> None:
    """Most of the time of a short command; it may also be done by then."""
    command = Interrupted(*QUICK_COMMANDS[name].format(set=colours.folder).split())
    time.sleep(seconds)
    took, written = command.press()
    assert "Traceback" not in written, written
    assert command.process.returncode in (0, 130), written
    assert command.process.returncode == 0 or SENTENCE in written
    assert took < 2


def test_no_command_is_left_out() -> None:
    text = Path(__file__).read_text()
    assert [name for name in COMMANDS if f'"{name}' not in text] == []
