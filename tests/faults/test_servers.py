"""Milvus and PostgreSQL stopped and started again under what uses them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag import EvalSet, ImageIndex, Query, RunStore, Searcher, open_gallery
from mmrag.errors import IndexStoreError

from .. import postgres
from ..conftest import run_milvus_server
from ..helpers import ROOT, everything, free_port, outcome, servers, wait_until
from ..vectors import made_up, rows, unit
from . import jobs


class Milvus:
    """A real server that can be stopped and started again, with its data and on its port."""

    def __init__(self, folder: Path) -> None:
        python = os.environ.get("MMRAG_TEST_MILVUS")
        if not python or not Path(python).exists():
            pytest.skip("MMRAG_TEST_MILVUS names no Python with the milvus package")
        self.python, self.folder, self.port = python, folder, free_port()
        self.running = contextlib.ExitStack()
        self.uri = self.start()

    def start(self) -> str:
        uri = self.running.enter_context(run_milvus_server(self.python, self.folder, self.port))
        # After a restart it may take this old version half a minute more until it answers.
        assert wait_until(lambda: answers(uri), 120)
        return uri

    def stop(self) -> None:
        self.running.close()

    def restart(self) -> tuple[float, float]:
        """From when to when nobody answered, by `time.monotonic`."""
        gone = time.monotonic()
        self.stop()
        self.start()
        return gone, time.monotonic()


def answers(uri: str) -> bool:
    """Whether Milvus does, as seen by a new process."""
    code = "import sys, pymilvus; pymilvus.MilvusClient(sys.argv[1], timeout=5).list_collections()"
    return subprocess.run([sys.executable, "-c", code, uri], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    server = Milvus(tmp_path_factory.mktemp("milvus"))
    yield server
    server.stop()


def at_once(work: Callable[[], Any], disturb: Callable[[], Any]) -> list[Any]:
    """`work` on another thread while this one disturbs it; what it returned, or its error."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except IndexStoreError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    disturb()
    thread.join(180)
    assert not thread.is_alive(), "it hangs"
    return results


def test_milvus_is_restarted_while_indexing(milvus: Milvus, pictures: Path) -> None:
    """It goes on by itself if the server is back within half a minute, else when run again."""
    jobs.index_pictures(pictures, milvus.uri, "whole")
    slow = jobs.encoder(0.3)
    with ImageIndex.open(milvus.uri, "restarted", slow) as index:

        def disturb() -> None:
            assert wait_until(lambda: index.exists() and bool(slow.model.batches), 60)  # type: ignore[attr-defined]
            time.sleep(1)
            outage.extend(milvus.restart())

        outage: list[float] = []
        (result,) = at_once(lambda: index.add(open_gallery(pictures), batch_size=2), disturb)
        if isinstance(result, IndexStoreError):
            assert outage[1] - outage[0] > 20, f"it was back in time: {result}"
            assert "what was written is kept, so start it and run this again" in str(result)
        else:
            assert result.added == 40
    jobs.index_pictures(pictures, milvus.uri, "restarted")
    with (
        ImageIndex.open(milvus.uri, "restarted", jobs.encoder()) as index,
        ImageIndex.open(milvus.uri, "whole", jobs.encoder()) as whole,
    ):
        (found, vectors), (expected, expected_vectors) = everything(index), everything(whole)
    assert found == expected
    assert np.array_equal(vectors, expected_vectors)


def test_milvus_is_restarted_while_searching(milvus: Milvus, pictures: Path) -> None:
    """Searches wait for it; none gives other hits than before."""
    made = jobs.encoder()
    jobs.index_pictures(pictures, milvus.uri, "searched")
    with ImageIndex.open(milvus.uri, "searched", made) as index:
        searcher = Searcher(index, made)
        query = Query(image=pictures / "007.png")
        expected = searcher.search(query, k=10).hits
        assert expected[0].image_id == "007.png"
        done = threading.Event()
        answers: list[Any] = []
        asked: list[tuple[float, float]] = []
        outage: list[float] = []

        def search() -> None:
            while not done.is_set():
                begun = time.monotonic()
                try:
                    answers.append(searcher.search(query, k=10).hits)
                except IndexStoreError as error:
                    answers.append(str(error))
                asked.append((begun, time.monotonic()))

        def disturb() -> None:
            assert wait_until(lambda: bool(answers))
            outage.extend(milvus.restart())
            assert wait_until(lambda: asked[-1][0] > outage[1], 60)
            done.set()

        at_once(search, disturb)
        assert searcher.search(query, k=10).hits == expected
        assert any(begun < outage[1] and ended > outage[0] for begun, ended in asked)
        assert answers[-1] == expected, "it is answered again once the server is back"
        failed = [one for one in answers if isinstance(one, str)]
        assert all("does not answer" in one or "No Milvus answers" in one for one in failed), failed
        assert all(one == expected for one in answers if not isinstance(one, str))


