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
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import RecordError, inside, is_plain_id, read_json, read_json_list
from mmrag.types import GalleryImage

CATEGORIES = ("dress", "shirt", "toptee")
SUFFIXES = (".jpg", ".png", ".jpeg")


def import_set(
    source: Path,
    folder: Path,
    category: str,
    split: str = "val",
    images: Path | None = None,
) -> EvalSet:
    """Queries of one category over the images of its split file.

    The published score is R@10 and R@50 of each category (our hit rate) and their mean over the
    three. The two captions are joined as CLIP4Cir does for evaluation ("CAPTION and CAPTION",
    outer full stops, question marks, commas and spaces cut off, the first word capitalised:
    `src/validate.py` of github.com/ABaldrati/CLIP4Cir); they are also kept in `captions` of the
    metadata. As there, the reference image stays in the ranking. `test` has no judgments.

    Args:
        source: the folder with `captions` and `image_splits`.
        folder: where the eval set goes.
        category: `dress`, `shirt` or `toptee`.
        split: `val`, `train` or `test`.
        images: the folder with NAME.jpg or NAME.png. Default: `images` beside `captions`.
    """
    if category not in CATEGORIES:
        raise EvalSetError(f"Unknown category {category!r}; use one of {', '.join(CATEGORIES)}.")
    root = data_folder(source, f"captions/cap.{category}.{split}.json")
    pictures = image_folder(images, root / "images", root / category)
    names = _names(root / "image_splits" / f"split.{category}.{split}.json")
    files = _files(pictures, names)
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for record in read_json_list(root / "captions" / f"cap.{category}.{split}.json"):
        candidate, target = record.required("candidate"), record.text("target")
        for name in (candidate, *([target] if target else [])):
            if name not in files:
                raise record.error(f"{name!r} is not in the split file")
        captions = record.strings("captions")
        if "captions" not in record.values:
            raise record.error("'captions' is missing")
        query_id = f"{category}-{split}-{record.line - 1:05d}"
        metadata = {"reference": candidate, "captions": list(captions)}
        queries.append(
            EvalQuery(query_id, files[candidate], joined(captions), category, metadata=metadata)
        )
        qrels[query_id] = {target: 1} if target else {}
    return EvalSet(
        name=f"fashioniq-{category}-{split}",
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
    )


def joined(captions: tuple[str, ...]) -> str | None:
    """The captions of one query as one text, with two of them exactly as CLIP4Cir does.

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
    """Name to path; where there is no picture, with the suffix that most of the others have."""
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
