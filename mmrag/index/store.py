"""Connections to Milvus by URI: a local store, a server, or Zilliz Cloud."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from mmrag import config
from mmrag.errors import IndexStoreError, one_line
from mmrag.index.lite_server import LiteServerLease
from mmrag.index.row_counts import RowCounts
from mmrag.system.locks import try_to_take

if TYPE_CHECKING:
    from pymilvus import MilvusClient

T = TypeVar("T")
RECONNECT_SECONDS = 30.0


class MilvusStore:
    """A Milvus to talk to.

    Args:
        uri: path of a Milvus Lite store, or `http(s)://host:port` of a server or Zilliz Cloud.
            Default: `MMRAG_URI`, else a local store under `MMRAG_HOME`.
        token: for servers that need one. Default: `MMRAG_TOKEN`.

    Raises:
        IndexStoreError: nothing answers there.
    """

    def __init__(self, uri: str | os.PathLike[str] | None = None, token: str | None = None) -> None:
        self.uri = os.fspath(uri) if uri is not None else config.default_uri()
        self.is_local = "://" not in self.uri
        self._token = token if token is not None else config.milvus_token()
        if not self.is_local:
            self.uri, inside = _without_credentials(self.uri)
            self._token = self._token or inside
        if self.is_local and Path(self.uri).is_file():
            raise IndexStoreError(
                f"{self.uri} is a file, not a Milvus Lite 3 store; name another path with --uri."
            )
        self._lease = LiteServerLease(self.uri) if self.is_local else None
        self._client: MilvusClient | None = None
        self._connected_to = ""

    @property
    def client(self) -> MilvusClient:
        """A connected client."""
        address = self._lease.uri if self._lease else self.uri
        if self._client is None or self._connected_to != address:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException

            # Its errors reach the user as `IndexStoreError`; its log would print them twice.
            logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
            try:
                self._client = MilvusClient(address, token=self._token or "", timeout=10)
            except (MilvusException, ValueError) as error:
                # The driver's message may quote the token, so it is not passed on.
                raise IndexStoreError(
                    f"No Milvus answers at {self.uri}, or it refuses the token; "
                    "check --uri (MMRAG_URI) and MMRAG_TOKEN."
                ) from (None if self._token else error)
            self._connected_to = address
        return self._client

    def call(self, what: str, request: Callable[[MilvusClient], T]) -> T:
        """Send one request, retrying if the connection is lost while a server comes back.

        Args:
            what: the start of the error message.
            request: gets a connected client; must be safe to repeat.

        Raises:
            IndexStoreError: Milvus refuses, or stays away for `RECONNECT_SECONDS`.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        # A local store's server is known to be up, so even a first failure is not final.
        may_return = self._lease is not None
        deadline = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return request(self.client)
            except IndexStoreError:
                # Not connected: final at the first try; later the server may soon be back.
                if not may_return or time.monotonic() > deadline:
                    raise
            except (MilvusException, grpc.RpcError) as error:
                if not _is_lost_connection(error):
                    reason = one_line(getattr(error, "message", error))
                    raise IndexStoreError(f"{what}: {reason}") from error
                if time.monotonic() > deadline:
                    raise IndexStoreError(
                        f"{what}: the Milvus at {self.uri} does not answer any more; what was "
                        "written is kept, so start it and run this again."
                    ) from error
            may_return = True
            self._disconnect()
            if self._lease is not None:
                self._lease.ensure()
            else:
                time.sleep(0.5)

    @property
    def row_counts(self) -> RowCounts | None:
        """The notes on the collections of a local store."""
        return RowCounts(self._lease.store, self._lease.state) if self._lease else None

    def write_lock(self, collection: str) -> AbstractContextManager[None]:
        """The lock to hold around each write; only a local store needs it."""
        return self._lease.write_lock(collection) if self._lease else nullcontext()

    @contextmanager
    def index_lock(
        self, collection: str, waiting: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """The lock to hold while updating a collection: one process at a time per MMRAG_HOME.

        For a local store: one on this machine.

        Args:
            waiting: called now and then while another process holds it.
        """
        if self._lease:
            folder, name = self._lease.state, collection
        else:
            folder = config.home() / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}-{collection}"
        path, said = folder / f"index-{name}.lock", False
        with path.open("ab") as file:
            while not try_to_take(file.fileno()):
                if not said:
                    said = True
                    logging.getLogger(__name__).warning(
                        "Another run is indexing into %s; this one goes on when that has ended.",
                        collection,
                    )
                if waiting:
                    waiting()
                time.sleep(0.1)
            yield

    def close(self) -> None:
        """Disconnect; a local store's server stops when nobody else uses it."""
        self._disconnect()
        if self._lease is not None:
            self._lease.close()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _without_credentials(uri: str) -> tuple[str, str | None]:
    """`http://user:password@host` as (`http://host`, `user:password`); the URI gets shown."""
    try:
        parts = urlsplit(uri)
        known = bool(parts.scheme and parts.hostname)
    except ValueError:
        known = False
    if not known:
        raise IndexStoreError(
            "The address of Milvus must be like http://host:19530; check --uri (MMRAG_URI)."
        )
    credentials, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(credentials) if at else None


def _is_lost_connection(error: Exception) -> bool:
    import grpc
    from pymilvus.client.types import Status

    if isinstance(error, grpc.RpcError):
        return error.code() == grpc.StatusCode.UNAVAILABLE
    code = getattr(error, "code", None)
    return code in (Status.CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE)
