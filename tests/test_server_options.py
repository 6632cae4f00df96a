"""Index kinds, consistency, partitions and replacing, on a local store and on a Milvus server."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrag import ImageIndex, MmragError, Query, Searcher, list_collections, open_gallery
from mmrag.cli import main, run
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.errors import IndexStoreError
from mmrag.index import collections, replace
from mmrag.index.kinds import (
    CONSISTENCY_LEVELS,
    BuildOptions,
    IndexKind,
    SearchOptions,
    parse_params,
)
from mmrag.index.schema import in_partition, partition_value

from .helpers import made_by_script, wait_until
from .vectors import made_up, rows, unit

HOSTILE = [
    "nike",
    'a"b',
    "a\\b",
    "a\nb\r\tc",
    "x' or 1==1 --",
    '" or partition != "',
    "图é😀",
    "\x00\x01\x7f",
    "",
    "\\",
    "\\n",
    "\\u0041",
    "%_",
    "{x}",
]


@pytest.fixture
def name() -> str:
    return f"test_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def index(milvus_uri: str, name: str, tiny: Encoder) -> Iterator[ImageIndex]:
    with ImageIndex.open(milvus_uri, name, tiny) as opened:
        yield opened
        opened.drop()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replace, "GRACE_SECONDS", 1.1)


@pytest.fixture
def local(tmp_path: Path, tiny: Encoder) -> Iterator[ImageIndex]:
    with ImageIndex.open(tmp_path / "gallery.db", "local", tiny) as opened:
        yield opened


def physical(index: ImageIndex) -> str:
    return collections.describe(index.store, index.collection)[0]


def all_collections(index: ImageIndex) -> list[str]:
    names: list[str] = index.store.client.list_collections()
    return sorted(found for found in names if found.startswith(index.collection))


def replacing(**options: Any) -> BuildOptions:
    return BuildOptions(replace=True, **options)


# Index kinds


def test_a_kind_is_built_with_its_parameters_and_kept(index: ImageIndex, folder: Path) -> None:
    hnsw = BuildOptions(IndexKind("hnsw", {"M": 12, "efConstruction": 40}))
    index.add(open_gallery(folder), build=hnsw)
    built = index.store.client.describe_index(index.collection, "vector")
    assert built["index_type"] == "HNSW"
    params = built.get("params", built)
    assert (int(params["M"]), int(params["efConstruction"])) == (12, 40)
    assert index.info().index == "HNSW (M=12, efConstruction=40)"
    # A later run need not say it again, and may not ask for something else.
    assert index.add(open_gallery(folder)).unchanged == 12
    assert index.info().index == "HNSW (M=12, efConstruction=40)"
    with pytest.raises(IndexStoreError, match=r"made with another index; replace it \(--replace\)"):
        index.add(open_gallery(folder), build=BuildOptions(IndexKind("FLAT")))
    assert index.add(open_gallery(folder), build=hnsw).unchanged == 12


@pytest.mark.parametrize(
    ("kind", "params"),
    [("IVF_SQ8", {"nlist": 32}), ("AUTOINDEX", {})],
)
def test_kinds_find_the_nearest(
    milvus_uri: str, name: str, kind: str, params: dict[str, int]
) -> None:
    assert recall(milvus_uri, name, IndexKind(kind, params)) > 0.9


@pytest.mark.parametrize(
    ("kind", "params"),
    [("IVF_PQ", {"nlist": 32, "m": 16}), ("DISKANN", {})],
)
def test_kinds_of_a_server(
    milvus_server: str, name: str, kind: str, params: dict[str, int]
) -> None:
    assert recall(milvus_server, name, IndexKind(kind, params)) > 0.6


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        (
            "HNSW",
            {"nonsense": 64},
            "no search parameter 'nonsense'. It takes: ef, a whole",
        ),
        ("HNSW", {"nprobe": 8}, "HNSW has no search parameter 'nprobe'"),
        ("HNSW", {"ef": "abc"}, "ef of HNSW is a whole number from 1 to 32,768, not 'abc'"),
        ("HNSW", {"ef": 0}, "not 0"),
        ("HNSW", {"ef": 5}, "ef=5 is less than the 10 results"),
        ("IVF_FLAT", {"nprobe": 1.5}, "nprobe of IVF_FLAT is a whole number from 1 to 65,536"),
        ("FLAT", {"ef": 64}, "FLAT has no search parameter 'ef'. It takes: none"),
    ],
)
def test_wrong_search_parameters(
    milvus_uri: str, name: str, kind: str, params: dict[str, object], said: str
) -> None:
    with ImageIndex.open(milvus_uri, name, made_up(16), options=SearchOptions(params)) as index:
        built = {"HNSW": {"M": 8, "efConstruction": 40}, "IVF_FLAT": {"nlist": 4}, "FLAT": {}}
        index.create("image", BuildOptions(IndexKind(kind, built[kind])))
        index.write(rows(unit(20, 16)))
        index.finish()
        with pytest.raises(MmragError, match=re.escape(said)):
            index.search(unit(1, 16), 10)
        index.drop()


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("HNSW", {"M": 999_999}, "build parameter M of HNSW is a whole number from 2 to 2,048"),
        ("HNSW", {"ef": 64}, "HNSW has no build parameter 'ef'"),
        ("IVF_SQ8", {"nlist": True}, "not True"),
        ("HNSW_SQ", {"sq_type": "SQ9"}, "one of SQ6, SQ8, BF16, FP16, not 'SQ9'"),
    ],
)
def test_wrong_build_parameters(
    milvus_uri: str, name: str, kind: str, params: dict[str, object], said: str
) -> None:
    with ImageIndex.open(milvus_uri, name, made_up(16)) as index:
        with pytest.raises(MmragError, match=re.escape(said)):
            index.create("image", BuildOptions(IndexKind(kind, params)))
        assert not index.exists()


def recall(
    uri: str,
    name: str,
    kind: IndexKind,
    options: SearchOptions | None = None,
    at_most: float = 1.0,
) -> float:
    """The share of the 10 nearest of 50 queries among the 10 that are found.

    Until an index is built in the background every row is looked at, so a low one takes a moment.
    """
    vectors, queries = unit(1500, 16), unit(50, 16, 1)
    nearest = np.argsort(-(queries @ vectors.T), axis=1)[:, :10].tolist()
    share = 1.0
    with ImageIndex.open(uri, name, made_up(16), options=options) as index:
        index.create("image", BuildOptions(kind))
        index.write(rows(vectors))
        index.finish()

        def measured() -> bool:
            nonlocal share
            found = [{int(row["image_id"]) for row in hits} for hits in index.search(queries, 10)]
            shares = [len(set(a) & b) / 10 for a, b in zip(nearest, found, strict=True)]
            share = float(np.mean(shares))
            return share <= at_most

        wait_until(measured)
        index.drop()
    return share


def test_search_parameters_reach_the_index(tmp_path: Path, name: str) -> None:
    kind = IndexKind("IVF_FLAT", {"nlist": 50})
    uri = str(tmp_path / "g.db")
    assert recall(uri, name, kind, SearchOptions({"nprobe": 1}), at_most=0.6) < 0.6
    assert recall(uri, name, kind, SearchOptions({"nprobe": 50})) == 1


@pytest.mark.parametrize("kind", ["NONSENSE", "HNSW_PQ"])
def test_a_kind_that_is_not_there_is_one_sentence(
    index: ImageIndex, folder: Path, kind: str
) -> None:
    with pytest.raises(MmragError, match=f"Milvus.* (no|cannot build an) index of kind {kind}"):
        index.add(open_gallery(folder), build=BuildOptions(IndexKind(kind)))
    assert not index.exists()
    assert all_collections(index) == []


def test_parameters_are_key_value() -> None:
    assert parse_params(["M=16", "ratio=0.5", "on=true", "name=x=y"]) == {
        "M": 16,
        "ratio": 0.5,
        "on": True,
        "name": "x=y",
    }
    for wrong in ("M", "=1", "a b=1"):
        with pytest.raises(MmragError, match="is not KEY=VALUE"):
            parse_params([wrong])


# Consistency


def test_consistency_levels(index: ImageIndex, folder: Path, tiny: Encoder) -> None:
    index.add(open_gallery(folder))
    for level in CONSISTENCY_LEVELS:
        index.options = SearchOptions(consistency=level)
        found = Searcher(index, tiny).search(Query(folder / "a" / "01.png"), k=3)
        assert found.hits[0].image_id == "a/01.png"


def test_a_strong_search_sees_what_another_process_wrote(milvus_uri: str, name: str) -> None:
    vectors = unit(3, 8)
    with (
        ImageIndex.open(milvus_uri, name, made_up(8)) as writer,
        ImageIndex.open(
            milvus_uri, name, made_up(8), options=SearchOptions(consistency="Strong")
        ) as reader,
    ):
        writer.create("image")
        for i in range(3):
            writer.write(rows(vectors)[i : i + 1])
            assert len(reader.search(vectors[:1], 10)[0]) == i + 1
        writer.drop()


def test_an_unknown_consistency_level() -> None:
    with pytest.raises(MmragError, match=r"one of Strong, .* not 'strongest'"):
        SearchOptions(consistency="strongest")


# Partitions


def test_a_partition_is_searched_alone_whatever_its_name(milvus_uri: str, name: str) -> None:
    vectors = unit(len(HOSTILE), 8)
    images = rows(vectors)
    for image, brand in zip(images, HOSTILE, strict=True):
        image["metadata"] = {"brand": brand, "price": 5}
    with ImageIndex.open(milvus_uri, name, made_up(8)) as index:
        index.create("image", BuildOptions(partition_key="brand"))
        index.write(images)
        index.finish()
        assert index.info().partition_key == "brand"
        assert len(index.search(vectors[:1], 50)[0]) == len(HOSTILE)
        for i, brand in enumerate(HOSTILE):
            index.options = SearchOptions(partition=brand)
            assert [row["image_id"] for row in index.search(vectors[:1], 50)[0]] == [str(i)], brand
        cheap = 'metadata["price"] < 4 or metadata["price"] > 6'
        assert index.search(vectors[:1], 50, cheap) == [[]]
        index.options = SearchOptions()
        assert len(index.search(vectors[:1], 50, 'partition == "nike"')[0]) == 1
        # Another value moves the row; it is not there twice.
        images[0]["metadata"] = {"brand": "puma"}
        index.write(images[:1])
        index.finish()
        assert index.info().rows == len(HOSTILE)
        index.options = SearchOptions(partition="nike")
        assert index.search(vectors[:1], 50) == [[]]
        index.options = SearchOptions(partition="puma")
        assert len(index.search(vectors[:1], 50)[0]) == 1
        index.drop()


def test_what_partitions_are_called() -> None:
    values: list[tuple[Any, str]] = [
        ("nike", "nike"),
        (3, "3"),
        (2.5, "2.5"),
        (True, "true"),
        (None, ""),
        ([1], ""),
        ({"a": 1}, ""),
    ]
    for value, expected in values:
        assert partition_value({"brand": value}, "brand") == expected
    assert partition_value({}, "brand") == ""


@given(st.text(st.characters(codec="utf-8")))
@settings(max_examples=300, deadline=None)
def test_a_value_is_never_an_expression(value: str) -> None:
    """Milvus Lite's own parser reads back exactly the value, in the place of a value."""
    from milvus_lite.search.filter import parse_expr
    from milvus_lite.search.filter.ast import CmpOp, FieldRef, StringLit

    parsed = parse_expr(in_partition(value))
    assert isinstance(parsed, CmpOp)
    assert isinstance(parsed.left, FieldRef)
    assert parsed.left.name == "partition"
    assert isinstance(parsed.right, StringLit)
    assert parsed.right.value == value


