"""What GPU, cores and disk a wished rate needs, from measured rates, and where a pipeline waits.

    python -m bench.schedule --wish 4400
    python -m bench.schedule --wish 4400 --decode 215 --compute 5500 --cores 16

Pictures are decoded by cores, copied and computed in batches. The schedule is that of
`mmrag.encoders.streams`: with copies of their own three batches are under way, on the plain path a
batch is copied when the one before has been computed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmrag.encoders.streams import SLOTS

# A picture of Visualized BGE base: operations, bytes of pixels, share of the limit to expect.
GFLOP, PIXELS, SHARE = 70.4, 224 * 224 * 3, 0.6


@dataclass(frozen=True)
class Rates:
    """Pictures per second of one decoding core, of copying, of computing; cores, batch size."""

    decode: float
    copy: float
    compute: float
    cores: int
    batch: int = 256


@dataclass(frozen=True)
class Needs:
    """Needs of a wished rate: cores, MB/s from disk, GB/s to the GPU, its TFLOP/s of products."""

    cores: int
    disk_mb: float
    copy_gb: float
    tflop: float


def needs(wish: float, decode: float, file_kb: float) -> Needs:
    """Apply the formulas: each stage alone has to keep up."""
    return Needs(
        math.ceil(wish / decode),
        wish * file_kb / 1000,
        wish * PIXELS / 1e9,
        wish * GFLOP / SHARE / 1000,
    )


def simulate(rates: Rates, overlap: bool, batches: int = 200) -> float:
    """Pictures per second of the whole pipeline, once running, from the times of each batch."""
    decode = rates.batch / (rates.decode * rates.cores)
    copy, compute = rates.batch / rates.copy, rates.batch / rates.compute
    decoded: list[float] = []
    copied: list[float] = []
    computed: list[float] = []
    for i in range(batches):
        # Decoding is at most two batches ahead of copying.
        room = copied[i - 2] if i >= 2 else 0.0
        decoded.append(max(decoded[-1] if decoded else 0.0, room) + decode)
        after = copied[-1] if copied else 0.0
        if overlap:
            # Memory for three batches, each reused once its batch has been computed.
            after = max(after, computed[i - SLOTS] if i >= SLOTS else 0.0)
        else:
            after = computed[-1] if computed else 0.0
        copied.append(max(decoded[i], after) + copy)
        computed.append(max(copied[i], computed[-1] if computed else 0.0) + compute)
    half = batches // 2
    return (batches - half) * rates.batch / (computed[-1] - computed[half - 1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.schedule",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--wish", type=float, default=4400, help="images/s (%(default)s)")
    add("--decode", type=float, default=215, help="images/s of one core (%(default)s)")
    add("--file-kb", type=float, default=90, help="of a picture on disk (%(default)s)")
    add("--copy-gb", type=float, default=20, help="GB/s from host to GPU (%(default)s)")
    add("--compute", type=float, help="images/s of the GPU (default: 1.25 times the wish)")
    add("--cores", type=int, help="default: as many as are needed")
    add("--batch", type=int, default=256, help="images (%(default)s)")
    args = parser.parse_args(argv)
    numbers = (args.wish, args.decode, args.file_kb, args.copy_gb, args.batch)
    if min(*numbers, args.compute or 1, args.cores or 1) <= 0:
        parser.error("numbers must be positive")
    need = needs(args.wish, args.decode, args.file_kb)
    print(f"{args.wish:,.0f} images/s need {need.cores} cores to decode, {need.disk_mb:,.0f} MB/s")
    print(f"from the disk, {need.copy_gb:.2f} GB/s to the GPU, and a GPU whose bf16 products reach")
    print(f"{need.tflop:,.0f} TFLOP/s, {SHARE:.0%} of which are used.")
    compute = args.compute or 1.25 * args.wish
    cores = args.cores or need.cores
    rates = Rates(args.decode, args.copy_gb * 1e9 / PIXELS, compute, cores, args.batch)
    stages = {"decoding": rates.decode * cores, "copying": rates.copy, "computing": compute}
    slowest = min(stages, key=stages.__getitem__)
    for name, rate in stages.items():
        print(f"{name:10} {rate:10,.0f} images/s{'  the slowest' if name == slowest else ''}")
    for name, overlap in (("plain path", False), ("own stream", True)):
        print(f"{name:10} {simulate(rates, overlap):10,.0f} images/s in all")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
