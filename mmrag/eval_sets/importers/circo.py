"""CIRCO: composed queries with several right images, over COCO's 123,403 unlabeled photos.

Source: A. Baldrati, L. Agnolucci, M. Bertini, A. Del Bimbo: "Zero-Shot Composed Image Retrieval
with Textual Inversion", ICCV 2023; files of github.com/miccunifi/CIRCO.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers.notes import wordless_note
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import Record, RecordError, inside, read_json, read_json_list
from mmrag.types import GalleryImage

_COCO = "COCO2017_unlabeled"


def import_set(
    source: Path, folder: Path, split: str = "val", images: Path | None = None
) -> EvalSet:
    """Import the queries of one split over COCO's unlabeled photos; image ids are COCO's numbers.

    The gallery comes from `COCO2017_unlabeled/annotations/image_info_unlabeled2017.json`, else
    from the folder of pictures. The reference image stays in the ranking; the text is the relative
    caption alone, as in SEARLE (other protocols add the shared concept). Query metadata:
    `semantic_aspects`, `shared_concept`, `reference` and `target` (image ids; the published recall
    counts the target alone, mAP all of `gt_img_ids`). `test` has no judgments; only the server
    has them.

    Args:
        source: the folder with `annotations` and `COCO2017_unlabeled`.
        folder: where the eval set goes.
        split: `val` or `test`.
        images: the folder with 000000271520.jpg and so on. Default: `unlabeled2017` in
            `COCO2017_unlabeled`.
    """
    root = data_folder(source, f"annotations/{split}.json")
    pictures = image_folder(images, root / _COCO / "unlabeled2017", root / "unlabeled2017")
    gallery = _gallery(root, pictures)
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for record in read_json_list(root / "annotations" / f"{split}.json"):
        query_id, reference = str(record.integer("id")), str(record.integer("reference_img_id"))
        right = _image_ids(record, "gt_img_ids")
        metadata: dict[str, Any] = {
            "reference": reference,
            "shared_concept": record.text("shared_concept") or "",
        }
        if right:
            metadata["target"] = str(record.integer("target_img_id"))
            metadata["semantic_aspects"] = list(record.strings("semantic_aspects"))
        for name in (reference, *right, metadata.get("target", reference)):
            if name not in gallery:
                raise record.error(f"the image {name} is not in the gallery")
        if query_id in qrels:
            raise record.error(f"the id {query_id} stands twice")
        text = record.words("relative_caption")
        queries.append(EvalQuery(query_id, gallery[reference], text, metadata=metadata))
        qrels[query_id] = dict.fromkeys(right, 1)
    return EvalSet(
        name=f"circo-{split}",
        folder=folder,
        image_root=pictures,
        images=[GalleryImage(name, path) for name, path in gallery.items()],
        queries=queries,
        qrels=qrels,
        description=f"CIRCO, {split}: a photo and how the wanted ones differ.",
        licence="CC BY-NC 4.0 (annotations); photos: terms of COCO and Flickr",
        source="CIRCO (Baldrati, Agnolucci, Bertini, Del Bimbo, ICCV 2023)",
        primary_metric="mAP@10",
        notes=wordless_note(queries),
        gallery_kind="split",
    )


def _gallery(root: Path, pictures: Path) -> dict[str, str]:
    """COCO number to path."""
    for info in (root / _COCO / "annotations", root / "annotations", root / _COCO, root):
        path = info / "image_info_unlabeled2017.json"
        if path.is_file():
            return _gallery_of_info(path, str(pictures))
    names = sorted(p.name for p in pictures.iterdir()) if pictures.is_dir() else []
    gallery = {
        str(int(name[:-4])): str(pictures / name)
        for name in names
        if re.fullmatch(r"[0-9]{1,12}\.jpg", name)
    }
    if not gallery:
        raise EvalSetError(
            f"The gallery of CIRCO is COCO's unlabeled photos: put image_info_unlabeled2017.json "
            f"under {root / _COCO / 'annotations'}, or name the folder of photos with --images."
        )
    return gallery


def _gallery_of_info(path: Path, pictures: str) -> dict[str, str]:
    info = read_json(path)
    if not isinstance(info, dict) or not isinstance(info.get("images"), list):
        raise RecordError(path, None, "must hold an object with a list of images")
    gallery: dict[str, str] = {}
    for number, values in enumerate(info["images"], start=1):
        if not isinstance(values, dict):
            raise RecordError(path, number, "not an object", "image")
        record = Record(path, number, values, "image")
        picture = inside(pictures, record.required("file_name"))
        if picture is None:
            raise record.error("'file_name' leaves the folder of photos")
        if gallery.setdefault(str(record.integer("id")), picture) != picture:
            raise record.error(f"the id {record.integer('id')} stands twice")
    return gallery


def _image_ids(record: Record, key: str) -> list[str]:
    numbers = record.values.get(key, [])
    if isinstance(numbers, list) and all(type(number) is int for number in numbers):
        return [str(number) for number in numbers]
    raise record.error(f"{key!r} must be a list of whole numbers")
