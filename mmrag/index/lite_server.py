"""One Milvus Lite store for any number of processes.

Milvus Lite lets only one process open its files. So the first process that needs a store starts a
small server for it on 127.0.0.1, every process talks to that server, and it stops a few seconds
after the last one has gone.

File locks, which the operating system drops however a process ends, tell who uses the store:

- every user holds `users.lock` shared; a server that gets it exclusively has no users and stops,
  and while it stops nobody can become one;
- `start.lock` is held while starting a server, so there is one at a time;
- `rows-NAME.json` says how many rows a collection has (`row_counts`);
- `server.json` names the server's process and port. Users watch it: a server that has died is
  restarted on the same port, where waiting requests find it.

The folder with these files is `STORE.server` beside the store. POSIX systems only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from mmrag import config
from mmrag.errors import IndexStoreError
from mmrag.index.row_counts import RowCounts
from mmrag.system.processes import started_after_boot

# Starting takes two seconds, but a minute on a busy machine.
_START_TIMEOUT = 180.0
_LOG_BYTES = 5_000_000
_POLL = 0.05
# As Milvus Lite's own server, but a port is never shared with another server, and the driver, which
# pings every ten seconds, is not cut off for pinging while idle.
_SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", 256 << 20),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
]


@dataclass(frozen=True)
class ServerRecord:
    """The contents of `server.json`."""

    pid: int
    created: float
    port: int

    def alive(self) -> bool:
        """Whether that very process (not a later one with the same number) is running."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(started_after_boot(process) - self.created) < 1
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


class LiteServerLease:
    """Keeps a store's server running for as long as this object is open.

    Args:
        store: path of the Milvus Lite store; created if absent.

    Raises:
        IndexStoreError: the server does not start; the message has the reason.
    """

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self.store = Path(store).expanduser().absolute()
        self.state = self.store.with_name(self.store.name + ".server")
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            self._users = lock(self.state / "users.lock", fcntl.LOCK_SH)
        except OSError as error:
            raise IndexStoreError(
                f"The store {self.store} cannot be used: {error.strerror or error}. "
                "Name a writable place with --uri or MMRAG_HOME."
            ) from error
        self._closed = threading.Event()
        self.port = 0
        try:
            self.ensure()
        except BaseException:
            self._users.close()
            raise
        threading.Thread(target=self._watch, name="mmrag-store-watch", daemon=True).start()

    def ensure(self) -> None:
        """Start the server unless it runs, on its predecessor's port if there was one."""
        record = read_record(self.state)
        if record is None or not record.alive():
            with lock(self.state / "start.lock", fcntl.LOCK_EX):
                record = read_record(self.state)
                if record is None or not record.alive():
                    record = self._start(0 if record is None else record.port)
        self.port = record.port

    @property
    def uri(self) -> str:
        """The address at which the server answers."""
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def write_lock(self, collection: str) -> Iterator[None]:
        """Serialise writes to a collection, across processes too, as Milvus Lite requires."""
        # However long the other process takes: if it dies, its lock goes with it.
        with lock(self.state / f"write-{collection}.lock", fcntl.LOCK_EX, seconds=math.inf):
            yield

    def close(self) -> None:
        """Release the server; it stops by itself when nobody else uses it."""
        if not self._closed.is_set():
            self._closed.set()
            self._users.close()

    def _watch(self) -> None:
        while not self._closed.wait(0.5):
            record = read_record(self.state)
            if record is None or not record.alive():
                # The next check tries again; waiting requests have their own time limit.
                with contextlib.suppress(IndexStoreError, OSError):
                    self.ensure()

    def _start(self, port: int) -> ServerRecord:
        (self.state / "server.json").unlink(missing_ok=True)
        log = self.state / "server.log"
        command = [sys.executable, "-m", "mmrag.index.lite_server"]
        command += [str(self.store), str(self.state), str(port), str(config.store_linger())]
        package_root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        log.unlink(missing_ok=True)
        # In append mode, so that it can be emptied while it is written to.
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # In its own session: Ctrl-C or a closing terminal ends its users, not the server.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        # Reaped by a thread, so that a server that dies early does not become a zombie.
        threading.Thread(target=process.wait, daemon=True).start()
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            record = read_record(self.state)
            if record is not None:
                return record
            if process.poll() is not None:
                break
            time.sleep(_POLL)
        else:
            process.kill()
        lines = log.read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "it did not answer"
        if "DataDirLockedError" in reason:
            reason = "another program has opened it directly; close that program first"
        raise IndexStoreError(f"The local store {self.store} does not start: {reason} (see {log}).")


def serve(store: Path, state: Path, port: int, linger: float) -> None:
    """Run the server of a store until it has had no user for `linger` seconds."""
    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from pymilvus.grpc_gen import milvus_pb2_grpc

    from mmrag.index.lite_guard import GuardedLite

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    db = GuardedLite(RowCounts(store, state))
    server = grpc.server(ThreadPoolExecutor(max_workers=10), options=_SERVER_OPTIONS)
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(db), server)
    try:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        # Another program listens on the previous server's port: any other will do.
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    me = psutil.Process()
    record = {"pid": me.pid, "created": started_after_boot(me), "port": port}
    part = state / "server.json.part"
    part.write_text(json.dumps(record))
    os.replace(part, state / "server.json")
    idle_since: float | None = None
    with (state / "users.lock").open("ab") as users:
        while not stop.wait(0.2):
            rotate(state / "server.log")
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                idle_since = None
                continue
            now = time.monotonic()
            idle_since = now if idle_since is None else idle_since
            if now - idle_since >= linger:
                break
            fcntl.flock(users, fcntl.LOCK_UN)
        # users.lock is still held when idle: new users wait, then start a new server.
        server.stop(grace=2).wait()
        db.close()
        current = read_record(state)
        if current is not None and current.pid == me.pid:
            (state / "server.json").unlink(missing_ok=True)


def rotate(log: Path, most: int = _LOG_BYTES) -> None:
    """Start a new log once it exceeds `most` bytes; the last one stays as `NAME.1`."""
    # It may be gone, or the disk full: the server carries on.
    with contextlib.suppress(OSError):
        if log.stat().st_size > most:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def read_record(state: Path) -> ServerRecord | None:
    """The contents of `server.json`; None if there is no readable one."""
    try:
        fields = json.loads((state / "server.json").read_text())
        return ServerRecord(int(fields["pid"]), float(fields["created"]), int(fields["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lock(path: Path, kind: int, seconds: float = _START_TIMEOUT) -> IO[bytes]:
    """Open and lock a file, waiting at most `seconds`; closing it unlocks."""
    file = path.open("ab")
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise IndexStoreError(
                    f"{path} has been locked by another process for {seconds:.0f} seconds."
                ) from None
            time.sleep(_POLL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