def test_a_collection_without_partitions_says_so(index: ImageIndex, folder: Path) -> None:
    index.add(open_gallery(folder))
    index.options = SearchOptions(partition="nike")
    assert index.encoder is not None
    with pytest.raises(IndexStoreError, match="has no partitions; index it anew"):
        Searcher(index, index.encoder).search(Query(text="a mug"))
    with pytest.raises(IndexStoreError, match="made with another partition key"):
        index.add(open_gallery(folder), build=BuildOptions(partition_key="brand"))


# Replacing


class Searching:
    """Searches all the time, in threads, and notes what goes wrong."""

    def __init__(self, uri: str, name: str, encoder: Encoder, threads: int = 2) -> None:
        self.searches = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._vector = np.eye(encoder.info.dim, dtype=np.float32)[:1]
        self._threads = [
            threading.Thread(target=self._run, args=(uri, name, encoder)) for _ in range(threads)
        ]

    def __enter__(self) -> Searching:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, uri: str, name: str, encoder: Encoder) -> None:
        with ImageIndex.open(uri, name, encoder) as index:
            while not self._stop.is_set():
                try:
                    hits = index.search(self._vector, 5)[0]
                    if len(hits) != 5:
                        self.failures.append(f"{len(hits)} hits")
                except Exception as error:  # noqa: BLE001
                    self.failures.append(repr(error))
                self.searches += 1


