"""What several test modules use: the command line, waiting, and what is compared."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil

from mmrag import ImageIndex
from mmrag.cli import run
from mmrag.encoders.encoder import Encoder
from mmrag.index.store import MilvusStore
from mmrag.runs.run import Run

from .vision_server import VisionServer

ROOT = Path(__file__).resolve().parents[1]
PARITY = Path(__file__).parent / "parity"


def mmrag(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "mmrag", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        timeout=300,
    )


def invoke(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command line within this process: for all that needs no process of its own, as `mmrag`
    spends seconds on importing torch."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, env or {}))
        stack.enter_context(mock.patch.object(logging.getLogger(), "handlers", []))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        status = run(list(arguments))
    said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(arguments, status, *said)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def everything(index: ImageIndex) -> tuple[list[dict[str, object]], np.ndarray]:
    fields = ["image_id", "content_hash", "row_hash", "path", "text", "metadata", "vector"]
    rows = sorted(index.rows(fields), key=lambda row: str(row["image_id"]))
    return rows, np.array([row.pop("vector") for row in rows])


def servers(store: Path) -> list[psutil.Process]:
    """Server processes of this store."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if "mmrag.index.lite_server" in line and str(store) in line:
            found.append(process)
    return found


def outcome(run: Run) -> Any:
    """All that must not depend on when and how often a run was started."""
    scores = {stage: [v.tolist() for v in s.values.values()] for stage, s in run.scores.items()}
    orders = {stage: run.ranking(stage) for stage in run.scores}
    return orders, json.dumps(scores), run.summaries, run.ablations, run.notes


def made_file(path: Path, when: str, median: float, **machine: Any) -> Path:
    """A result file as pytest-benchmark writes it."""
    stats = {
        "median": median,
        "q1": 0.95 * median,
        "q3": 1.05 * median,
        "stddev": 0.05 * median,
        "rounds": 5,
    }
    extra = {"params": {"device": "cpu"}, "items": 10, "unit": "img/s", "times_tutorial": 2.5}
    document = {
        "machine_info": {"cpu": "AMD EPYC", "cores": 2, "gpus": [], "quick": False, **machine},
        "commit_info": {"id": "0123456789abcdef", "dirty": False},
        "datetime": when,
        "benchmarks": [
            {
                "group": "encode",
                "name": "test_encode[a]",
                "fullname": "a",
                "stats": stats,
                "extra_info": extra,
            },
            {
                "group": "query",
                "name": "test_query",
                "fullname": "b",
                "stats": {**stats, "median": 0.02, "q1": 0.01, "q3": 0.03},
                "extra_info": {"params": {}, "unit": "ms"},
            },
        ],
    }
    path.write_text(json.dumps(document))
    return path


def models(server: VisionServer, *names: str, **shutdowns: int) -> None:
    """The server has these; the number is the days until a shutdown."""
    today = datetime.now(UTC).date()
    days = {name.replace("_", "-"): today + timedelta(left) for name, left in shutdowns.items()}
    server.models = [
        {"id": name, "object": "model", "shutdown_date": str(days[name]) if name in days else None}
        for name in names
    ]


def made_by_script(uri: str, encoder: Encoder, paths: list[str], metric: str) -> str:
    """The tutorial's own lines: automatic ids, a dynamic field for the path."""
    name = f"script_{uuid.uuid4().hex[:8]}"
    store = MilvusStore(uri)
    vectors = encoder.encode(paths)
    store.client.create_collection(
        collection_name=name,
        auto_id=True,
        dimension=encoder.info.dim,
        enable_dynamic_field=True,
        metric_type=metric,
    )
    rows = [
        {"image_path": os.path.relpath(p), "vector": v.tolist()}
        for p, v in zip(paths, vectors, strict=True)
    ]
    store.client.insert(collection_name=name, data=rows)
    store.client.flush(name)
    store.close()
    return name
