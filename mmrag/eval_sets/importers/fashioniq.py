"""FashionIQ: garments and how the wanted one differs, three categories with their own galleries.

Source: H. Wu, Y. Gao, X. Guo, Z. Al-Halah, S. Rennie, K. Grauman, R. Feris: "Fashion IQ: A New
Dataset Towards Retrieving Images by Natural Language Feedback", CVPR 2021; files of
github.com/XiaoxiaoGuo/fashion-iq.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mmrag.errors import EvalSetError
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

CATEGORIES = ("dress", "shirt", "toptee")
SPLITS = ("train", "val", "test")
SUFFIXES = (".jpg", ".png", ".jpeg")


def import_set(
    source: Path,
    folder: Path,
    category: str,
    split: str = "val",
    images: Path | None = None,
    gallery: str = "split",
) -> EvalSet:
    """Import the queries of one category over its split's images, or of all in one gallery.

    The published score is R@10 and R@50 of each category (our hit rate) and their mean over the
    three. The two captions are joined as CLIP4Cir does for evaluation ("CAPTION and CAPTION",
    outer full stops, question marks, commas and spaces cut off, the first word capitalised:
    `src/validate.py` of github.com/ABaldrati/CLIP4Cir); they are also kept in `captions` of the
    metadata. As in CLIP4Cir, the reference image stays in the ranking. `test` has no judgments.

    Args:
        source: the folder with `captions` and `image_splits`.
        folder: where the eval set goes.
        category: `dress`, `shirt`, `toptee`, or `all` for the queries of the three.
        split: `val`, `train` or `test`.
        images: the folder with NAME.jpg or NAME.png. Default: `images` beside `captions`.
        gallery: `split` (one category); for `all` categories `together`, the three split files, or
            `all`, those of every split (74,381 images), as in M-BEIR.
    """
    if category not in (*CATEGORIES, "all"):
        raise EvalSetError(f"Unknown category {category!r}; use one of {', '.join(CATEGORIES)}.")
    check_gallery(gallery, *(("together", "all") if category == "all" else ("split",)))
    chosen = CATEGORIES if category == "all" else (category,)
    root = data_folder(source, f"captions/cap.{chosen[0]}.{split}.json")
    pictures = image_folder(images, root / "images", root / category)
    splits = SPLITS if gallery == "all" else (split,)
    lists = (root / "image_splits" / f"split.{c}.{s}.json" for s in splits for c in chosen)
    files = _files(pictures, list(dict.fromkeys(name for path in lists for name in _names(path))))
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for one in chosen:
        for record in read_json_list(root / "captions" / f"cap.{one}.{split}.json"):
            query, target = _query(record, one, split, files)
            queries.append(query)
            qrels[query.query_id] = {target: 1} if target else {}
    suffix = {"split": "", "together": "-together", "all": "-all"}[gallery]
    name = "" if category == "all" else f"-{category}"
    return EvalSet(
        name=f"fashioniq{name}-{split}{suffix}",
        folder=folder,
        image_root=pictures,
        images=[GalleryImage(name, path) for name, path in files.items()],
        queries=queries,
        qrels=qrels,
        description=f"FashionIQ, {category}, {split}: a garment and how the wanted one differs.",
        licence="CDLA-Permissive (annotations); pictures: their sellers'",
        source="FashionIQ (Wu et al., CVPR 2021)",
        primary_metric="hit_rate@10",
        notes=wordless_note(queries),
        gallery_kind=gallery,
    )


def _query(
    record: Record, category: str, split: str, files: dict[str, str]
) -> tuple[EvalQuery, str | None]:
    candidate, target = record.required("candidate"), record.text("target")
    for name in (candidate, *([target] if target else [])):
        if name not in files:
            raise record.error(f"{name!r} is not in the split file")
    captions = record.strings("captions")
    if "captions" not in record.values:
        raise record.error("'captions' is missing")
    query_id = f"{category}-{split}-{record.line - 1:05d}"
    metadata = {"reference": candidate, "captions": list(captions)}
    text = joined(captions)
    return EvalQuery(query_id, files[candidate], text, category, metadata=metadata), target


def joined(captions: tuple[str, ...]) -> str | None:
    """The captions of one query as one text; two are joined exactly as in CLIP4Cir.

    Blank ones are left out; None when all are.
    """
    parts = [part for caption in captions if (part := caption.strip(".?, "))]
    return " and ".join([parts[0].capitalize(), *parts[1:]]) if parts else None


def _names(path: Path) -> list[str]:
    names = read_json(path)
    if not isinstance(names, list):
        raise RecordError(path, None, "must hold a list")
    seen = set()
    for number, name in enumerate(names, start=1):
        if not (isinstance(name, str) and is_plain_id(name) and "/" not in name):
            raise RecordError(path, number, "not the name of a picture", "entry")
        if name in seen:
            raise RecordError(path, number, f"{name!r} stands twice", "entry")
        seen.add(name)
    return names


def _files(pictures: Path, names: list[str]) -> dict[str, str]:
    """Name to path; a missing picture gets the suffix that most of the others have."""
    there = {path.name for path in pictures.iterdir()} if pictures.is_dir() else set()
    suffixes = {
        name: suffix for name in names for suffix in reversed(SUFFIXES) if name + suffix in there
    }
    usual = (Counter(suffixes.values()).most_common(1) or [(SUFFIXES[0], 0)])[0][0]
    files = {}
    for name in names:
        path = inside(str(pictures), name + suffixes.get(name, usual))
        assert path is not None  # a name without "/" stays where it is
        files[name] = path
    return files