def test_replaced_under_constant_searching(index: ImageIndex, folder: Path, tiny: Encoder) -> None:
    """No search fails or comes back empty while a collection is built anew, several times."""
    index.add(open_gallery(folder))
    first = physical(index)
    with Searching(index.store.uri, index.collection, tiny) as searching:
        Image.new("RGB", (30, 30), "red").save(folder / "new.png")
        report = index.add(open_gallery(folder), build=replacing())
        assert (report.added, report.unchanged, report.embedded) == (1, 12, 1)
        second = physical(index)
        kind = IndexKind("HNSW", {"M": 8, "efConstruction": 40})
        report = index.add(open_gallery(folder), build=replacing(kind=kind))
        assert (report.unchanged, report.embedded) == (13, 0)
        before = searching.searches
        assert wait_until(lambda: searching.searches > before)
    assert searching.failures == []
    assert first != second != physical(index)
    assert all_collections(index) == [physical(index)]
    assert index.info().rows == 13
    assert index.info().index == "HNSW (M=8, efConstruction=40)"


@pytest.mark.usefixtures("short_grace")
def test_a_collection_of_an_earlier_version_is_replaced_too(
    index: ImageIndex, folder: Path, tiny: Encoder
) -> None:
    """Such a collection has the name itself, where an alias has to be."""
    index.add(open_gallery(folder))
    client = index.store.client
    own = physical(index)
    client.drop_alias(index.collection)
    client.rename_collection(own, index.collection)
    notes = collections.describe(index.store, index.collection)[1]
    assert notes is not None
    early = {key: notes[key] for key in ("name", "fingerprint", "dim", "precision", "embed")}
    client.alter_collection_properties(
        index.collection, properties={"mmrag.encoder": json.dumps(early)}
    )
    assert physical(index) == index.collection
    assert index.add(open_gallery(folder)).unchanged == 12
    assert index.collection in {info.name for info in list_collections(index.store.uri)}
    with Searching(index.store.uri, index.collection, tiny) as searching:
        report = index.add(open_gallery(folder), build=replacing())
    assert (report.unchanged, searching.failures) == (12, [])
    assert searching.searches > 10
    assert physical(index) != index.collection
    assert all_collections(index) == [physical(index)]


