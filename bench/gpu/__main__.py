"""`python -m bench.gpu [--device cpu --quick]`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.parts import PARTS
from bench.gpu.session import Session
from mmrag.measurements import results_folder
from mmrag.system.measuring import measure_alone


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print where the result is. Status 1 when nothing could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description="Measure a GPU in at most seven minutes."
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny models: to see that it works")
    parser.add_argument("--minutes", type=float, default=7.0, help="at most (%(default)s)")
    parser.add_argument("--only", metavar="WORD", help="parts whose name holds it")
    parser.add_argument("--out", type=Path, help="folder; default $OUT, else bench/results")
    args = parser.parse_args(argv)
    out = args.out or Path(os.environ.get("OUT") or results_folder())
    session = Session(args.device, args.quick, 60 * args.minutes, out)
    session.run([part for part in PARTS if not args.only or args.only in part.name])
    print(session.file)
    outcomes = [session.document["parts"].get(part.name) for part in PARTS]
    return 0 if any(one and one["outcome"] == "done" for one in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(measure_alone(main))
