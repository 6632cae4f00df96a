"""The Grocery Store Dataset: photos of 81 products in 43 groups, with product pictures.

Source: M. Klasson, C. Zhang, H. Kjellström: "A Hierarchical Grocery Store Image Dataset with
Visual and Semantic Labels", WACV 2019.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.records import inside
from mmrag.system.text_files import open_text, read_text
from mmrag.types import GalleryImage


@dataclass(frozen=True)
class _Product:
    name: str
    group: str
    picture: str
    description: str


def import_set(
    source: Path, folder: Path, split: str = "val", seed: int = 0, varieties: int = 3
) -> EvalSet:
    """Make labelled queries over the photos of one split.

    - `same`: a photo; the other photos of the same product are right.
    - `variety`: a photo and "the NAME variety instead"; photos of that other product of the same
      group are right, more photos of the shown product are hard negatives (grade 0).
    - `name`: a product's name alone; its photos are right.
    - `picture`: the shop's own picture of a product; its photos are right.

    Args:
        source: the data set's `dataset` folder (or its parent).
        folder: where the eval set goes; the photos stay where they are.
        split: `train`, `val` or `test`.
        seed: of the choice of varieties.
        varieties: number of other varieties to ask for with each photo.
    """
    root = _root(source)
    products = _read_products(root)
    photos = _read_split(root, split, products)
    by_product: dict[int, list[str]] = defaultdict(list)
    for path, product in photos:
        by_product[product].append(path)
    groups: dict[str, list[int]] = defaultdict(list)
    for number in sorted(by_product):
        groups[products[number].group].append(number)

    images = [
        GalleryImage(
            path,
            str(root / path),
            products[product].description,
            {"product": products[product].name, "group": products[product].group},
        )
        for path, product in photos
    ]
    queries: list[EvalQuery] = []
    qrels: Qrels = {}

    def add(
        category: str,
        right: list[str],
        image: str | None,
        text: str | None,
        wrong: list[str] | None = None,
    ) -> None:
        query_id = f"{category}-{len(queries):05d}"
        picture = _below(root, image) if image else None
        queries.append(EvalQuery(query_id, picture, text, category))
        qrels[query_id] = {**dict.fromkeys(right, 1), **dict.fromkeys(wrong or [], 0)}

    for product in sorted(by_product):
        add("name", by_product[product], None, products[product].name)
        add("picture", by_product[product], products[product].picture, None)
    rng = random.Random(seed)
    for path, product in photos:
        others = [other for other in by_product[product] if other != path]
        if others:
            add("same", others, path, None)
        siblings = [s for s in groups[products[product].group] if s != product]
        for sibling in sorted(rng.sample(siblings, min(varieties, len(siblings)))):
            text = f"the {products[sibling].name} variety instead"
            add("variety", by_product[sibling], path, text, others[:5])
    return EvalSet(
        name=f"grocery-{split}",
        folder=folder,
        image_root=root,
        images=images,
        queries=queries,
        qrels=qrels,
        description=f"Grocery Store Dataset, {split} photos: same product, other variety, name.",
        licence="MIT",
        source="Grocery Store Dataset (Klasson, Zhang, Kjellström, WACV 2019)",
        exclude_query_image=True,
    )


def product_names(source: Path) -> list[str]:
    """All products of the data set; `source` as `import_set` takes it."""
    return [product.name for product in _read_products(_root(source)).values()]


def _root(source: Path) -> Path:
    return (source if (source / "classes.csv").is_file() else source / "dataset").resolve()


def _read_products(root: Path) -> dict[int, _Product]:
    products = {}
    try:
        with open_text(root / "classes.csv", newline="") as file:
            rows = list(csv.reader(file))[1:]
        for name, number, group, _, picture, description in rows:
            words = Path(_below(root, description))
            if not words.resolve().is_relative_to(root):
                raise ValueError(f"{description} is a link that leads out of it")
            text = read_text(words).strip()
            _below(root, picture)
            products[int(number)] = _Product(_words(name), _words(group), picture.lstrip("/"), text)
    except (OSError, ValueError, csv.Error) as error:
        raise EvalSetError(f"{root} is not the Grocery Store Dataset: {error}") from error
    return products


def _read_split(root: Path, split: str, products: dict[int, _Product]) -> list[tuple[str, int]]:
    try:
        lines = read_text(root / f"{split}.txt").splitlines()
        rows = [line.split(",") for line in lines if line.strip()]
        photos = [(path.strip(), int(product)) for path, product, *_ in rows]
        for path, product in photos:
            _below(root, path)
            if product not in products:
                raise ValueError(f"{path} is of product {product}, which classes.csv lacks")
        return photos
    except (OSError, ValueError) as error:
        raise EvalSetError(f"{root}/{split}.txt cannot be read: {error}") from error


def _below(root: Path, name: str) -> str:
    """The absolute path of a listed file; ValueError if it leaves `root`."""
    path = inside(str(root), name.lstrip("/"))
    if path is None:
        raise ValueError(f"{name!r} leaves it")
    return path


def _words(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").strip()
