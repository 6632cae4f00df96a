"""Eval sets, and the files that they are made from, that are ranked for them and sent for them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmrag import EvalSet, RunStore
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.validate import validate
from mmrag.metrics.metrics import canonical, default_metrics
from mmrag.runs.importing import import_run

from .cases import ODD_TEXTS, case, fuzz, spoil_bytes, spoil_value

HEAD = {"name": "small", "image_root": "pictures", "primary_metric": "nDCG@10", "version": "1"}
CORPUS = [
    {"_id": "a", "image": "a.png", "text": "a mug", "metadata": {"price": 3}},
    {"_id": "b", "image": "sub/b.png", "text": "", "metadata": {}},
    {"_id": "c d", "image": "c.png"},
]
QUERIES = [
    {"_id": "1", "image": "a.png", "text": "in blue", "category": "x", "paraphrases": ["blue"]},
    {"_id": "2", "text": "a mug", "question": "How much?", "answers": ["3"], "metadata": {"k": 1}},
]
QRELS = "query-id\tcorpus-id\tscore\n1\tb\t1\n1\ta\t0\n2\ta\t2\n"
TREC = "1 Q0 b 1 0.9 tag\n1 Q0 c%20d 2 0.5 tag\n2 Q0 a 1 1e-3 tag\n"
CIRR = {"version": "rc2", "metric": "recall", "1": ["b", "a"], "2": ["a"]}
CIRCO = {"1": ["a", "b"], "2": ["b"]}
ESCAPES = ["../x.png", "/etc/passwd", "sub/../../x.png", "link.png", "linked/x.png", "a.png\0", "."]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    make_good(root, tmp_path_factory.mktemp("outside"))
    return root


def make_good(root: Path, outside: Path) -> None:
    """A whole eval set; some of its pictures are links that lead out of it."""
    Image.new("RGB", (3, 3)).save(outside / "x.png")
    for name in ("a.png", "sub/b.png", "c.png"):
        (root / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 3)).save(root / "pictures" / name)
    (root / "pictures" / "link.png").symlink_to(outside / "x.png")
    (root / "pictures" / "linked").symlink_to(outside)
    (root / "qrels").mkdir()
    write(root, {})


def lines(records: Any) -> str:
    return "\n".join(map(json.dumps, records if isinstance(records, list) else [records]))


def write(root: Path, changed: dict[str, bytes]) -> None:
    files = {
        "eval_set.json": json.dumps(HEAD).encode(),
        "corpus.jsonl": lines(CORPUS).encode(),
        "queries.jsonl": lines(QUERIES).encode(),
        "qrels/test.tsv": QRELS.encode(),
    }
    for name, content in (files | changed).items():
        (root / name).write_bytes(content)


def use(root: Path) -> None:
    """Load it and do what an evaluation does before it asks a model; nothing lies outside."""
    eval_set = EvalSet.load(root)
    inside = eval_set.image_root
    usable = [image.path for image in eval_set.gallery().images]
    usable += [query.image for query in eval_set.queries if query.image]
    for path in usable:
        assert Path(os.path.realpath(path)).is_relative_to(inside)
    eval_set.missing()
    default_metrics(eval_set)
    for query in eval_set.queries:
        eval_set.relevant(query.query_id)


@pytest.mark.parametrize("file", ["eval_set.json", "corpus.jsonl", "queries.jsonl"])
def test_spoiled_values(good: Path, file: str) -> None:
    value: Any = {"eval_set.json": HEAD, "corpus.jsonl": CORPUS, "queries.jsonl": QUERIES}[file]

    @fuzz(250)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        spoiled = spoil_value(data.draw, value)
        text = json.dumps(spoiled) if file == "eval_set.json" else lines(spoiled)
        write(good, {file: text.encode()})
        check(good)

    run()


def check(root: Path) -> None:
    with case(__file__):
        use(root)
    with case(__file__):
        validate(root)


@fuzz(300)
@given(
    st.sampled_from(ESCAPES) | ODD_TEXTS,
    st.sampled_from(ESCAPES) | ODD_TEXTS,
    st.sampled_from(["pictures", ".", "..", "/nonexistent", "pictures/linked"]) | ODD_TEXTS,
)
def test_paths_stay_below_the_image_root(good: Path, image: str, query: str, root: str) -> None:
    corpus = [{**CORPUS[0], "image": image}, *CORPUS[1:]]
    queries = [{**QUERIES[0], "image": query}, QUERIES[1]]
    head = {**HEAD, "image_root": root}
    content = {"corpus.jsonl": lines(corpus), "queries.jsonl": lines(queries)}
    content["eval_set.json"] = json.dumps(head)
    write(good, {name: text.encode() for name, text in content.items()})
    with case(__file__):
        use(good)


@fuzz(400)
@given(
    ODD_TEXTS
    | st.from_regex(r"[A-Za-z_]{1,12}(\([a-z]+=[0-9a-z']{1,3}\))?@[0-9]{1,12}", fullmatch=True)
    | st.sampled_from(
        ["__import__('os').system('id')", "nDCG(x=__import__('os'))@10", "hit_rate@999999999999",
         "P@99999999999999", "nDCG@-1", "RR@1.5", "AP(rel=1e9)@10", "hit_rate@²", "P@" + "9" * 90]
    )
)  # fmt: skip
def test_names_of_metrics(metric: str) -> None:
    name_metric(metric)


def name_metric(metric: str) -> None:
    with case(__file__):
        assert canonical(metric)


@pytest.fixture(scope="module")
def store() -> RunStore:
    return RunStore("sqlite://")


RUN_FILES: dict[str, bytes] = {
    "run.trec": TREC.encode(),
    "cirr.json": json.dumps(CIRR).encode(),
    "circo.json": json.dumps(CIRCO).encode(),
}


@pytest.mark.parametrize("name", RUN_FILES)
def test_spoiled_run_files(good: Path, tmp_path: Path, store: RunStore, name: str) -> None:
    write(good, {})
    eval_set = EvalSet.load(good)

    @fuzz(250)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        content = RUN_FILES[name]
        if name.endswith(".json") and data.draw(st.booleans()):
            content = json.dumps(spoil_value(data.draw, json.loads(content))).encode()
        else:
            content = spoil_bytes(data.draw, content)
        (tmp_path / name).write_bytes(content)
        import_one(tmp_path / name, eval_set, store)

    run()


def import_one(path: Path, eval_set: EvalSet, store: RunStore) -> None:
    with case(__file__):
        done = import_run(path, eval_set, store)
        known = {image.image_id for image in eval_set.images}
        for ranked in done.rankings["retrieval"].values():
            assert set(ranked.image_ids) <= known


@fuzz(60)
@given(ODD_TEXTS, ODD_TEXTS)
def test_odd_names_of_runs(
    good: Path, tmp_path_factory: pytest.TempPathFactory, store: RunStore, name: str, tag: str
) -> None:
    write(good, {})
    path = tmp_path_factory.getbasetemp() / "odd.trec"
    path.write_text(TREC.replace("tag", tag or "x"), encoding="utf-8", errors="replace")
    with case(__file__):
        done = import_run(path, EvalSet.load(good), store, name=name)
        assert store.load(done.run_id).name == done.name
    with case(__file__):
        store.find(name)


def grocery(root: Path) -> dict[str, bytes]:
    head = "Class,ID,Coarse,CID,Picture,Description\n"
    rows = "Pink-Lady,0,Apple,0,/p/1.jpg,/d/1.txt\nGala,1,Apple,0,/p/2.jpg,/d/2.txt\n"
    photos = "a/1.jpg, 0, 0\na/2.jpg, 0, 0\na/3.jpg, 1, 0\n"
    return {
        "classes.csv": (head + rows).encode(),
        "val.txt": photos.encode(),
        "d/1.txt": b"sweet",
        "d/2.txt": b"sour",
    }


@pytest.mark.parametrize("file", ["classes.csv", "val.txt", "d/1.txt"])
def test_the_grocery_importer(tmp_path: Path, file: str) -> None:
    """Its lists name pictures, and text files whose content is read."""
    source, secret = tmp_path / "grocery", tmp_path / "secret.txt"
    secret.write_text("SECRET")
    whole = grocery(source)
    (source / "d").mkdir(parents=True)
    (source / "d" / "link.txt").symlink_to(secret)
    for name, content in whole.items():
        (source / name).write_bytes(content)
    insert = ["../secret.txt", "/d/../../secret.txt", "d/link.txt", '"', "\0", ",", "7", "d", '"\n']

    @fuzz(200)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        content = whole[file]
        if data.draw(st.booleans()):
            cells = content.decode().split(",")
            at = data.draw(st.integers(0, len(cells) - 1))
            cells[at] = data.draw(st.sampled_from(insert) | st.text(max_size=9))
            content = ",".join(cells).encode("utf-8", "replace")
        else:
            content = spoil_bytes(data.draw, content)
        (source / file).write_bytes(content)
        with case(__file__):
            made = import_eval_set("grocery", source, tmp_path / "made")
            assert "SECRET" not in repr(made)
        with case(__file__):
            use(tmp_path / "made")

    run()
    (source / file).write_bytes(whole[file])
    long = whole["classes.csv"].replace(b"sweet", b"") + b'"' + b"x" * 200_000 + b'",1\n'
    (source / "classes.csv").write_bytes(long)
    with case(__file__, refused="Grocery"):
        import_eval_set("grocery", source, tmp_path / "made")


FORMATS: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "beir": lambda _: {
        "corpus.jsonl": lines(CORPUS).encode(),
        "queries.jsonl": lines(QUERIES).encode(),
        "qrels/test.tsv": QRELS.encode(),
    },
    "trec": lambda _: {
        "topics.tsv": b"1\tin blue\ta.png\n2\ta mug\n",
        "qrels.txt": b"1 0 b 1\n2 0 a 2\n",
        "images.tsv": b"a\ta.png\nb\tsub/b.png\n",
    },
}


@pytest.mark.parametrize("format", FORMATS)
def test_importers_keep_pictures_inside(good: Path, tmp_path: Path, format: str) -> None:
    """tests/test_importers.py spoils bytes; here whole cells become paths that lead out."""
    whole = FORMATS[format](tmp_path)
    source = tmp_path / format
    (source / "qrels").mkdir(parents=True)
    pictures = {"images": good / "pictures"}

    @fuzz(200)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        for name, content in whole.items():
            (source / name).write_bytes(content)
        name = data.draw(st.sampled_from(sorted(whole)))
        escape = data.draw(st.sampled_from(ESCAPES) | ODD_TEXTS)
        old = data.draw(st.sampled_from(["a.png", "sub/b.png", "b", "1"]))
        if name.endswith(".jsonl"):
            new = json.dumps(escape)[1:-1].encode()
        else:
            new = escape.encode("utf-8", "replace")
        (source / name).write_bytes(whole[name].replace(old.encode(), new))
        with case(__file__):
            import_eval_set(format, source, tmp_path / "made", **pictures)
        with case(__file__):
            use(tmp_path / "made")

    run()


def test_a_line_without_end(tmp_path: Path) -> None:
    out = io.BytesIO(b"1 Q0 " + b"a" * 50_000_000)
    (tmp_path / "run.trec").write_bytes(out.getvalue())
    with case(__file__, refused="expected query"):
        from mmrag.runs.trec import read_trec

        read_trec(tmp_path / "run.trec")
