"""Byte order marks and UTF-16 in every kind of text file that people hand in."""

from __future__ import annotations

import codecs
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmrag import config
from mmrag.distributed.tars import list_tar
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.galleries.gallery import open_gallery
from mmrag.runs.importing import import_run
from mmrag.runs.judgments import import_qrels
from mmrag.runs.store import RunStore
from mmrag.vision.models import find_price

WRITERS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little end first": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}


@pytest.fixture(params=WRITERS.values(), ids=WRITERS.keys())
def written(request: pytest.FixtureRequest) -> Callable[[str], bytes]:
    """Text as one kind of program saves it, with the line ends of Windows."""

    def write(text: str) -> bytes:
        data: bytes = request.param(text.replace("\n", "\r\n"))
        return data

    return write


@pytest.fixture
def eval_set(tmp_path: Path, written: Callable[[str], bytes]) -> EvalSet:
    """Two pictures, two queries, every file in that writing."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    for name in ("é", "b"):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    files = {
        "eval_set.json": json.dumps({"name": "small"}),
        "corpus.jsonl": '{"_id": "é", "image": "é.png"}\n{"_id": "b", "image": "b.png"}\n',
        "queries.jsonl": '{"_id": "q1", "text": "first"}\n{"_id": "q2", "text": "second"}\n',
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\té\t1\nq2\tb\t1\n",
    }
    for name, text in files.items():
        (folder / name).write_bytes(written(text))
    return EvalSet.load(folder)


def test_run_and_judgments_keep_their_first_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eval_set: EvalSet,
    written: Callable[[str], bytes],
) -> None:
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path / "home"))
    assert eval_set.qrels == {"q1": {"é": 1}, "q2": {"b": 1}}
    trec = tmp_path / "run.trec"
    trec.write_bytes(written("q1 Q0 é 1 2 t\nq1 Q0 b 2 1 t\nq2 Q0 b 1 2 t\n"))
    submission = tmp_path / "run.json"
    submission.write_bytes(written(json.dumps({"q1": ["é", "b"], "q2": ["b"]})))
    with RunStore("sqlite://") as store:
        for path in (trec, submission):
            run = import_run(path, eval_set, store, metrics=["hit_rate@1"])
            assert (run.metrics, run.skipped, run.notes) == ({"hit_rate@1": 1.0}, [], [])
    for number, text in enumerate(("q1 0 b 2\n", "query-id\tcorpus-id\tscore\nq1\tb\t2\n")):
        qrels = tmp_path / "qrels.txt"
        qrels.write_bytes(written(text))
        judged, _ = import_qrels(qrels, eval_set, f"second {number}")
        assert judged.qrels == {"q1": {"b": 2}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path,description\né.png,a mug\n"),
        ("m.tsv", "path\tdescription\né.png\ta mug\n"),
        ("m.jsonl", '{"path": "é.png", "description": "a mug"}\n'),
        ("m.json", '[{"path": "é.png", "description": "a mug"}]'),
    ],
)
def test_metadata_keeps_its_first_column(
    tmp_path: Path, written: Callable[[str], bytes], name: str, text: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "é.png")
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / name
    table.write_bytes(written(text))
    found = open_gallery(tmp_path, metadata=table)
    assert [(image.image_id, image.text) for image in found.images] == [("é.png", "a mug")]
    assert found.skipped == []


def test_topics_and_lists_of_trec(tmp_path: Path, written: Callable[[str], bytes]) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "topics.tsv").write_bytes(written("301\tan ä\n"))
    (tmp_path / "images.tsv").write_bytes(written("one\ta.png\n"))
    (tmp_path / "qrels.txt").write_bytes(written("301 0 one 1\n"))
    made = import_eval_set("trec", tmp_path, tmp_path / "set")
    assert [(query.query_id, query.text) for query in made.queries] == [("301", "an ä")]
    assert (made.qrels, made.missing()) == ({"301": {"one": 1}}, [])


def test_settings_and_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[[str], bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Set first, so that it is removed again afterwards.
    monkeypatch.setenv("MMRAG_ENCODER", "")
    monkeypatch.delenv("MMRAG_ENCODER")
    (tmp_path / ".env").write_bytes(written("MMRAG_ENCODER=demo-clip\n"))
    config.load_dotenv()
    assert config.default_encoder() == "demo-clip"
    prices = tmp_path / "prices.json"
    prices.write_bytes(written(json.dumps({"models": {"mine": {"input": 3, "output": 4}}})))
    monkeypatch.setenv("MMRAG_PRICES", str(prices))
    price = find_price("mine")
    assert price is not None
    assert price.input == 3


def test_texts_in_a_tar(written: Callable[[str], bytes]) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in (
            ("1.png", b"not read here"),
            ("1.txt", written("a mug")),
            ("1.json", written('{"colour": "blue"}')),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    size = held.tell()
    held.seek(0)
    found, skipped = list_tar(held, size, "shard.tar", "shard", "folder")
    assert [(one.text, one.metadata) for one in found] == [("a mug", {"colour": "blue"})]
    assert skipped == []
