"""Addresses, names and links: who reaches a dashboard, and who may change something in it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from streamlit import config as streamlit_config

from mmrag import EvalSet, MmragError, config
from mmrag.evaluation.ablations import Ablations
from mmrag.index.lite_server import rotate
from mmrag.system.addresses import is_local, reachable_names
from mmrag.ui import evaluation_jobs, indexing_jobs, resources, sign_in, speed_jobs

from ..evaluation_fixtures import colours as colours
from ..helpers import ROOT, free_port, mmrag, wait_until
from ..ui.conftest import _only_tiny as _only_tiny
from ..ui.pages import click, open_dashboard, open_page, run, texts


@contextmanager
def dashboard_at(home: Path, host: str, *options: str, **env: str) -> Iterator[tuple[int, Path]]:
    """A dashboard on this address, as the command line starts it: its port and its log."""
    port, log = free_port(), home / "dashboard.log"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MMRAG_", "OPENAI_"))}
    command = [sys.executable, "-m", "mmrag", "dashboard", "--no-prepare", "--host", host]
    process = subprocess.Popen(
        [*command, "--port", str(port), *options],
        cwd=ROOT,
        env={**clean, "MMRAG_HOME": str(home), "PYTHONUNBUFFERED": "1", **env},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        at = "127.0.0.2" if host == "127.0.0.2" else "127.0.0.1"
        assert wait_until(lambda: " 101 " in opened(port, at, at), 90), log.read_text()
        yield port, log
    finally:
        process.kill()
        process.wait()


def tab_lines(port: int, host: str) -> list[str]:
    return [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]


def opened(port: int, address: str, host: str, origin: str | None = None) -> str:
    """The status line of a request for the page's connection under this name."""
    lines = [*tab_lines(port, host), *([f"Origin: {origin}"] if origin else [])]
    try:
        connection, said = tab(port, address, lines)
    except OSError:
        return ""
    connection.close()
    return said.partition("\r\n")[0]


def tab(port: int, address: str, lines: list[str]) -> tuple[socket.socket, str]:
    """A connection of the page's that stays open, and the beginning of the answer."""
    connection = socket.create_connection((address, port), 10)
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    connection.settimeout(10)
    return connection, connection.recv(1000).decode()


def test_an_address_that_looks_local_answers_to_no_other_name(tmp_path: Path) -> None:
    with dashboard_at(tmp_path, "127.0.0.2") as (port, log):
        evil = f"http://evil.test:{port}"
        assert " 101 " in opened(port, "127.0.0.2", "127.0.0.2", f"http://127.0.0.2:{port}")
        assert " 101 " not in opened(port, "127.0.0.2", "127.0.0.2", evil)
        assert " 101 " not in opened(port, "127.0.0.2", "evil.test", evil)
        assert " 101 " not in opened(port, "127.0.0.2", "evil.test")
        assert "owner=" not in log.read_text(), "only this machine reaches it"


def test_tabs_are_limited_and_closed_ones_make_room(tmp_path: Path) -> None:
    at = "127.0.0.2"
    with dashboard_at(tmp_path, at, MMRAG_MAX_TABS="4", MMRAG_MAX_TABS_EACH="3") as (port, log):
        lines = tab_lines(port, at)
        (server,) = [
            one for one in psutil.Process().children() if "mmrag.cli.serve" in one.cmdline()
        ]
        before = server.num_fds()
        for _ in range(5):
            tabs = [tab(port, at, lines) for _ in range(3)]
            assert all(" 101 " in said for _, said in tabs)
            refused, said = tab(port, at, lines)
            refused.close()
            assert " 503 " in said
            assert "3 tabs are open from your address, 127.0.0.1" in said
            page = httpx.get(f"http://{at}:{port}/runs")
            assert (page.status_code, page.text.count("Close some, or try again")) == (503, 1)
            for connection, _ in tabs:
                connection.close()
            assert wait_until(lambda: httpx.get(f"http://{at}:{port}/").status_code == 200, 10)
        assert wait_until(lambda: server.num_fds() <= before + 3, 10), "descriptors come back"
        assert len(log.read_text()) < 5000, "who is refused fills no log"


def test_a_log_is_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab") as out:
        for text in (b"a" * 60, b"b" * 50):
            out.write(text)
            out.flush()
            rotate(log, 100)
        out.write(b"c")
    assert log.read_bytes() == b"c"
    assert (tmp_path / "server.log.1").read_bytes() == b"a" * 60 + b"b" * 50


