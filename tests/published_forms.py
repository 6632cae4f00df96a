"""Small files in the forms in which others publish labelled queries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set

MEMBERS = [f"dev-{i}-0-img0" for i in range(6)]


CIRR = [
    {
        "pairid": 12060,
        "reference": MEMBERS[0],
        "target_hard": MEMBERS[1],
        "target_soft": {MEMBERS[1]: 1.0, MEMBERS[2]: -1.0},
        "caption": "show three bottles of soft drink",
        "img_set": {"id": 36, "members": MEMBERS, "reference_rank": 2, "target_rank": 3},
    },
    # As pairid 12130 is published: the reference is in target_soft, the target is not.
    {
        "pairid": 12130,
        "reference": MEMBERS[3],
        "target_hard": MEMBERS[4],
        "target_soft": {MEMBERS[2]: 1.0, MEMBERS[3]: 1.0},
        "caption": "add a wooden log",
        "img_set": {"id": 36, "members": MEMBERS, "reference_rank": 5, "target_rank": 0},
    },
]


FASHION = [
    {
        "target": "B0084Y8XIU",
        "candidate": "B005X4PL1G",
        "captions": ["is shiny and silver with shorter sleeves.", " fit and flare"],
    },
    {"target": "B005X4PL1G", "candidate": "B00NEW", "captions": ["Is Long", "has red"]},
]


CIRCO = [
    {
        "reference_img_id": 271520,
        "target_img_id": 355099,
        "relative_caption": "shows two people and has a more colorful background",
        "shared_concept": "a girl with a traditional Chinese umbrella",
        "gt_img_ids": [355099, 528417],
        "id": 0,
        "semantic_aspects": ["cardinality", "negation"],
    }
]


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def write_cirr(source: Path) -> Path:
    write(source / "captions" / "cap.rc2.val.json", CIRR)
    tests = [
        {key: value for key, value in entry.items() if not key.startswith("target")}
        for entry in CIRR
    ]
    write(source / "captions" / "cap.rc2.test1.json", tests)
    names = {name: f"./dev/{name}.png" for name in (*MEMBERS, "dev-9-0-img1")}
    write(source / "image_splits" / "split.rc2.val.json", names)
    write(source / "image_splits" / "split.rc2.test1.json", names)
    for name in names:
        picture(source / "img_raw" / "dev" / f"{name}.png")
    return source


def write_fashioniq(source: Path) -> Path:
    for category in ("dress", "shirt", "toptee"):
        write(source / "captions" / f"cap.{category}.val.json", FASHION)
        names = ["B0084Y8XIU", "B005X4PL1G", "B00NEW", "B00OTHER"]
        write(source / "image_splits" / f"split.{category}.val.json", names)
    for name in ("B0084Y8XIU.png", "B005X4PL1G.jpg", "B00NEW.jpg", "B00OTHER.jpg"):
        picture(source / "images" / name)
    return source


def write_circo(source: Path) -> Path:
    write(source / "annotations" / "val.json", CIRCO)
    hidden = ("target_img_id", "gt_img_ids", "semantic_aspects")
    tests = [{k: v for k, v in CIRCO[0].items() if k not in hidden}]
    write(source / "annotations" / "test.json", tests)
    numbers = [271520, 355099, 528417, 534704]
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 480} for n in numbers]
    coco = source / "COCO2017_unlabeled"
    write(coco / "annotations" / "image_info_unlabeled2017.json", {"images": images})
    for number in numbers:
        picture(coco / "unlabeled2017" / f"{number:012d}.jpg")
    return source


def write_folder(source: Path) -> Path:
    for name in ("cat/1.png", "cat/deep/2.png", "cat/3.png", "dog/1.png", "loose.png"):
        picture(source / name)
    return source


def write_beir(source: Path) -> Path:
    corpus = [{"_id": "d1", "title": "A", "text": "mug"}, {"_id": "d2", "title": "", "text": "x"}]
    queries = [{"_id": "q1", "text": "a mug"}, {"_id": "q2", "text": "of another split"}]
    write(source / "corpus.jsonl", "".join(json.dumps(one) + "\n" for one in corpus))
    write(source / "queries.jsonl", "".join(json.dumps(one) + "\n" for one in queries))
    write(source / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    picture(source / "images" / "d1.png")
    picture(source / "images" / "d2.jpg")
    return source


def write_trec(source: Path) -> Path:
    write(source / "topics.tsv", "301\ta red mug\n302\tin green\ta.png\r\n")
    write(source / "qrels.txt", "301 0 a 1\n301 0 b -2\n302 Q0 b 2\n")
    picture(source / "images" / "a.png")
    picture(source / "images" / "b.png")
    return source


SIGNATURES = [f"{number:032x}" for number in range(0xAFD9DE << 104, (0xAFD9DE << 104) + 6)]


PINPOINT = [
    {
        "query_id": f"query_{number:05}",
        "query_image_signature": SIGNATURES[first],
        "query_image_signature2": SIGNATURES[second] if second else "None",
        "instruction": instruction,
        "positive_candidates": [SIGNATURES[i] for i in right],
        "negative_candidates": [*(SIGNATURES[i] for i in wrong), None],
        "token_count": len(instruction.split()),
        "length_category": "short",
        "is_question": instruction.endswith("?"),
        "is_imperative": False,
        "is_single": not second,
        "query_category": "Context Fit",
        "skin_tone_bucket": "UNKNOWN",
        "l1_interest": "Travel",
    }
    for number, first, second, instruction, right, wrong in (
        (1, 0, 0, "dress for this place", (2, 3), (0, 4)),
        (2, 0, 0, "What dress fits here?", (3, 2), (4, 5)),
        (4, 0, 1, "both in navy", (4,), (0, 1)),
        (5, 0, 0, "shoes for this place", (4,), (2,)),
    )
]


def write_pinpoint(source: Path, rows: list[dict[str, Any]] = PINPOINT) -> Path:
    # As it is published, the last line has no end.
    write(source / "index_signatures.txt", "\n".join(SIGNATURES))
    pq.write_table(pa.Table.from_pylist(rows), source / "pinpoint_licensed.parquet")
    for name in SIGNATURES:
        picture(source / "images" / name[:2] / name[2:4] / name[4:6] / f"{name}.jpg")
    return source


FORMATS: dict[str, tuple[Callable[[Path], Path], dict[str, str]]] = {
    "cirr": (write_cirr, {}),
    "fashioniq": (write_fashioniq, {"category": "dress"}),
    "circo": (write_circo, {}),
    "folder": (write_folder, {}),
    "beir": (write_beir, {}),
    "trec": (write_trec, {}),
    "pinpoint": (write_pinpoint, {}),
}


def imported(format: str, tmp_path: Path, **options: Any) -> EvalSet:
    make, usual = FORMATS[format]
    source = make(tmp_path / "source")
    return import_eval_set(format, source, tmp_path / "set", **{**usual, **options})


# The annotation files of the benchmarks, which are not shipped.
SHARED = Path(__file__).parents[2] / "shared" / "datasets"
DATASETS = Path(os.environ.get("MMRAG_TEST_ANNOTATIONS", SHARED))


published = pytest.mark.skipif(
    not (DATASETS / "cirr").is_dir(), reason="MMRAG_TEST_ANNOTATIONS names no annotation files"
)
