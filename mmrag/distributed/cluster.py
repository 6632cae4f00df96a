"""A Ray cluster to work on: a running one, or a private one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag.errors import MmragError, one_line

# Blocks hold paths and vectors, never pixels, so little is in flight at any time.
_OBJECT_STORE = 512 << 20
# Ray waits 30 s for its first process, which takes longer to start from a cold or busy disk.
_PORT_WAIT = "RAY_gcs_server_port_wait_time_s"
# If a node has more cores than this, four of them share one copy of the model.
_MANY_CORES, _CORES_EACH = 8, 4


@dataclass(frozen=True)
class Cluster:
    """Resources of each worker: cores (also its threads) and GPUs; and the number of nodes."""

    workers: int
    cpus: int
    gpus: int
    nodes: int


@contextmanager
def connected(
    address: str | None = None, workers: int | None = None, device: str = "auto"
) -> Iterator[Cluster]:
    """A connection to Ray for as long as the context lasts.

    Args:
        address: `HOST:PORT` or `auto` for a running cluster (start the command on one of its
            nodes). Default: `RAY_ADDRESS`, else a private cluster on this machine, which asks for a
            token made for it and is removed afterwards.
        workers: copies of the model. Default: one for each GPU; without GPUs one for each core,
            or for four cores if there are many.
        device: "cpu" leaves GPUs alone.

    Raises:
        MmragError: Ray is not installed, does not answer, or has too few cores or GPUs.
    """
    # Read when Ray is imported and by the processes that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's core writes to standard error even what is no error to the user.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        _private_token()
    ray = import_ray()
    started = not ray.is_initialized()
    if started:
        _start(ray, address, workers)
    try:
        yield _share(ray, workers, device)
    finally:
        if started:
            ray.shutdown()


def import_ray() -> Any:
    """The `ray` module.

    Raises:
        MmragError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MmragError(
            f"--engine ray needs Ray ({error}): pip install 'mmrag[distributed]'"
        ) from None
    return ray


def own_error(error: BaseException) -> MmragError:
    """The error that a worker raised, unchanged; otherwise one sentence on what Ray reports."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MmragError) and not hasattr(seen, "cause"):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return MmragError(
        f"Ray: {(lines or [type(error).__name__])[-1][:300]} What was written is kept; the same "
        "command goes on."
    )


def _private_token() -> None:
    """Let only our own processes use the cluster that we start; Ray would keep a token on disk.

    A cluster of `ray.init` asks for a token unless `RAY_AUTH_MODE` says otherwise. Ray reads it
    once per process, so it stays.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _start(ray: Any, address: str, workers: int | None) -> None:
    options: dict[str, Any] = {}
    if address == "local":
        options = {
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
            "num_cpus": max(workers, os.cpu_count() or 1) if workers else None,
        }
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Set while a private cluster starts only: to one that does not answer, Ray would try as long.
    patient = address == "local" and _PORT_WAIT not in os.environ
    if patient:
        os.environ[_PORT_WAIT] = "120"
    try:
        with _quiet():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = one_line(error)
        raise MmragError(
            f"No Ray cluster answers at {address!r} ({reason}); `ray start --head` starts one."
        ) from error
    finally:
        if patient:
            del os.environ[_PORT_WAIT]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A block may take long on a slow machine; a dead worker is noticed without this limit.
    context.execution_no_progress_timeout_s = -1


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard what Ray's core, past Python, writes while it starts."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _share(ray: Any, workers: int | None, device: str) -> Cluster:
    have = ray.cluster_resources()
    cpus, gpus = int(have.get("CPU", 0)), int(have.get("GPU", 0))
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    use_gpus = gpus > 0 and device in ("auto", "cuda")
    units = gpus if use_gpus else cpus
    if workers is None:
        many = not use_gpus and cpus > _MANY_CORES * nodes
        workers = max(1, units // _CORES_EACH if many else units)
    if workers > units:
        kind = "GPUs" if use_gpus else "cores"
        raise MmragError(f"{workers} workers need as many {kind}; this Ray cluster has {units}.")
    return Cluster(workers, max(1, cpus // workers), int(use_gpus), nodes)
