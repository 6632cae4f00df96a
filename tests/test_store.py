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
import pytest
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from mmrag import ImageIndex, Query, Searcher, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.errors import IndexStoreError
from mmrag.index.lite_server import LiteServerLease

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
