"""A set as `eval-set export --format webdataset` writes it; see the exporter for the layout."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels, read_head
from mmrag.eval_sets.importers.tar_samples import keep, record_of, samples
from mmrag.eval_sets.records import Record, RecordError, parse_grade
from mmrag.system.text_files import open_text
from mmrag.types import GalleryImage


def import_set(source: Path, folder: Path) -> EvalSet:
    """Import the set; pictures are streamed into `images` of `folder`.

    Args:
        source: the folder with `corpus`, `queries` and `qrels.csv`, and `pools.csv` if queries have
            candidates of their own.
        folder: where the eval set goes.
    """
    name = source.resolve().name
    if (folder / "eval_set.json").exists() and read_head(folder).get("name") != name:
        raise EvalSetError(f"{folder} holds another eval set; name another folder.")
    pictures = folder.resolve() / "images"
    gallery: dict[str, GalleryImage] = {}
    for record, paths in _samples(source, "corpus", pictures):
        image_id = record.id("id")
        if image_id in gallery or not paths:
            raise record.error(f"{image_id!r} stands twice, or has no picture")
        described = record.text("text") or ""
        metadata = record.object("metadata")
        gallery[image_id] = GalleryImage(image_id, paths[0], described, metadata)
    queries: dict[str, EvalQuery] = {}
    for record, paths in _samples(source, "queries", pictures):
        query_id, text = record.id("id"), record.text("text")
        if query_id in queries or not (paths or text):
            raise record.error(f"{query_id!r} stands twice, or has neither picture nor text")
        queries[query_id] = EvalQuery(
            query_id,
            paths[0] if paths else None,
            text,
            category=record.text("category") or "",
            paraphrases=record.strings("paraphrases"),
            metadata=record.object("metadata"),
            more_images=tuple(paths[1:]),
        )
    qrels: Qrels = defaultdict(dict)
    for number, cells in _table(source / "qrels.csv", 3):
        try:
            qrels[cells[0]][cells[1]] = parse_grade(cells[2])
        except ValueError:
            what = "the score must be a whole number"
            raise RecordError(source / "qrels.csv", number, what) from None
    pools: dict[str, list[str]] = defaultdict(list)
    if (source / "pools.csv").is_file():
        for number, cells in _table(source / "pools.csv", 2):
            if cells[1] not in gallery:
                what = f"{cells[1]!r} is not in the corpus"
                raise RecordError(source / "pools.csv", number, what)
            pools[cells[0]].append(cells[1])
    return EvalSet(
        name=name,
        folder=folder,
        image_root=pictures,
        images=list(gallery.values()),
        queries=[replace(one, pool=tuple(pools.get(i, ()))) for i, one in queries.items()],
        qrels=dict(qrels),
        description=f"{name}, from WebDataset archives.",
        licence="see the set that was exported",
        source=f"{name}; pictures: from its archives",
    )


def _samples(source: Path, part: str, pictures: Path) -> Iterator[tuple[Record, list[str]]]:
    archives = sorted((source / part).glob("*.tar"))
    if not archives:
        raise EvalSetError(f"{source / part} holds no .tar archives.")
    for number, (archive, _, parts) in enumerate(samples(archives), start=1):
        record = Record(archive, number, record_of(parts), "sample")
        found = [
            keep(pictures / part / f"{number:08d}.{place}{_suffix(suffix)}", parts[suffix])
            for place, suffix in enumerate(sorted(set(parts) - {"json"}, key=_place))
        ]
        yield record, found


def _place(suffix: str) -> int:
    """0 for "jpg", 1 for "1.jpg" and so on."""
    number = suffix.partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0


def _suffix(suffix: str) -> str:
    last = suffix.rpartition(".")[2]
    return f".{last}" if last.isascii() and last.isalnum() else ".img"


def _table(path: Path, columns: int) -> Iterator[tuple[int, Any]]:
    """(number, cells) of each line below the head."""
    try:
        with open_text(path, newline="") as file:
            for number, cells in enumerate(csv.reader(file), start=1):
                if len(cells) != columns:
                    raise RecordError(path, number, f"expected {columns} cells")
                if number > 1:
                    yield number, cells
    except (OSError, ValueError, csv.Error) as error:
        raise EvalSetError(f"{path} cannot be read: {error}.") from error