def test_every_address_gets_a_secret_and_known_names(tmp_path: Path) -> None:
    """Without a password a link is made, and told once; other names are still refused."""
    options = ("--allow-host", "photos.example.org")
    with dashboard_at(tmp_path, "0.0.0.0", *options) as (port, log):
        (secret,) = re.findall(r"owner=([\w-]+)", log.read_text())
        assert len(secret) >= 24
        assert log.read_text().count(secret) == 1
        assert " 101 " in opened(port, "127.0.0.1", "photos.example.org")
        assert " 101 " not in opened(port, "127.0.0.1", "evil.test")
        assert " 101 " not in opened(port, "127.0.0.1", "127.0.0.1", "http://evil.test")
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != log]
    assert secret.encode() not in b"".join(kept)


def test_a_host_that_does_not_exist_is_a_sentence() -> None:
    done = mmrag("dashboard", "--no-prepare", "--host", "no.such.host.invalid")
    assert done.returncode == 1
    assert "'no.such.host.invalid' is no address of this machine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("0.0.0.0", False), ("", False)],
)
def test_it_is_the_address_that_counts(host: str, local: bool) -> None:
    assert is_local(host) == local
    assert "*" not in reachable_names(host)


@pytest.fixture
def open_to_all() -> Iterator[None]:
    """As `streamlit run dashboard.py --server.address=0.0.0.0`."""
    before = streamlit_config.get_option("server.address")
    streamlit_config._set_option("server.address", "0.0.0.0", "test")
    yield
    streamlit_config._set_option("server.address", before, "test")


@pytest.mark.usefixtures("open_to_all")
def test_an_open_address_without_a_password_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_dashboard()
    assert "has no password" in texts(page)
    assert list(page.info) == []
    monkeypatch.setenv("MMRAG_DASHBOARD_PASSWORD", "open sesame")
    assert [field.label for field in open_dashboard().text_input] == ["Password"]


def test_the_owners_link_opens_and_leaves_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRAG_DASHBOARD_OWNER", "a-secret")
    monkeypatch.setenv("MMRAG_DASHBOARD_PASSWORD", "open sesame")
    for wrong in ("", "a-secre", "ä"):
        page = open_dashboard(owner=wrong)
        assert [field.label for field in page.text_input] == ["Password"]
        assert "owner" not in page.query_params
    page = open_dashboard(owner="a-secret")
    assert "No collection to search yet" in page.info[0].value
    assert "owner" not in page.query_params
    assert "No collection to search yet" in run(page).info[0].value, "it stays the owner's session"


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MMRAG_READ_ONLY", "1", "Indexing is switched off"),
        ("MMRAG_DASHBOARD_OWNER", "a-secret", "Indexing is for the owner of this dashboard"),
    ],
)
def test_visitors_index_nothing_and_spend_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    assert "gpt-4o" in resources.reranker_choices()
    monkeypatch.setenv(name, value)
    page = open_page("gallery")
    page.text_input[0].set_value(str(folder))
    click(page, "Index")
    assert words in texts(page)
    assert indexing_jobs.queue().jobs() == []
    assert "gpt-4o" not in resources.reranker_choices()
    speed_jobs.submit()
    assert speed_jobs.queue().jobs() == []


def test_where_nothing_may_be_changed(colours: EvalSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRAG_EVAL_SETS", str(colours.folder.parent))
    monkeypatch.setenv("MMRAG_READ_ONLY", "1")
    choice = resources.reranker_choices()["none"]
    plan = evaluation_jobs.Plan(colours.name, "tiny", choice, 10, 5, None, Ablations(), None)
    with pytest.raises(MmragError, match=r"Evaluating is switched off: .* with --read-only"):
        evaluation_jobs.submit(plan)
    assert evaluation_jobs.queue().jobs() == []
    page = open_page("judge", judge="Ada")
    assert "Judging is switched off" in page.info[0].value
    assert not page.button


def test_a_cookie_secret_that_was_cut_short_is_made_anew() -> None:
    """A power failure may leave an empty file; a password could be guessed from such a cookie."""
    path = config.home() / "cookie.secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o644)
    kept = []
    for _ in range(2):
        sign_in._secret.clear()
        kept.append(sign_in._secret())
    assert kept[0] == kept[1] == path.read_text()
    assert len(kept[0]) >= sign_in.SECRET_LENGTH
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("cookie.secret.part"))
