"""Machines, hours, memory, disk and money for a gallery, from measured rates and your prices.

    python -m bench.capacity --images 1e6 1e8 1e9
    python -m bench.capacity --images 5e7 --rate 4.3 --dim 768 --core-hour 0.03 --memory-month 2.5

The formulas, with N images of d dimensions:

    core hours   N / rate / 3600, rate in images a second on one core (or one GPU: GPU hours)
    memory       exact, float32: 4 N d; HNSW: N (4 d + 8 M + 4 ceil(M / 15)); one byte a dimension
                 (IVF_SQ8): N (d + 8); in GB of 10^9 bytes, and 1.3 times that for a server's own
    disk         N (4 d + row), row being what a row takes beside its vector, with logs
    queries      machines that hold the memory; each answers one search per `--search-ms` and core

Prices are yours: the defaults are round numbers, not a provider's.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

HNSW_M = 16
SERVER_SHARE = 1.3


@dataclass(frozen=True)
class Capacity:
    """The needs of a gallery: hours of one core, GB of memory by kind of index, GB of disk."""

    images: float
    hours: float
    exact_gb: float
    hnsw_gb: float
    sq8_gb: float
    disk_gb: float


def capacity(images: float, rate: float, dim: int, row_bytes: float) -> Capacity:
    """Apply the formulas above.

    Args:
        images: how many.
        rate: images a second of one core or GPU.
        dim: of the embeddings.
        row_bytes: of a row on disk, without its vector.
    """
    links = 8 * HNSW_M + 4 * math.ceil(HNSW_M / 15)
    giga = SERVER_SHARE * images / 1e9
    return Capacity(
        images,
        images / rate / 3600,
        giga * 4 * dim,
        giga * (4 * dim + links),
        giga * (dim + 8),
        images / 1e9 * (4 * dim + row_bytes),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--images", type=float, nargs="+", default=[1e6, 1e8, 1e9])
    add("--rate", type=float, default=2.6, help="images/s of one core or GPU (%(default)s)")
    add("--workers", type=int, default=64, help="cores or GPUs at work (%(default)s)")
    add("--dim", type=int, default=768, help="dimensions (%(default)s)")
    add("--row-bytes", type=float, default=880, help="of a row beside its vector (%(default)s)")
    add("--machine-gb", type=float, default=64, help="memory of a query machine (%(default)s)")
    add("--core-hour", type=float, default=0.04, help="price of a core or GPU hour (%(default)s)")
    add("--memory-month", type=float, default=3.0, help="price of a GB of memory (%(default)s)")
    add("--disk-month", type=float, default=0.1, help="price of a GB of disk (%(default)s)")
    args = parser.parse_args(argv)
    if min(args.rate, args.workers, args.dim, args.machine_gb, *args.images) <= 0:
        parser.error("numbers must be positive")
    head = ("images", "core hours", "days", "embed", "index", "memory", "machines", "disk", "month")
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for images in args.images:
        need = capacity(images, args.rate, args.dim, args.row_bytes)
        kinds = (("HNSW", need.hnsw_gb), ("SQ8", need.sq8_gb))
        for kind, memory in kinds:
            month = memory * args.memory_month + need.disk_gb * args.disk_month
            cells = (
                f"{images:,.0f}",
                f"{need.hours:,.0f}",
                f"{need.hours / 24 / args.workers:,.1f}",
                f"{need.hours * args.core_hour:,.0f}",
                kind,
                f"{memory:,.0f} GB",
                f"{math.ceil(memory / args.machine_gb):,}",
                f"{need.disk_gb:,.0f} GB",
                f"{month:,.0f}",
            )
            print("| " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    from mmrag.system.measuring import measure_alone

    raise SystemExit(measure_alone(main))
