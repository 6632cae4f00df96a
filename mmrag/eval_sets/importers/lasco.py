"""LaSCo: COCO photos and how the wanted one differs, 39,826 photos in `val`.

Source: M. Levy, R. Ben-Ari, N. Darshan, D. Lischinski: "Data Roaming and Quality Assessment for
Composed Image Retrieval", AAAI 2024; files of github.com/levymsn/LaSCo.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers.notes import wordless_note
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import Record, RecordError, inside, read_json, read_json_list
from mmrag.types import GalleryImage


def import_set(
    source: Path, folder: Path, split: str = "val", images: Path | None = None
) -> EvalSet:
    """Import the queries of one split over its corpus; image ids are COCO's numbers.

    The corpus is `lasco_SPLIT_corpus.json`, pairs of id and path; without it, it is the pictures
    that the queries name. The reference image stays in the ranking.

    Args:
        source: the folder with `lasco_val.json` (or the parent of `downloads`).
        folder: where the eval set goes.
        split: `val` or `train`.
        images: the folder with `val2014` and `train2014`. Default: `coco` in `source`, else
            `source`.
    """
    root = data_folder(source, f"lasco_{split}.json", "downloads")
    pictures = image_folder(images, root / "coco", root)
    gallery: dict[str, str] = {}
    corpus = root / f"lasco_{split}_corpus.json"
    if corpus.is_file():
        for number, pair in enumerate(_pairs(corpus), start=1):
            _add(gallery, pair, str(pictures), RecordError(corpus, number, "", "entry"))
    records = read_json_list(root / f"lasco_{split}.json")
    if not gallery:
        for record in records:
            for key in ("query-image", "target-image"):
                _add(gallery, record.values.get(key), str(pictures), record.error(""))
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for record in records:
        reference, target = (
            _known(record, key, gallery) for key in ("query-image", "target-image")
        )
        # Several queries may come from one question of VQA 2.0.
        query_id = f"{record.integer('qid')}-{record.line - 1}"
        text = record.words("query-text")
        metadata = {"reference": reference}
        queries.append(EvalQuery(query_id, gallery[reference], text, metadata=metadata))
        qrels[query_id] = {target: 1}
    return EvalSet(
        name=f"lasco-{split}",
        folder=folder,
        image_root=pictures,
        images=[GalleryImage(name, path) for name, path in gallery.items()],
        queries=queries,
        qrels=qrels,
        description=f"LaSCo, {split}: a photo and how the wanted one differs.",
        licence="MIT (annotations); photos: terms of COCO and Flickr",
        source="LaSCo (Levy, Ben-Ari, Darshan, Lischinski, AAAI 2024); photos: COCO 2014",
        primary_metric="hit_rate@10",
        notes=wordless_note(queries),
    )


def _pairs(path: Path) -> Iterable[Any]:
    held = read_json(path)
    if isinstance(held, dict):
        return held.items()
    if isinstance(held, list):
        return held
    raise RecordError(path, None, "must hold a list of pairs of id and path")


def _add(gallery: dict[str, str], pair: Any, pictures: str, where: RecordError) -> None:
    """Keep a pair of id and path."""
    if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[1], str):
        name, path = str(pair[0]), inside(pictures, pair[1])
        if name.isascii() and name.isdigit() and path is not None:
            if gallery.setdefault(name, path) == path:
                return
            what = f"the id {name} has another path above"
            raise RecordError(where.path, where.line, what, "entry")
    what = "expected a COCO number and a path below the folder of photos"
    raise RecordError(where.path, where.line, what, "entry")


def _known(record: Record, key: str, gallery: dict[str, str]) -> str:
    pair = record.values.get(key)
    name = str(pair[0]) if isinstance(pair, list) and pair else ""
    if name not in gallery:
        raise record.error(f"{key!r} names an image that is not in the corpus")
    return name
