"""CIRR: real-life photos and how they differ, 2,297 photos and 4,181 queries in `val`.

Source: Z. Liu, C. Rodriguez-Opazo, D. Teney, S. Gould: "Image Retrieval on Real-life Images with
Pre-trained Vision-and-Language Models", ICCV 2021; files of github.com/Cuberick-Orion/CIRR.
"""

from __future__ import annotations

from pathlib import Path

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers.notes import wordless_note
from mmrag.eval_sets.importers.places import check_gallery, data_folder, image_folder
from mmrag.eval_sets.records import (
    Record,
    RecordError,
    inside,
    is_plain_id,
    read_json,
    read_json_list,
)
from mmrag.types import GalleryImage

SPLITS = ("train", "val", "test1")


def import_set(
    source: Path,
    folder: Path,
    split: str = "val",
    images: Path | None = None,
    gallery: str = "split",
) -> EvalSet:
    """Import the queries of one split over the images of its split file, or of all three.

    As in the published scores, the reference image is left out of the ranking and `target_hard`
    alone is right. Query metadata: `subset` (the other members of `img_set`, for R_subset and the
    server's second file), `reference` (an image id), `img_set` (its id), and `target_soft` as
    published: it also holds -1.0 and 0.5, and at times the reference but not the target, so it is
    no grade of relevance. `test1` has no judgments; only the evaluation server has them. One of
    its captions is blank: that query is asked with its picture alone.

    Args:
        source: the folder with `captions` and `image_splits` (or the parent of `cirr`).
        folder: where the eval set goes.
        split: `val`, `test1` or `train`.
        images: the folder with `dev`, `test1` and `train`. Default: `img_raw` beside `captions`.
        gallery: `split`, or `all` for the images of the three split files (21,551 of them).
    """
    check_gallery(gallery, "split", "all")
    root = data_folder(source, f"captions/cap.rc2.{split}.json", "cirr")
    pictures = image_folder(images, root / "img_raw", root / "images")
    found: dict[str, GalleryImage] = {}
    for one in (split,) if gallery == "split" else SPLITS:
        found |= _gallery(root / "image_splits" / f"split.rc2.{one}.json", str(pictures))
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for record in read_json_list(root / "captions" / f"cap.rc2.{split}.json"):
        query_id, reference = str(record.integer("pairid")), record.required("reference")
        members, number = _img_set(record)
        target = record.text("target_hard")
        for name in (reference, *members, *([target] if target else [])):
            if name not in found:
                raise record.error(f"{name!r} is not in the split file")
        if query_id in qrels:
            raise record.error(f"the pairid {query_id} stands twice")
        metadata = {
            "reference": reference,
            "img_set": number,
            "subset": [name for name in members if name != reference],
        }
        if target:
            metadata["target_soft"] = record.object("target_soft")
        caption = record.words("caption")
        queries.append(EvalQuery(query_id, found[reference].path, caption, metadata=metadata))
        qrels[query_id] = {target: 1} if target else {}
    return EvalSet(
        name=f"cirr-{split}" + ("" if gallery == "split" else "-all"),
        folder=folder,
        image_root=pictures,
        images=list(found.values()),
        queries=queries,
        qrels=qrels,
        version="rc2",
        description=f"CIRR, {split}: a photo and how the wanted one differs.",
        licence="MIT (annotations); photos: terms of NLVR2",
        source="CIRR (Liu, Rodriguez-Opazo, Teney, Gould, ICCV 2021)",
        primary_metric="hit_rate@5",
        exclude_query_image=True,
        notes=wordless_note(queries),
        gallery_kind=gallery,
    )


def _gallery(path: Path, root: str) -> dict[str, GalleryImage]:
    names = read_json(path)
    if not isinstance(names, dict):
        raise RecordError(path, None, "must hold one object")
    gallery = {}
    for number, (name, relative) in enumerate(names.items(), start=1):
        picture = inside(root, relative) if isinstance(relative, str) else None
        if picture is None or not is_plain_id(name):
            what = f"the path of {name!r} leaves the image root, or the name is no plain string"
            raise RecordError(path, number, what, "entry")
        gallery[name] = GalleryImage(name, picture)
    return gallery


def _img_set(record: Record) -> tuple[tuple[str, ...], int]:
    inner = Record(record.path, record.line, record.object("img_set"), record.unit)
    members = inner.strings("members")
    if not members:
        raise record.error("'img_set' has no members")
    return members, inner.integer("id")
