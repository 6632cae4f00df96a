"""One local store, several processes, no server left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import psutil
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from mmrag import ImageIndex, Query, Searcher, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.errors import IndexStoreError
from mmrag.index import lite_server
from mmrag.index.lite_guard import damage, data_files, derived_aliases
from mmrag.index.lite_repair import look_through, repair
from mmrag.index.lite_server import LiteServerLease, read_record
from mmrag.index.row_counts import Noted, RowCounts

from .helpers import ROOT, servers, wait_until
from .vectors import assert_exact_and_indexed

WORKER = """
import sys
from mmrag import ImageIndex, Query, Searcher, load_encoder, open_gallery
folder, encoder, store, collection = sys.argv[1:]
loaded = load_encoder(encoder, precision="fp32")
with ImageIndex.open(store, collection, loaded) as index:
    for _ in range(3):
        report = index.add(open_gallery(folder))
        hits = Searcher(index, loaded).search(Query(text="a red mug"), k=5).hits
        assert len(hits) == 5, hits
    print(index.info().rows)
"""


@pytest.mark.parametrize("collections", [("one", "one"), ("one", "two")])
def test_two_processes_index_and_search_at_once(
    folder: Path, tiny_folder: Path, tmp_path: Path, collections: tuple[str, str]
) -> None:
    store = tmp_path / "gallery.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(tiny_folder), str(store), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for name in collections
    ]
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert out.strip() == "12"
    assert wait_until(lambda: not servers(store))
    assert not (store.with_name("gallery.db.server") / "server.json").exists()


def test_one_server_for_all_and_only_on_this_machine(tmp_path: Path) -> None:
    store = tmp_path / "gallery.db"
    leases: list[LiteServerLease] = []
    threads = [
        threading.Thread(target=lambda: leases.append(LiteServerLease(store))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({lease.uri for lease in leases}) == 1
    (server,) = servers(store)
    listening = [c.laddr for c in server.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    for lease in leases:
        lease.close()
    assert wait_until(lambda: not servers(store))


def test_a_killed_user_leaves_no_server(tmp_path: Path) -> None:
    store = tmp_path / "gallery.db"
    code = "import time; from mmrag.index.store import MilvusStore"
    code += f"; MilvusStore({str(store)!r}).client; print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    assert len(servers(store)) == 1
    process.kill()
    process.wait()
    assert wait_until(lambda: not servers(store))


def test_a_crashed_server_is_replaced(folder: Path, tiny: Encoder, tmp_path: Path) -> None:
    store = tmp_path / "gallery.db"
    with ImageIndex.open(store, "crash", tiny) as index:
        index.add(open_gallery(folder))
        searcher = Searcher(index, tiny)
        before = searcher.search(Query(text="a red mug")).hits
        for _ in range(2):
            (server,) = servers(store)
            server.send_signal(signal.SIGKILL)
            assert searcher.search(Query(text="a red mug")).hits == before
        assert index.info().rows == 12
    assert wait_until(lambda: not servers(store))


def test_an_idle_client_is_not_cut_off(tmp_path: Path) -> None:
    """The driver pings an idle connection, which gRPC servers by default answer by closing it."""
    lease = LiteServerLease(tmp_path / "gallery.db")
    options = [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_permit_without_calls", 1)]
    options += [("grpc.http2.max_pings_without_data", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{lease.port}", options) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        stub.GetVersion(milvus_pb2.GetVersionRequest())
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append)
        time.sleep(8)
        stub.GetVersion(milvus_pb2.GetVersionRequest())
        assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in states
        assert grpc.ChannelConnectivity.IDLE not in states
    lease.close()


def test_a_stale_record_is_no_server(tmp_path: Path) -> None:
    """A dead server's process number and port may have been given to somebody else."""
    store = tmp_path / "gallery.db"
    state = tmp_path / "gallery.db.server"
    state.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        record = {"pid": os.getpid(), "created": 1, "port": port}
        (state / "server.json").write_text(json.dumps(record))
        lease = LiteServerLease(store)
        assert lease.port != port
        assert len(servers(store)) == 1
        lease.close()


def test_a_store_opened_elsewhere_says_so(tmp_path: Path) -> None:
    from milvus_lite.db import MilvusLite

    other = MilvusLite(str(tmp_path / "gallery.db"))
    try:
        with pytest.raises(IndexStoreError, match="another program has opened it"):
            LiteServerLease(tmp_path / "gallery.db")
    finally:
        other.close()


