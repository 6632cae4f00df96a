"""i-CIR: photos of particular objects, each query with candidates of its own.

Source: B. Psomas, G. Retsinas, N. Efthymiadis, P. Filntisis, Y. Avrithis, P. Maragos, O. Chum,
G. Tolias: "Instance-Level Composed Image Retrieval", NeurIPS 2025, arXiv 2510.25387; files of
vrg.fel.cvut.cz/icir (folders) and huggingface.co/datasets/billpsomas/icir (WebDataset archives).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels, read_head
from mmrag.eval_sets.importers.tar_samples import keep, record_of, samples
from mmrag.eval_sets.records import RecordError, inside, is_plain_id
from mmrag.system.text_files import open_text
from mmrag.types import GalleryImage

_NAME = "icir"
_TABLES = ("query_files.csv", "database_files.csv")


def import_set(source: Path, folder: Path, images: Path | None = None) -> EvalSet:
    """Import all queries; the photos of a query's object in the database are its candidates.

    `query_files.csv` and `database_files.csv`, in `source` or in `annotations`, have a photo's
    path, a text and the object's name in each row. The candidates with the query's text are right.
    Photos are found under their paths; if `webdataset` has archives instead, they are streamed
    into `images` of `folder`.

    Args:
        source: the data set's folder.
        folder: where the eval set goes.
        images: the folder with `query` and `database`. Default: `source`.
    """
    if (folder / "eval_set.json").exists() and read_head(folder).get("name") != _NAME:
        raise EvalSetError(f"{folder} holds another eval set; name another folder.")
    tables = source / "annotations" if (source / "annotations").is_dir() else source
    asked, database = (list(_rows(tables / name)) for name in _TABLES)
    pictures = (images or source).resolve()
    archives = sorted((source / "webdataset").glob("*/*.tar"))
    if archives:
        pictures = folder.resolve() / "images"
        wanted = {path for path, _, _, _ in (*asked, *database)}
        _unpack(archives, pictures, wanted)
    gallery: dict[str, GalleryImage] = {}
    pools: dict[str, list[str]] = defaultdict(list)
    right: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, text, name, error in database:
        picture = inside(str(pictures), path)
        if picture is None or not is_plain_id(path):
            raise error("the path leaves the folder of photos")
        if path in gallery:
            raise error(f"{path!r} stands twice")
        gallery[path] = GalleryImage(path, picture, metadata={"instance": name, "text": text})
        pools[name].append(path)
        right[name, text].append(path)
    shared = {name: tuple(ids) for name, ids in pools.items()}
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for number, (path, text, name, error) in enumerate(asked):
        picture = inside(str(pictures), path)
        if picture is None:
            raise error("the path leaves the folder of photos")
        if name not in shared:
            raise error(f"the object {name!r} is not in the database")
        query_id = f"{number:04d}"
        queries.append(EvalQuery(query_id, picture, text, category=name, pool=shared[name]))
        qrels[query_id] = dict.fromkeys(right.get((name, text), ()), 1)
    return EvalSet(
        name=_NAME,
        folder=folder,
        image_root=pictures,
        images=list(gallery.values()),
        queries=queries,
        qrels=qrels,
        description="i-CIR: a photo of an object and how it is wanted, among photos like it.",
        licence="CC BY-NC-SA 4.0; photos: LAION and the terms of their owners",
        source="i-CIR (Psomas, Retsinas, Efthymiadis, Filntisis, Avrithis, Maragos, Chum, Tolias, "
        "NeurIPS 2025)",
        primary_metric="AP_trapezoid@10000",
    )


def _rows(path: Path) -> Iterator[tuple[str, str, str, Any]]:
    """Path, text and object of each line, and a function that makes an error for it."""
    try:
        with open_text(path, newline="") as file:
            for number, cells in enumerate(csv.reader(file), start=1):

                def error(what: str, number: int = number) -> RecordError:
                    return RecordError(path, number, what)

                if len(cells) != 3 or not all(cell.strip() for cell in cells):
                    raise error("expected a path, a text and the name of an object")
                name, text, instance = (cell.strip() for cell in cells)
                yield name.removeprefix("./"), text, instance, error
    except (OSError, ValueError, csv.Error) as problem:
        raise EvalSetError(f"{path} cannot be read: {problem}.") from problem


def _unpack(archives: list[Path], folder: Path, wanted: set[str]) -> None:
    """Write the photos that the tables name, and no others, under the paths in their records."""
    for _, _, parts in samples(archives):
        name = str(record_of(parts).get("img_path", "")).removeprefix("./")
        found = inside(str(folder), name) if name in wanted else None
        data = next((data for suffix, data in parts.items() if suffix != "json"), None)
        if found is not None and data is not None:
            keep(Path(found), data)
