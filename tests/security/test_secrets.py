# ruff: noqa: BLE001
"""Keys, tokens and passwords reach no file, log, address, report or message."""

from __future__ import annotations

import base64
import json
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa

from mmrag import RunStore, load_reranker
from mmrag.cli import run as command
from mmrag.runs import schema

from ..helpers import free_port
from ..postgres import binaries, running_postgres
from ..vision_server import Scene, VisionServer

CANARIES = {
    "OPENAI_API_KEY": "sk-canary-openai-0123456789",
    "AZURE_OPENAI_API_KEY": "canary-azure-0123456789",
    "MMRAG_TOKEN": "root:canary-milvus-0123456789",
    "MMRAG_DASHBOARD_PASSWORD": "canary-dashboard-0123456789",
    "HF_TOKEN": "hf_canary0123456789",
}
POSTGRES = "p@ss:word/1"


def forms(secret: str) -> list[str]:
    """A secret as it may be written somewhere."""
    plain = base64.b64encode(secret.encode()).decode()
    return [secret, quote(secret, safe=""), quote_plus(secret), plain, json.dumps(secret)[1:-1]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[VisionServer]:
    with VisionServer(key=CANARIES["OPENAI_API_KEY"]) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
        yield running


@pytest.fixture
def runs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if binaries() is None:
        yield ""
        return
    with running_postgres(tmp_path_factory.mktemp("postgres"), free_port()) as url:
        yield url


def make_set(folder: Path, pictures: Path) -> Path:
    """An eval set over the twelve pictures, with a question."""
    names = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png"))
    corpus = [{"_id": n, "image": n, "text": f"item {n} in red"} for n in names]
    queries = [
        {"_id": "1", "image": names[0], "text": "the same", "question": "Which?", "answers": ["1"]},
        {"_id": "2", "text": "in red"},
    ]
    (folder / "qrels").mkdir(parents=True)
    head = {"name": "small", "image_root": str(pictures)}
    (folder / "eval_set.json").write_text(json.dumps(head))
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text(f"1\t{names[1]}\t1\n2\t{names[2]}\t1\n")
    return folder


def test_the_whole_chain_with_canaries(
    server: VisionServer,
    runs_url: str,
    folder: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Index, search, ask, evaluate and export, with answers that echo the key, and failures."""
    caplog.set_level(logging.DEBUG)
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    if runs_url:
        monkeypatch.setenv("MMRAG_RUNS_URL", runs_url)
    home, out = Path(os.environ["MMRAG_HOME"]), tmp_path / "out"
    out.mkdir()
    encoder = ("--encoder", str(tiny_folder), "--precision", "fp32")
    labelled = str(make_set(tmp_path / "set", folder))
    picture = str(folder / "a" / "01.png")
    echo = f"the key is {CANARIES['OPENAI_API_KEY']}"
    search = ["search", "--image", picture, *encoder]

    def asked(*arguments: str, status: int = 0) -> None:
        assert command(list(arguments)) == status, (arguments, capfd.readouterr())

    asked("index", str(folder), *encoder)
    asked(*search, "--rerank", "gpt-4o", "--grid", str(out / "grid.jpg"))
    server.script.append(Scene(text=f"Ranked list: [1, 0] Reasons: {echo}"))
    asked(*search, "--rerank", "gpt-4o", "--json", "--no-cache")
    asked("ask", "What is it?", "--image", picture, *encoder)
    server.script.append(Scene(text=echo))
    asked("ask", "And this?", "--image", picture, *encoder, "--json")
    rerank = ("--rerank", "gpt-4o", "--rerank-k", "5")
    asked("evaluate", labelled, *encoder, *rerank, "--answers", "-k", "5")
    for kind in ("trec", "csv", "json", "parquet", "html"):
        asked("export", "latest", "--format", kind, "--out", str(out / f"run.{kind}"))
    asked("runs", "--json")
    asked("compare", "latest")
    asked("doctor", "--json")
    # What fails, says so without them.
    server.always = Scene(status=500, error={"message": echo})
    asked(*search, "--rerank", "gpt-4o", "--text", "x")
    server.always = Scene(status=403, error={"message": echo})
    asked(*search, "--rerank", "gpt-4o", "--text", "y", status=1)
    server.always = None
    server.key = "another"
    asked(*search, "--rerank", "gpt-4o", "--text", "z", status=1)
    asked("doctor", "--uri", f"http://{CANARIES['MMRAG_TOKEN']}@127.0.0.1:9")
    wrong = "postgresql+psycopg://mmrag:canary-database-0123456789@127.0.0.1:9/x"
    monkeypatch.setenv("MMRAG_RUNS_URL", wrong)
    asked("runs", status=1)
    told = repr(load_reranker("gpt-4o")) + repr(vars(load_reranker("gpt-4o").model))  # type: ignore[attr-defined]
    try:
        RunStore()
    except Exception as error:
        told += "".join(traceback.format_exception(error)) + repr(vars(error))

    captured = capfd.readouterr()
    told += captured.out + captured.err + caplog.text
    told += repr([(record.msg, record.args) for record in caplog.records])
    told += repr(server.paths) + repr(server.bodies)
    files = [p for place in (home, out, tmp_path / "set") for p in place.rglob("*") if p.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    if runs_url:
        stored += database(runs_url)
    assert "[key]" in told, "an echo of the key was shown, without it"
    assert b"[key]" in stored
    assert len(files) > 20
    for secret in [*CANARIES.values(), POSTGRES, "canary-database-0123456789"]:
        for form in forms(secret):
            assert form not in told, form
            assert form.encode() not in stored, form


def database(url: str) -> bytes:
    """All that the run store holds."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [
            repr(connection.execute(sa.select(table)).all())
            for table in schema.tables.sorted_tables
        ]
    engine.dispose()
    assert any("Which" in row or "gpt-4o" in row for row in rows)
    return "".join(rows).encode()


def test_the_canaries_would_be_found(tmp_path: Path) -> None:
    """The search itself: a secret in a compressed or encoded form that is looked for."""
    for secret in CANARIES.values():
        (tmp_path / "leak").write_text(f"https://x/?k={quote_plus(secret)}")
        assert any(form.encode() in (tmp_path / "leak").read_bytes() for form in forms(secret))
