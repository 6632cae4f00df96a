"""A folder as whoever reads the documents has it, with all files that their commands name."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

from PIL import Image

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.exporters import export_eval_set
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.known_sets import CATALOGUE

from .published_forms import (
    write_beir,
    write_circo,
    write_cirr,
    write_fashioniq,
    write_folder,
    write_pinpoint,
    write_trec,
)

PICTURES, QUERIES = 24, 6
# Folders that the documents call eval sets.
SETS = ("eval_sets/catalogue", "eval_sets/mine", "my_set", "my-set", "shoes", "bags")


def make_folder(folder: Path) -> None:
    """Some of the shipped drawings as `photos`, tables about them, eval sets, benchmark files."""
    catalogue = EvalSet.load(CATALOGUE)
    _photos(folder, catalogue)
    for name in SETS:
        _small_set(catalogue, folder / name)
    cirr = write_cirr(folder / "data" / "cirr")
    # Galleries of all splits take all lists.
    (cirr / "image_splits" / "split.rc2.train.json").write_text("{}")
    (folder / "pictures").symlink_to(folder / "data" / "fashion-iq" / "images")
    write_fashioniq(folder / "data" / "fashion-iq")
    for part in ("train", "test"):
        for category in ("dress", "shirt", "toptee"):
            lists = folder / "data" / "fashion-iq" / "image_splits"
            (lists / f"split.{category}.{part}.json").write_text("[]")
    (folder / "data" / "fashioniq").symlink_to(folder / "data" / "fashion-iq")
    (folder / "data" / "circo").symlink_to(folder / "data" / "CIRCO")
    circo = write_circo(folder / "data" / "CIRCO")
    import_eval_set("circo", circo, folder / "circo-val")
    write_folder(folder / "photos-by-class")
    write_trec(folder / "data" / "topics")
    pinpoint = write_pinpoint(folder / "data" / "pinpoint-dataset")
    (pinpoint / "images").rename(folder / "pinpoint-736x")
    write_beir(folder / "data" / "mine")
    small = EvalSet.load(folder / "my_set")
    export_eval_set(small, "mteb", folder / "data" / "mbeir_cirr_task7")


def _photos(folder: Path, catalogue: EvalSet) -> None:
    photos = folder / "photos"
    photos.mkdir()
    rows = []
    for image in catalogue.images[:PICTURES]:
        path = shutil.copy(image.path, photos)
        known = {key: image.metadata[key] for key in ("product", "pattern", "colour")}
        price = str(image.metadata["price"]).replace(".", ",")
        brand = "nike" if len(rows) % 2 else "other"
        rows.append({"path": Path(path).name, "text": image.text, **known, "brand": brand})
        rows[-1]["price"] = price
    products = [{key: row[key] for key in ("path", "product", "pattern", "colour")} for row in rows]
    _table(photos / "products.csv", products)
    _table(folder / "photos.csv", rows)
    _table(folder / "prices.csv", rows, delimiter=";")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for place in (folder, photos):
        (place / "description.json").write_text(lines)
    names = ("leopard.jpg", "user.jpg", "photos/a.jpg", "front.jpg", "back.jpg")
    for name, query in zip(names, catalogue.queries, strict=False):
        with Image.open(str(query.image)) as picture:
            picture.convert("RGB").save(folder / name)


def _table(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="ascii") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def _small_set(catalogue: EvalSet, folder: Path) -> None:
    composed = [one for one in catalogue.queries if one.category == "colour"][:QUERIES]
    wanted = {i for one in composed for i in catalogue.qrels[one.query_id]}
    images = [one for one in catalogue.images if one.image_id in wanted]
    images += [one for one in catalogue.images if one.image_id not in wanted][:PICTURES]
    replace(
        catalogue,
        name=folder.name,
        folder=folder,
        images=images,
        queries=composed,
        qrels={one.query_id: catalogue.qrels[one.query_id] for one in composed},
    ).save()
