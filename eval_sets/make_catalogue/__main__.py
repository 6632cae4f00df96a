"""Draws a gallery of product pictures and writes its labelled queries.

Worked example, the set that ships, and a larger one to train on:

    python -m eval_sets.make_catalogue eval_sets/catalogue --seed 2024
    python -m eval_sets.make_catalogue train_set --seed 7 --split train --variety 12

The same seed, split, sizes and variety give the same files on the same versions of Pillow, NumPy
and OpenCV, whatever the number of workers. A training set holds no held-out combination, neither in
its gallery nor in a query picture, and none of the held-out wording.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from eval_sets.make_catalogue.writing import write_set

SHIP_SEED = 2024


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m eval_sets.make_catalogue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder to write, made if it is not there")
    parser.add_argument("--seed", type=int, default=SHIP_SEED, help="default: %(default)s")
    parser.add_argument("--split", choices=("ship", "train"), default="ship")
    parser.add_argument("--images", type=int, help="gallery pictures (900 to ship, 12000 to train)")
    parser.add_argument(
        "--queries", type=int, help="queries (660 to ship, as many as images to train)"
    )
    parser.add_argument(
        "--variety", type=int, default=0, help="made-up wordings more per query, to train"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    args = parser.parse_args(argv)
    images = args.images if args.images is not None else {"ship": 900, "train": 12000}[args.split]
    queries = args.queries
    if queries is None:
        queries = {"ship": 660, "train": images}[args.split]
    if min(images, queries, args.workers) < 1 or min(args.seed, args.variety) < 0:
        parser.error("--images, --queries and --workers must be at least 1, the others at least 0")
    try:
        written = write_set(
            args.out, args.seed, args.split, images, queries, args.workers, args.variety
        )
    except OSError as error:
        print(f"cannot write {args.out}: {error}", file=sys.stderr)
        return 1
    print(
        f"{args.out}: {written['images']} gallery pictures, {written['queries']} queries "
        f"({written['query_images']} with a picture), {written['seconds']:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