@pytest.mark.usefixtures("short_grace")
def test_an_interrupted_replace_leaves_the_old_one_and_is_continued(
    index: ImageIndex, folder: Path, tiny: Encoder
) -> None:
    index.add(open_gallery(folder))
    used = physical(index)
    other = Encoder(tiny.model, EncoderInfo(**{**vars(tiny.info), "fingerprint": "0123"}))
    index.encoder = other
    done = 0

    def stop(n: int) -> None:
        nonlocal done
        done += n
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(open_gallery(folder), progress=stop, build=replacing(), batch_size=1)
    assert physical(index) == used
    listed = [i for i in list_collections(index.store.uri) if i.name.startswith(index.collection)]
    assert [(info.name, info.rows, info.fingerprint) for info in listed] == [
        (index.collection, 12, tiny.info.fingerprint)
    ]
    assert len(all_collections(index)) == 2
    report = index.add(open_gallery(folder), build=replacing())
    assert report.unchanged >= 4
    assert report.embedded == 12 - report.unchanged
    assert all_collections(index) == [physical(index)] != [used]
    assert index.info().fingerprint == "0123"


def test_what_another_interrupted_replace_left_is_removed(
    local: ImageIndex, folder: Path, tiny: Encoder
) -> None:
    index = local
    index.add(open_gallery(folder))
    kind = IndexKind("FLAT")
    collections.make(index.store, index.collection, index.notes("image", BuildOptions(kind)), kind)
    assert len(all_collections(index)) == 2
    index.add(open_gallery(folder), build=replacing())
    assert all_collections(index) == [physical(index)]


@pytest.mark.usefixtures("short_grace")
def test_an_open_index_notices_another_encoder(
    local: ImageIndex, folder: Path, tiny: Encoder
) -> None:
    index = local
    index.add(open_gallery(folder))
    other = Encoder(tiny.model, EncoderInfo(**{**vars(tiny.info), "fingerprint": "0123"}))
    with ImageIndex.open(index.store.uri, index.collection) as second:
        searcher = Searcher(index, tiny)
        assert searcher.search(Query(text="a mug")).hits
        second.encoder = other
        second.add(open_gallery(folder), build=replacing())
        with pytest.raises(IndexStoreError, match="was built with encoder"):
            searcher.search(Query(text="a mug"))


def test_what_cannot_be_read_for_a_moment_is_kept_when_replaced(
    local: ImageIndex, folder: Path
) -> None:
    index = local
    index.add(open_gallery(folder))
    for path in folder.rglob("*.png"):
        path.write_bytes(b"spoilt")
    report = index.add(open_gallery(folder), build=replacing())
    assert (len(report.stale), report.removed) == (12, 0)
    assert index.info().rows == 12


# Bulk loading


