"""Makes an eval set of photographs from a folder with the Grocery Store Dataset.

Worked example, the set that ships, and one to train on:

    python -m eval_sets.make_grocery GroceryStoreDataset eval_sets/grocery
    python -m eval_sets.make_grocery GroceryStoreDataset grocery-train --split train

The same Pillow gives the same files. A training set leaves the photos where they are, asks in many
wordings, and for products of other groups too; `--part fit` and `--part choose` are its photos
without and with the last sixth of each product, and leave each other's wordings alone; `--part
names` is a photo of each product, asked for by its name.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import PIL
from PIL import Image, ImageOps

from eval_sets.make_grocery import wording
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers import grocery
from mmrag.types import GalleryImage

LONGER_SIDE = 384
QUALITY = 84
ORDER = ("variety", "name", "picture", "same")
FIRST = "variety-00741"
# Made-up wordings of each training query with words, besides the templates; and, if there are to be
# many, composed sentences.
MADE_UP, MORE_MADE_UP, ASKED = 20, 30, 30


def ship(source: Path, out: Path) -> EvalSet:
    """The photos of `val` as WebP, with a held-out wording for each query that has words."""
    eval_set = grocery.import_set(source, out, "val")
    for old in ("images", "pictures"):
        shutil.rmtree(out / old, ignore_errors=True)
    photos = {image.path: out / "images" / f"{_stem(image.path)}.webp" for image in eval_set.images}
    pictures = {
        query.image: out / "pictures" / f"{_stem(query.image)}.webp"
        for query in eval_set.queries
        if query.image and query.image not in photos
    }
    written = {path: str(target) for path, target in {**photos, **pictures}.items()}
    for path, target in written.items():
        _shrink(path, Path(target))
    ids = {image.image_id: _stem(image.path) for image in eval_set.images}
    called = wording.names(grocery.product_names(source))
    asked_for = _products_asked_for(eval_set)
    rng = random.Random(0)
    queries = []
    for query in eval_set.queries:
        held_out: tuple[str, ...] = ()
        if query.category == "variety":
            held_out = (rng.choice(wording.HELD_OUT_INSTEAD),)
        elif query.category == "name":
            held_out = wording.HELD_OUT_NAMED[:1]
        product = asked_for[query.query_id]
        said = tuple(one.format(wording.short(called[product])) for one in held_out)
        image = written[query.image] if query.image else None
        queries.append(replace(query, image=image, paraphrases=said, metadata={"product": product}))
    # Queries of picture and words first, beginning with one that shows well what reranking does:
    # a page opens with it.
    queries.sort(key=lambda query: ORDER.index(query.category))
    at = [query.query_id for query in queries].index(FIRST)
    queries[0], queries[at] = queries[at], queries[0]
    shutil.copyfile(_licence(source), out / "LICENSE")
    return replace(
        eval_set,
        name="grocery",
        image_root=out,
        images=[
            replace(image, image_id=ids[image.image_id], path=written[image.path])
            for image in eval_set.images
        ],
        queries=queries,
        qrels={
            query_id: {ids[image_id]: grade for image_id, grade in judged.items()}
            for query_id, judged in eval_set.qrels.items()
        },
        description="Photos of products in shops: the same product, another variety, by name, "
        "by the shop's own picture.",
        source=f"{eval_set.source}, val; python -m eval_sets.make_grocery, "
        f"Pillow {PIL.__version__}",
        primary_metric="hit_rate@1",
    )


def training(
    source: Path, out: Path, part: str = "all", seed: int = 0, many: bool = True
) -> EvalSet:
    """A training set on the photos of `train`: `all`, or a `part` to `fit` on or to `choose` by.

    `names` is a photo of each product with its name: quick to measure. With `many` wordings these
    include sentences and words of the descriptions.
    """
    whole = grocery.import_set(source, out, "train", seed)
    called = wording.names(grocery.product_names(source))
    by_product: dict[str, list[GalleryImage]] = defaultdict(list)
    for image in whole.images:
        by_product[str(image.metadata["product"])].append(image)
    for product, photos in by_product.items():
        aside = max(1, round(len(photos) / 6))
        if part == "names":
            by_product[product] = photos[:1]
        elif part != "all":
            by_product[product] = photos[:-aside] if part == "fit" else photos[-aside:]
    keep = {image.image_id for photos in by_product.values() for image in photos}
    paths = {image.path: image for image in whole.images if image.image_id in keep}
    instead, named = (wording.of_part(one, part) for one in (wording.INSTEAD, wording.NAMED))
    words = wording.fillers((image.text for image in whole.images), called)
    asked_for = _products_asked_for(whole)
    rng = random.Random(seed)
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    everything = sorted(by_product)

    def more(product: str) -> tuple[str, ...]:
        names = called[product]
        if not many:
            return tuple(wording.made_up(names, rng, MADE_UP))
        sentences = [wording.asked(rng.choice(names), rng, part) for _ in range(ASKED)]
        return (*sentences, *wording.made_up(names, rng, MORE_MADE_UP, words))

    def add(query: EvalQuery, judged: dict[str, int]) -> None:
        queries.append(query)
        qrels[query.query_id] = judged

    for query in whole.queries:
        in_gallery = query.image is None or query.category == "picture" or query.image in paths
        judged = {i: g for i, g in whole.qrels[query.query_id].items() if i in keep}
        if part == "names" and query.category != "name":
            continue
        if not in_gallery or not any(grade > 0 for grade in judged.values()):
            continue
        product = asked_for[query.query_id]
        said: tuple[str, ...] = ()
        if query.category == "variety":
            said = wording.wordings(instead, called, product, rng)
        elif query.category == "name":
            said = wording.wordings(named, called, product, rng)
            said += tuple(called[product])
        if query.text:
            said += more(product)
        add(replace(query, paraphrases=said, metadata={"product": product}), judged)
    for image in sorted(paths.values() if part != "names" else (), key=lambda one: one.image_id):
        shown = image.metadata["product"]
        for other in rng.sample([p for p in everything if p != shown], 2):
            said = wording.wordings(instead, called, other, rng)
            said += more(other)
            judged = {one.image_id: 1 for one in by_product[other]}
            query_id = f"other-{len(queries):05d}"
            add(EvalQuery(query_id, image.path, said[0], "other", said[1:]), judged)
    return replace(
        whole,
        name=f"grocery-train-{part}" if part != "all" else "grocery-train",
        images=list(paths.values()),
        queries=queries,
        qrels=qrels,
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, make, save."""
    parser = argparse.ArgumentParser(
        prog="python -m eval_sets.make_grocery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="folder with the Grocery Store Dataset")
    parser.add_argument("out", type=Path, help="folder to write, made if it is not there")
    parser.add_argument("--split", choices=("ship", "train"), default="ship")
    parser.add_argument("--part", choices=("all", "fit", "choose", "names"), default="all")
    parser.add_argument("--wordings", choices=("few", "many"), default="many")
    parser.add_argument("--seed", type=int, default=0, help="of a training set's queries")
    args = parser.parse_args(argv)
    try:
        if args.split == "ship":
            made = ship(args.source, args.out.resolve())
        else:
            many = args.wordings == "many"
            made = training(args.source, args.out.resolve(), args.part, args.seed, many)
        made.save()
    except (MmragError, OSError) as error:
        print(f"cannot make {args.out}: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(made.images)} photos, {len(made.queries)} queries")
    return 0


def _products_asked_for(eval_set: EvalSet) -> dict[str, str]:
    """The product that each query should find, by query id."""
    products = {image.image_id: str(image.metadata["product"]) for image in eval_set.images}
    return {
        query.query_id: products[min(eval_set.relevant(query.query_id))]
        for query in eval_set.queries
    }


def _shrink(path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    image.save(target, "WEBP", quality=QUALITY, method=6)


def _stem(path: str) -> str:
    return Path(path).stem.removesuffix("_Iconic")


def _licence(source: Path) -> Path:
    here = source / "LICENSE"
    return here if here.is_file() else source.parent / "LICENSE"


if __name__ == "__main__":
    sys.exit(main())
