"""A real PostgreSQL server for tests, from Debian's packages; it never runs as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`: of Debian's packages, or on the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    folders += [Path(on_path).resolve().parent] if on_path else []
    return next((f for f in folders if (f / "initdb").exists()), None)


@contextlib.contextmanager
def running_postgres(folder: Path, port: int) -> Iterator[str]:
    """A server of its own, whose data is at `folder/data`; yields its URL, with a password in it.

    The data lies elsewhere: each further pytest takes the rights to the folder of all of them away.
    """
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    user = _unprivileged()
    place = Path(tempfile.mkdtemp(prefix="mmrag-postgres-"))
    data, password = place / "data", place / "password"
    (folder / "data").symlink_to(data)
    password.write_text("p@ss:word/1")
    data.mkdir(mode=0o700)
    if user is not None:
        for path in (data, password):
            os.chown(path, user.pw_uid, user.pw_gid)
        # The folders above belong to whoever runs the tests, and only to them.
        for parent in (place, *place.parents):
            if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}
    make = [found / "initdb", "-D", data, "-U", "mmrag", "--auth=scram-sha-256"]
    subprocess.run(
        [*make, "--pwfile", password, "--no-sync", "-E", "UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        cwd=data,
        extra_groups=[] if user is not None else None,
        **identity,
    )
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [found / "postgres", "-D", data, *options],
            stdout=log,
            stderr=log,
            cwd=data,
            extra_groups=[] if user is not None else None,
            **identity,
        )
    try:
        _wait_until_it_answers(port, server, folder / "log")
        yield f"postgresql+psycopg://mmrag:p%40ss%3Aword%2F1@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(place, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as: us, unless we are root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL refuses to run as root, and there is no other account here")


def _wait_until_it_answers(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(
                host="127.0.0.1",
                port=port,
                user="mmrag",
                password="p@ss:word/1",
                dbname="postgres",
                connect_timeout=5,
            ).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(log.read_text(errors="replace")) from None
            time.sleep(0.2)
