"""Shared by the parts: the device and its clock, the rows, the time left, the file."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.machine import describe_machine
from bench.models import open_bench_encoder
from bench.reference import synchronise
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.gpu_path import GpuPath
from mmrag.measurements import machine_name
from mmrag.system.durable import write_file

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Part:
    """One thing to measure, and the seconds that must be left to begin it."""

    name: str
    run: Callable[[Session], None]
    needs: float


class HostEvent:
    """`torch.cuda.Event` on a CPU."""

    def __init__(self) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: HostEvent) -> float:
        """Milliseconds from this one to `end`."""
        return 1000 * (end.at - self.at)


class HostGpu:
    """`mmrag.encoders.streams.Gpu` on a CPU, where everything is done at once."""

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=dtype)

    memory = pinned

    def copy(self, lane: str, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source)

    def compute(self, target: torch.Tensor, function: Callable[[], torch.Tensor]) -> None:
        target.copy_(function())

    def record(self, lane: str) -> HostGpu:
        return self

    def wait(self, lane: str, event: object) -> None:
        """Return at once: everything has happened."""

    def synchronize(self) -> None:
        """Return at once: everything has happened."""


class Session:
    """One run of the script.

    Args:
        device: `cuda`, or `cpu` to check that every line works.
        quick: tiny models and few pictures.
        seconds: for all parts together.
        out: the folder of the result file.
    """

    def __init__(self, device: str, quick: bool, seconds: float, out: Path) -> None:
        self.device, self.quick = torch.device(device), quick
        self.on_gpu = self.device.type == "cuda"
        self.precision = "bf16" if self.on_gpu else "fp32"
        self.base = "tiny" if quick else "visualized-bge-base"
        self.path = GpuPath()
        self._ends = time.monotonic() + seconds
        machine = {**describe_machine(), "quick": quick}
        commit = _commit()
        self.file = out / f"{machine_name(machine)}-{commit[:8]}-gpu{'-quick' * quick}.json"
        self.document: dict[str, Any] = {
            "machine_info": machine,
            "commit_info": {"id": commit, "dirty": False},
            "datetime": datetime.now(UTC).isoformat(),
            "benchmarks": [],
            "parts": {},
        }

    def left(self) -> float:
        """Seconds until the deadline."""
        return self._ends - time.monotonic()

    def run(self, parts: Sequence[Part]) -> None:
        """Run one part after the other; note what fails or no longer fits."""
        for part in parts:
            began = time.monotonic()
            if self.left() < (0 if self.quick else part.needs):
                outcome = "left out: no time"
            else:
                print(f"{part.name} ({self.left():.0f} s left)", file=sys.stderr, flush=True)
                try:
                    part.run(self)
                    outcome = "done"
                # Whatever fails in one part, the others are still wanted.
                except Exception as error:  # noqa: BLE001
                    outcome = f"{type(error).__name__}: {error}"[:300]
                if self.on_gpu:
                    torch.cuda.empty_cache()
            took = round(time.monotonic() - began, 1)
            self.document["parts"][part.name] = {"outcome": outcome, "seconds": took}
            if outcome != "done":
                print(f"  {outcome}", file=sys.stderr, flush=True)
            self.write()

    def write(self) -> None:
        """Write the result so far; the file is replaced whole or left as it was."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.file, json.dumps(self.document, indent=1) + "\n")

    def encoder(self, precision: str | None = None, name: str | None = None) -> Encoder:
        """A fresh encoder on the device."""
        return open_bench_encoder(name or self.base, str(self.device), precision or self.precision)

    def take(self, encoder: Encoder, path: GpuPath) -> None:
        """Make an encoder take `path`, here or on the GPU."""
        if self.on_gpu:
            from mmrag.encoders.streams import Cuda

            encoder.take(path, Cuda(self.device), torch.cuda.mem_get_info(self.device)[0])
        else:
            encoder.take(path, HostGpu(), 1e9, lambda function, inputs: function)

    def event(self) -> Any:
        """A timed point in the device's work."""
        return torch.cuda.Event(enable_timing=True) if self.on_gpu else HostEvent()

    def times(self, call: Callable[[], object], rounds: int = 3, warm_up: int = 1) -> list[float]:
        """Seconds of each round, from event to event, after warming up."""
        for _ in range(warm_up):
            call()
        taken = []
        for _ in range(1 if self.quick else rounds):
            begin, end = self.event(), self.event()
            synchronise(self.device)
            begin.record()
            call()
            end.record()
            synchronise(self.device)
            taken.append(begin.elapsed_time(end) / 1000)
        return taken

    def row(
        self,
        group: str,
        name: str,
        times: Sequence[float],
        params: dict[str, Any],
        unit: str = "ms",
        items: float | None = None,
        **figures: Any,
    ) -> None:
        """Add one line of the result, as the Speed page reads them."""
        many = len(times) > 1
        quartiles = statistics.quantiles(times, n=4) if many else [times[0]] * 3
        extra = {"params": {"device": str(self.device), **params}, "unit": unit, **figures}
        if items is not None:
            extra["items"] = items
        self.document["benchmarks"].append(
            {
                "group": group,
                "name": name,
                "fullname": f"bench.gpu::{group}[{name}]",
                "extra_info": extra,
                "stats": {
                    "median": statistics.median(times),
                    "q1": quartiles[0],
                    "q3": quartiles[2],
                    "stddev": statistics.stdev(times) if many else 0.0,
                    "rounds": len(times),
                },
            }
        )


def _commit() -> str:
    """The measured commit, if git can tell."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown0"