@pytest.fixture
def servers_files(milvus_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the storage of the server, which keeps its data in local files."""
    servers = tmp_path_factory.getbasetemp().glob("milvus[0-9]*/data")
    latest = max(servers, key=lambda data: int(data.parent.name.removeprefix("milvus")))
    (latest / "import").mkdir(exist_ok=True)
    return latest / "import"


@pytest.mark.usefixtures("short_grace")
def test_rows_are_loaded_as_files(
    milvus_server: str, name: str, folder: Path, servers_files: Path, tiny: Encoder
) -> None:
    (folder / "m.jsonl").write_text(
        json.dumps({"image_path": "a/01.png", "description": '图 "x"', "brand": "a\nb"})
    )
    gallery = open_gallery(folder, folder / "m.jsonl")
    build = replacing(partition_key="brand", bulk_storage=str(servers_files))
    with ImageIndex.open(milvus_server, name, tiny) as index:
        report = index.add(gallery, build=build)
        assert (report.added, index.info().rows) == (12, 12)
        first = physical(index)
        # Copied from the old collection, then one picture that is new.
        Image.new("RGB", (30, 30), "red").save(folder / "new.png")
        gallery = open_gallery(folder, folder / "m.jsonl")
        report = index.add(gallery, build=build)
        assert (report.added, report.unchanged, index.info().rows) == (1, 12, 13)
        assert physical(index) != first
        row = index.get(["a/01.png"], ["text", "metadata", "vector"])["a/01.png"]
        assert (row["text"], row["metadata"]) == ('图 "x"', {"brand": "a\nb"})
        assert np.allclose(row["vector"], tiny.encode([folder / "a" / "01.png"])[0], atol=1e-4)
        index.options = SearchOptions(partition="a\nb")
        found = Searcher(index, tiny).search(Query(folder / "a" / "01.png"))
        assert [hit.image_id for hit in found.hits] == ["a/01.png"]
        assert list(servers_files.iterdir()) == []
        index.drop()


def test_where_rows_cannot_be_loaded_as_files(
    local: ImageIndex, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(MmragError, match="Milvus Lite has no bulk load"):
        local.add(open_gallery(folder), build=replacing(bulk_storage=str(tmp_path)))
    assert all_collections(local) == []
    with pytest.raises(MmragError, match="add --replace"):
        BuildOptions(bulk_storage="s3://bucket/x")


# The command line


def test_the_options_of_the_command_line(
    index: ImageIndex, folder: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        {"image_path": f"a/{i:02}.png", "brand": "nike" if i < 6 else 'a"b'} for i in (1, 3, 7)
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, records)))
    where = ["--uri", index.store.uri, "--collection", index.collection]
    where += ["--encoder", str(tiny_folder), "--precision", "fp32", "--json"]
    build = ["--index-type", "hnsw", "--index-param", "M=8", "--index-param", "efConstruction=32"]
    build += ["--partition-key", "brand", "--metadata", str(folder / "m.jsonl")]
    for extra in ([], ["--replace"]):
        assert run(["index", str(folder), *where, *build, *extra]) == 0
        assert json.loads(capsys.readouterr().out)["collection"] == index.collection
    search = ["search", "--text", "a mug", *where, "--search-param", "ef=64"]
    search += ["--consistency", "strong"]
    for partition, expected in (("nike", ["a/01.png", "a/03.png"]), ('a"b', ["a/07.png"])):
        assert run([*search, "--partition", partition]) == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        assert sorted(hit["image_id"] for hit in hits) == expected
    assert run(["index", str(folder), *where, "--index-param", "M=8"]) == 2
    assert "--index-param needs --index-type" in capsys.readouterr().err


def test_a_collection_of_a_script_is_adopted_from_a_server(
    milvus_server: str, folder: Path, tiny: Encoder, tiny_folder: Path, name: str
) -> None:
    paths = sorted(str(path) for path in folder.rglob("*.png"))
    made = made_by_script(milvus_server, tiny, paths, "IP")
    options = ["--uri", milvus_server, "--collection", made, "--encoder", str(tiny_folder)]
    done = CliRunner().invoke(main, ["adopt", *options, "--precision", "fp32", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["metric"], told["uri"], len(told["probe"]["cosines"])) == ("IP", milvus_server, 10)
    with ImageIndex.open(milvus_server, made, tiny) as opened:
        [first, *_] = Searcher(opened, tiny).search(Query(paths[3]), 5).hits
        assert os.path.realpath(first.path) == paths[3]
        assert first.score == pytest.approx(1, abs=1e-3)
        assert opened.info().rows == 12
