"""Data sets as they are published: what is odd in them is imported, counted and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmrag.cli import main
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.submissions import circo, cirr
from mmrag.eval_sets.validate import validate

from .published_forms import DATASETS, published

NAMES = [f"test1-{n}-0-img0" for n in range(6)]
GROUP = {"id": 1, "members": NAMES, "reference_rank": 0}
IDS = ["a", "b"]


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_cirr(root: Path) -> None:
    put(root / "image_splits/split.rc2.test1.json", {n: f"./test1/{n}.png" for n in NAMES})
    captions = ("with two circles", " ")
    records = [
        {"pairid": i + 1, "reference": NAMES[i], "caption": caption, "img_set": GROUP}
        for i, caption in enumerate(captions)
    ]
    put(root / "captions/cap.rc2.test1.json", records)


def write_circo(root: Path) -> None:
    records = [
        {"id": i, "reference_img_id": 7, "relative_caption": text, "shared_concept": "a dog"}
        for i, text in enumerate(("has a hat", "\n"))
    ]
    put(root / "annotations/test.json", records)
    info = [{"id": i, "file_name": f"{i:012}.jpg"} for i in (7, 8)]
    put(root / "annotations/image_info_unlabeled2017.json", {"images": info})


def write_fashioniq(root: Path) -> None:
    put(root / "image_splits/split.dress.val.json", IDS)
    records = [
        {"target": "b", "candidate": "a", "captions": words}
        for words in (["is red", " "], ["", ". "], [])
    ]
    put(root / "captions/cap.dress.val.json", records)


def write_beir(root: Path) -> None:
    corpus = [{"_id": one, "image": f"{one}.png", "text": ""} for one in IDS]
    put(root / "corpus.jsonl", "\n".join(map(json.dumps, corpus)))
    queries = [
        {"_id": "1", "image": "a.png", "text": " "},
        {"_id": "2", "text": ""},
        {"_id": "3", "text": "x"},
        {"_id": "unjudged", "text": ""},
    ]
    put(root / "queries.jsonl", "\n".join(map(json.dumps, queries)))
    put(root / "qrels/test.tsv", "1\tb\t1\n2\ta\t1\n3\ta\t-1\n3\tb\t2\n")


@pytest.mark.parametrize(
    ("format", "options", "write", "note", "asked"),
    [
        (
            "cirr",
            ["--split", "test1"],
            write_cirr,
            "1 query has a blank text and is asked with its picture alone: 2.",
            {"1": "with two circles", "2": None},
        ),
        (
            "circo",
            ["--split", "test"],
            write_circo,
            "1 query has a blank text and is asked with its picture alone: 1.",
            {"0": "has a hat", "1": None},
        ),
        (
            "fashioniq",
            ["--category", "dress"],
            write_fashioniq,
            "2 queries have a blank text and are asked with their pictures alone: "
            "dress-val-00001, dress-val-00002.",
            {"dress-val-00000": "Is red", "dress-val-00001": None, "dress-val-00002": None},
        ),
        (
            "beir",
            [],
            write_beir,
            "1 query has neither picture nor text and is left out: 2.",
            {"1": None, "3": "x"},
        ),
    ],
)
def test_blank_texts_are_counted_and_named(
    tmp_path: Path,
    format: str,
    options: list[str],
    write: Any,
    note: str,
    asked: dict[str, str | None],
) -> None:
    write(tmp_path / "source")
    command = ["eval-set", "import", format, str(tmp_path / "source"), str(tmp_path / "set")]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines().count(note) == 1
    report = json.loads(CliRunner().invoke(main, [*command, *options, "--json"]).stdout)
    assert (report["notes"], report["queries"]) == ([note], len(asked))
    folder = tmp_path / "set"
    loaded = EvalSet.load(folder)
    assert {query.query_id: query.text for query in loaded.queries} == asked
    assert all(query.image or query.text for query in loaded.queries)
    assert loaded.notes == (note,)
    (folder / "eval_set.json").write_text('{"notes": "one"}')
    wrong = next(problem.message for problem in validate(folder).problems)
    assert wrong == "'notes' must be a list of strings"


def test_beir_grades_below_zero_become_zero(tmp_path: Path) -> None:
    write_beir(tmp_path)
    made = import_eval_set("beir", tmp_path, tmp_path / "set")
    assert made.qrels == {"1": {"b": 1}, "3": {"a": 0, "b": 2}}


def test_the_submissions_hold_queries_without_words(tmp_path: Path) -> None:
    write_cirr(tmp_path / "cirr")
    made = import_eval_set("cirr", tmp_path / "cirr", tmp_path / "set", split="test1")
    rankings = {query.query_id: NAMES for query in made.queries}
    (_, recall), (_, subset) = cirr.submission(rankings, made)
    assert recall["2"] == [name for name in NAMES if name != NAMES[1]]
    assert subset["2"] == [NAMES[0], *NAMES[2:4]]
    write_circo(tmp_path / "circo")
    made = import_eval_set("circo", tmp_path / "circo", tmp_path / "set2", split="test")
    ((_, document),) = circo.submission({"0": ["7", "8"], "1": ["8", "7"]}, made)
    assert document == {"0": [7, 8], "1": [8, 7]}


@published
def test_cirr_val_as_published(tmp_path: Path) -> None:
    made = import_eval_set("cirr", DATASETS / "cirr", tmp_path / "set")
    assert (len(made.queries), len(made.images)) == (4181, 2297)
    assert all(len(made.relevant(query.query_id)) == 1 for query in made.queries)
    assert {len(query.metadata["subset"]) for query in made.queries} == {5}
    assert made.notes == ()
    assert EvalSet.load(tmp_path / "set").qrels == made.qrels


@published
@pytest.mark.parametrize(
    ("category", "queries", "images"),
    [("dress", 2017, 3817), ("shirt", 2038, 6346), ("toptee", 1961, 5373)],
)
def test_fashioniq_val_as_published(
    tmp_path: Path, category: str, queries: int, images: int
) -> None:
    source = DATASETS / "fashion-iq"
    made = import_eval_set("fashioniq", source, tmp_path / "set", category=category)
    assert (len(made.queries), len(made.images), made.notes) == (queries, images, ())


@published
@pytest.mark.parametrize(("split", "queries"), [("val", 220), ("test", 800)])
def test_circo_as_published(tmp_path: Path, split: str, queries: int) -> None:
    records = json.loads((DATASETS / f"circo/annotations/{split}.json").read_text())
    named = {n for r in records for n in (r["reference_img_id"], *r.get("gt_img_ids", ()))}
    # COCO's own list is not at hand: the numbers that the queries name, filled up.
    more = (n for n in range(1, 10**6) if n not in named)
    ids = [*named, *(next(more) for _ in range(123_403 - len(named)))]
    source = tmp_path / "source"
    info = {"images": [{"id": i, "file_name": f"{i:012}.jpg"} for i in ids]}
    put(source / "annotations/image_info_unlabeled2017.json", info)
    put(source / f"annotations/{split}.json", records)
    made = import_eval_set("circo", source, tmp_path / "set", split=split)
    assert (len(made.queries), len(made.images), made.notes) == (queries, 123_403, ())
    aspects = {
        aspect for query in made.queries for aspect in query.metadata.get("semantic_aspects", ())
    }
    assert len(aspects) == (9 if split == "val" else 0)
