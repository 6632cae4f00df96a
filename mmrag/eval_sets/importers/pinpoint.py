"""PinPoint: one or two pictures and an instruction, in several wordings, with images judged wrong.

Source: R. Mahadev, J. Yuan, P. Poirson, D. Xue, H.-Y. Wu, D. Kislyuk: "PinPoint: Evaluation of
Composed Image Retrieval with Explicit Negatives, Multi-Image Queries, and Paraphrase Testing",
CVPR 2026, arXiv 2603.04598; files of github.com/pinterest/pinpoint-dataset (commit e4ebb38).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers.parquet_rows import rows
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import Record, RecordError, read_tsv
from mmrag.system.words import counted
from mmrag.types import GalleryImage

SPLITS = ("queries", "paraphrases")
_TABLE, _INDEX = "pinpoint_licensed.parquet", "index_signatures.txt"
_PICTURES = ("query_image_signature", "query_image_signature2")
_JUDGED = ("positive_candidates", "negative_candidates")
_KEPT = ("l1_interest", "skin_tone_bucket", "length_category", "is_question", "is_imperative")
_COLUMNS = ("query_id", "instruction", "query_category", *_PICTURES, *_JUDGED, *_KEPT)
_SIGNATURE = re.compile(r"[0-9a-f]{32}")


def import_set(
    source: Path, folder: Path, split: str = "queries", images: Path | None = None
) -> EvalSet:
    """Import all queries over the whole index, query pictures included, as in the published script.

    Pictures lie under the path in their link, https://i.pinimg.com/736x/aa/bb/cc/aabbcc….jpg, from
    aa on. An image that a query names both right and wrong is right.

    Args:
        source: the repository, with `pinpoint_licensed.parquet` and `index_signatures.txt`.
        folder: where the eval set goes.
        split: `queries`, each row a query, or `paraphrases`: rows with the same pictures and the
            same right images are one query in several wordings.
        images: the folder of pictures. Default: `images` in `source`.
    """
    if split not in SPLITS:
        raise EvalSetError(f"PinPoint has no split {split!r}; use one of {', '.join(SPLITS)}.")
    root = data_folder(source, _TABLE)
    pictures = image_folder(images, root / "images")
    gallery: dict[str, GalleryImage] = {}
    for number, (signature, *_) in read_tsv(root / _INDEX):
        if not _SIGNATURE.fullmatch(signature) or signature in gallery:
            what = "expected a signature, 32 hexadecimal digits, that stands once"
            raise RecordError(root / _INDEX, number, what)
        gallery[signature] = GalleryImage(signature, _path(pictures, signature))
    asked: dict[Any, EvalQuery] = {}
    seen: set[str] = set()
    qrels: Qrels = {}
    both = 0
    for record in rows([root / _TABLE], _COLUMNS):
        query_id, text = record.id("query_id"), record.required("instruction")
        if query_id in seen:
            raise record.error(f"the id {query_id} stands twice")
        seen.add(query_id)
        shown = _pictures(record, pictures)
        right, wrong = (_candidates(record, key) for key in _JUDGED)
        if unknown := [one for one in (*right, *wrong) if one not in gallery]:
            raise record.error(f"the candidate {unknown[0]} is not in {_INDEX}")
        both += len(set(right).intersection(wrong))
        judged = dict.fromkeys(wrong, 0) | dict.fromkeys(right, 1)
        key = query_id if split == "queries" else (*shown, frozenset(right))
        if key in asked:
            first = asked[key]
            wordings = dict.fromkeys((*first.paraphrases, text))
            wordings.pop(first.text or "", None)
            asked[key] = replace(first, paraphrases=tuple(wordings))
            qrels[first.query_id] = judged | qrels[first.query_id]
            continue
        asked[key] = EvalQuery(
            query_id,
            shown[0],
            text,
            category=record.text("query_category") or "",
            metadata={one: record.values[one] for one in _KEPT if one in record.values},
            more_images=shown[1:],
        )
        qrels[query_id] = judged
    return EvalSet(
        name=f"pinpoint-{split}",
        folder=folder,
        image_root=pictures,
        images=list(gallery.values()),
        queries=list(asked.values()),
        qrels=qrels,
        description="PinPoint: one or two pictures and an instruction, with images judged wrong.",
        licence="CC BY 4.0 (annotations); pictures: as image_attribution.json says of each",
        source="PinPoint (Mahadev, Yuan, Poirson, Xue, Wu, Kislyuk, CVPR 2026); pictures: "
        "https://i.pinimg.com/736x/",
        primary_metric="mAP@10",
        notes=(f"{counted(both, 'judgment')} both right and wrong, taken as right.",)
        if both
        else (),
    )


def _path(pictures: Path, signature: str) -> str:
    above = (signature[:2], signature[2:4], signature[4:6])
    return "/".join((str(pictures), *above, f"{signature}.jpg"))


def _pictures(record: Record, pictures: Path) -> tuple[str, ...]:
    """One path, or two; an absent second picture is written "None"."""
    names = [record.text(key) for key in _PICTURES]
    found = [name for name in names if name not in (None, "None")]
    if not found or not all(_SIGNATURE.fullmatch(name or "") for name in found):
        raise record.error("a picture must be a signature, 32 hexadecimal digits")
    return tuple(_path(pictures, name or "") for name in found)


def _candidates(record: Record, key: str) -> tuple[str, ...]:
    """The signatures of a list; most published lists have an empty entry."""
    held = record.values.get(key)
    if isinstance(held, list):
        held = [one for one in held if one is not None]
    return replace(record, values={key: held}).strings(key)