def read_across(index: ImageIndex, disturb: Callable[[], Any]) -> None:
    """All rows, each once, though the server goes away between two batches of them."""
    vectors = unit(2500, 16)
    index.create("image")
    index.write(rows(vectors))
    index.finish()
    reading = index.rows(["image_id", "vector"])
    found = [next(reading) for _ in range(700)]
    disturb()
    found += reading
    assert sorted(int(row["image_id"]) for row in found) == list(range(2500))
    for row in found:
        assert np.array_equal(np.float32(row["vector"]), vectors[int(row["image_id"])])


def test_rows_are_read_across_a_crash_of_the_local_server(tmp_path: Path) -> None:
    store = tmp_path / "gallery.db"
    with ImageIndex.open(store, "read", made_up(16)) as index:

        def crash() -> None:
            (server,) = servers(store)
            server.kill()

        read_across(index, crash)


EVALUATION = """
import sys
from pathlib import Path
from mmrag import MmragError
from tests.faults import jobs
folder, uri, runs = sys.argv[1:]
print("begins", flush=True)
try:
    print(jobs.evaluate_set(Path(folder), uri, runs, 0.1).run_id)
except MmragError as error:
    sys.exit(str(error))
"""


def test_postgresql_is_restarted_while_evaluating(colours: EvalSet, tmp_path: Path) -> None:
    """The evaluation says so in one line without the password; the next one goes on."""
    folder = tmp_path / "postgres"
    folder.mkdir()
    port = free_port()
    uri = str(tmp_path / "gallery.db")

    def start(url: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", EVALUATION, colours.folder, uri, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    with postgres.running_postgres(folder, port) as url:
        whole = jobs.evaluate_set(colours.folder, uri, url)
        process = start(url)

        def halfway() -> bool:
            with RunStore(url) as store:
                newest = store.runs()[0]
                return newest.state == "running" and len(store.load(newest.run_id).rankings) > 0

        assert wait_until(halfway, 120)
        control(folder, "stop")
        _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        last = error.strip().splitlines()[-1]
        assert last.startswith("The run store postgresql+psycopg://mmrag:***@127.0.0.1"), error
        assert "p@ss:word/1" not in error
        assert "p%40ss" not in error
        control(folder, "start")
        try:
            with RunStore(url) as store:
                begun = store.runs()[0]
                assert begun.state == "interrupted"
                kept = sum(map(len, store.load(begun.run_id).rankings.values()))
            assert kept > 0
            out, error = start(url).communicate(timeout=120)
            assert out.split()[-1] == begun.run_id, error
            with RunStore(url) as store:
                assert outcome(store.load(begun.run_id)) == outcome(store.load(whole.run_id))
        finally:
            control(folder, "stop")


def control(folder: Path, action: str) -> None:
    """`pg_ctl stop` at once, as in a crash, or `start` with the options of before."""
    found = postgres.binaries()
    assert found is not None
    data = (folder / "data").resolve()
    kept = folder / "options"
    if action == "stop":
        words = (data / "postmaster.opts").read_text().split('"')[1::2]
        kept.write_text(" ".join(words[2:]))
    options = ["-m", "immediate"] if action == "stop" else ["-o", kept.read_text()]
    owner = data.stat()
    identity = {"user": owner.st_uid, "group": owner.st_gid} if os.getuid() == 0 else {}
    subprocess.run(
        [found / "pg_ctl", action, "-D", data, "-w", "-l", data / "log", *options],
        check=True,
        capture_output=True,
        cwd=data,
        extra_groups=[] if identity else None,
        **identity,
    )