@pytest.mark.skipif(sys.platform != "linux", reason="uses a folder that Linux keeps read-only")
def test_a_place_that_cannot_be_written() -> None:
    with pytest.raises(IndexStoreError, match="cannot be used"):
        LiteServerLease("/proc/gallery.db")


def test_search_is_exact_and_all_is_indexed(tmp_path: Path) -> None:
    """5,000 vectors of dimension 768: the true neighbours, from the index."""
    assert_exact_and_indexed(str(tmp_path / "gallery.db"))


# Files as Milvus Lite leaves them


def collection(store: Path, name: str, version: int = 3) -> Path:
    """A collection's folder with a file of rows and one of removed rows."""
    folder = store / "collections" / name
    partition = folder / "partitions" / "_default"
    files = {"data_files": ["data/1.parquet"], "delta_files": ["delta/2.parquet"]}
    for one in ("data/1.parquet", "delta/2.parquet"):
        (partition / one).parent.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.table({"key": ["a", "b"]}), partition / one)
    notes = json.dumps({"collection": name.rpartition("__")[0]})
    schema = {"fields": [], "properties": {"mmrag.encoder": notes}}
    (folder / "schema.json").write_text(json.dumps(schema))
    manifest = {"version": version, "partitions": {"_default": files}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_every_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    folder = collection(tmp_path / "g.db", "shop__1")
    assert [file.name for file in data_files(folder)] == ["1.parquet", "2.parquet"]
    assert damage(folder, Noted(2, 3)) == ""
    assert damage(folder, Noted(2, 4)).endswith("is an older one (version 3, it was 4)")
    for name, content, problem in (
        ("delta/2.parquet", None, "is gone"),
        ("data/1.parquet", b"PAR", "cannot be read"),
        ("data/1.parquet", None, "is gone"),
    ):
        file = folder / "partitions" / "_default" / name
        file.write_bytes(content) if content else file.unlink()
        assert damage(folder, Noted(2, 3)) == f"its file partitions/_default/{name} {problem}"


def test_names_stand_for_the_newest_complete_collection(tmp_path: Path) -> None:
    store = tmp_path / "g.db"
    (tmp_path / "notes").mkdir()
    counts = RowCounts(store, tmp_path / "notes")
    for name, rows in (("a__2", 5), ("a__9", 5), ("a__10", 5), ("a__11", None)):
        collection(store, name)
        counts.note(name, rows)
    for name in ("b__4", "b__12"):
        collection(store, name)
    collection(store, "other")
    assert derived_aliases(counts) == {"a": "a__10", "b": "b__4"}, "else the oldest"


def test_what_cannot_be_repaired_is_moved_aside(tmp_path: Path) -> None:
    store = tmp_path / "g.db"
    folder = collection(store, "shop__1")
    counts = RowCounts(store, tmp_path / "g.db.server")
    counts.state.mkdir()
    counts.note("shop__1", 1234)
    assert look_through(store) == []
    (store / "aliases.json").write_text('{"shop": "shop__1", "other": "other__1"}')
    (folder / "schema.json").write_text("{")
    (found,) = look_through(store)
    assert found.problem == "its schema.json cannot be read"
    (done,) = repair(store)
    assert (done.what, done.problem) == ("Collection shop__1", found.problem)
    assert done.done.startswith("lost: 1,234 rows. It is now ")
    (aside,) = (tmp_path / "g.db.broken").iterdir()
    assert str(aside) in done.done
    assert (aside / "partitions" / "_default" / "data" / "1.parquet").is_file()
    assert json.loads((store / "aliases.json").read_text()) == {"other": "other__1"}
    assert counts.noted("shop__1").rows is None
    assert repair(store) == []


def test_a_server_is_recorded_while_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(lite_server, "rotate", lambda log: seen.append(read_record(log.parent)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    lite_server.serve(tmp_path / "g.db", tmp_path, 0, linger=0)
    (record,) = seen
    assert record is not None
    assert record.pid == os.getpid()
    assert record.port > 0
    assert record.alive()
    assert not (tmp_path / "server.json").exists(), "that nobody uses, it ends"
