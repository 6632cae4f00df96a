"""Indexing and searching, on a local store and on a real Milvus server."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmrag import ImageIndex, MmragError, Query, Searcher, list_collections, open_gallery
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.errors import IndexStoreError
from mmrag.index import collections, odd_pictures
from mmrag.index.bulk import BulkLoad
from mmrag.index.embedding_map import read_vectors
from mmrag.index.kinds import EXACT_ROWS, BuildOptions, SearchOptions
from mmrag.index.near_duplicates import near_duplicates
from mmrag.index.store import MilvusStore

from .memory_milvus import URI, MemoryClient, in_memory  # noqa: F401
from .vectors import assert_exact_and_indexed, made_up, rows, unit


@pytest.fixture
def index(milvus_uri: str, tiny: Encoder) -> Iterator[ImageIndex]:
    with ImageIndex.open(milvus_uri, f"test_{uuid.uuid4().hex[:8]}", tiny) as opened:
        yield opened


def describe(folder: Path, text: str = "a red mug", price: float = 4.5) -> Path:
    record = {"image_path": "a/01.png", "description": text, "price": price}
    (folder / "m.jsonl").write_text(json.dumps(record))
    return folder / "m.jsonl"


def counts(report: object) -> tuple[int, ...]:
    return tuple(
        getattr(report, name) for name in ("added", "updated", "unchanged", "removed", "embedded")
    )


def test_incremental(index: ImageIndex, folder: Path, tiny: Encoder) -> None:
    """Unchanged images are kept, changed ones replaced, vanished ones removed, the rest listed."""
    assert counts(index.add(open_gallery(folder))) == (12, 0, 0, 0, 12)
    assert counts(index.add(open_gallery(folder))) == (0, 0, 12, 0, 0)

    (folder / "a" / "01.png").unlink()
    Image.new("RGB", (30, 30), "red").save(folder / "a" / "03.png")
    Image.new("RGB", (30, 30), "blue").save(folder / "new.png")
    (folder / "b" / "00.png").write_bytes(b"spoilt")
    (folder / "empty.jpg").write_bytes(b"")
    report = index.add(open_gallery(folder))
    assert counts(report) == (1, 1, 9, 1, 2)
    assert (report.stale, report.unreadable) == (["b/00.png"], 2)
    assert [(s.path, s.reason) for s in report.skipped] == [
        ("b/00.png", "not an image in a supported format"),
        ("empty.jpg", "file is empty"),
    ]
    assert index.info().rows == 12
    red = tiny.encode([Image.new("RGB", (30, 30), "red")])
    assert index.search(red, 1)[0][0]["image_id"] == "a/03.png"
    assert index.search(red, 1)[0][0]["score"] == pytest.approx(1, abs=1e-4)


def test_new_metadata_keeps_the_vector(index: ImageIndex, folder: Path) -> None:
    index.add(open_gallery(folder, describe(folder)))
    vector = index.get(["a/01.png"], ["vector"])["a/01.png"]["vector"]
    report = index.add(open_gallery(folder, describe(folder, "a blue mug", 7)))
    assert counts(report) == (0, 1, 11, 0, 0)
    row = index.get(["a/01.png"], ["vector", "text", "metadata"])["a/01.png"]
    assert (row["text"], row["metadata"]) == ("a blue mug", {"price": 7})
    assert np.allclose(row["vector"], vector)


@pytest.mark.parametrize("embed", ["text", "both"])
def test_what_is_embedded_is_a_choice(
    milvus_uri: str, folder: Path, tiny: Encoder, embed: str
) -> None:
    name = f"test_{uuid.uuid4().hex[:8]}"
    with ImageIndex.open(milvus_uri, name, tiny) as index:
        gallery = open_gallery(folder, describe(folder))
        report = index.add(gallery, embed=embed)
        assert report.added == (1 if embed == "text" else 12)
        stored = index.get(["a/01.png"], ["vector"])["a/01.png"]["vector"]
        picture = None if embed == "text" else [folder / "a" / "01.png"]
        assert np.allclose(stored, tiny.encode(picture, ["a red mug"])[0], atol=1e-4)
        report = index.add(open_gallery(folder, describe(folder, "a blue mug")), embed=embed)
        assert (report.updated, report.embedded) == (1, 1)
        with pytest.raises(IndexStoreError, match=f"holds embeddings of '{embed}'"):
            index.add(gallery)


def test_search_filter_and_leaving_the_query_out(index: ImageIndex, folder: Path) -> None:
    index.add(open_gallery(folder, describe(folder)))
    assert index.encoder is not None
    searcher = Searcher(index, index.encoder)
    path = folder / "a" / "01.png"
    result = searcher.search(Query(path, "the same in green"), k=5)
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5]
    assert sorted(hit.score for hit in result.hits)[::-1] == [hit.score for hit in result.hits]
    assert set(result.timings_ms) == {"encode", "search", "total"}
    assert searcher.search(Query(path), k=3).hits[0].image_id == "a/01.png"
    assert searcher.search(Query(path), k=3).hits[0].text == "a red mug"
    for image in (path, path.read_bytes()):
        ids = [
            hit.image_id for hit in searcher.search(Query(image), 3, exclude_query_image=True).hits
        ]
        assert len(ids) == 3
        assert "a/01.png" not in ids
    priced = searcher.search(Query(text="a mug"), filter='metadata["price"] < 10')
    assert [hit.image_id for hit in priced.hits] == ["a/01.png"]
    assert priced.hits[0].metadata == {"price": 4.5}
    with pytest.raises(MmragError, match="Filter 'metadata"):
        searcher.search(Query(text="a mug"), filter='metadata["price"] <')
    with pytest.raises(MmragError, match="k must be"):
        searcher.search(Query(text="a mug"), k=0)
    many = searcher.search_many([Query(path), Query(text="a mug"), Query(path, "in green")], k=2)
    assert [len(result.hits) for result in many] == [2, 2, 2]
    assert many[0].hits[0].image_id == "a/01.png"


def test_copies_of_the_query_do_not_use_up_the_results(index: ImageIndex, folder: Path) -> None:
    for i in range(6):
        (folder / f"copy{i}.png").write_bytes((folder / "a" / "01.png").read_bytes())
    index.add(open_gallery(folder))
    assert index.encoder is not None
    query = Query(folder / "a" / "01.png")
    hits = Searcher(index, index.encoder).search(query, 5, exclude_query_image=True).hits
    assert len(hits) == 5
    assert not any("copy" in hit.image_id or hit.image_id == "a/01.png" for hit in hits)


def test_near_duplicates_are_found(index: ImageIndex, folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "a" / "01.png").read_bytes())
    index.add(open_gallery(folder))
    ids, vectors = read_vectors(index, sorted(row["image_id"] for row in index.rows(["image_id"])))
    assert len(ids) == 13
    (pair,) = near_duplicates(vectors, threshold=0.9999).pairs
    assert {ids[pair[0]], ids[pair[1]]} == {"a/01.png", "copy.png"}


def test_another_encoder_is_refused(index: ImageIndex, folder: Path, tiny: Encoder) -> None:
    index.add(open_gallery(folder))
    info = EncoderInfo("other", tiny.info.dim, 64, "0123", "", "", "cpu", "fp32", 0)
    other = Encoder(tiny.model, info)
    with pytest.raises(
        IndexStoreError, match=f"built with encoder '{tiny.info.name}'.*not with 'other'"
    ):
        ImageIndex.open(index.store.uri, index.collection, other)
    with pytest.raises(IndexStoreError, match="built with encoder"):
        Searcher(index, other)
    for said, fields in (
        ("other weights", {"weights": "w"}),
        ("other preprocessing", {"weights": tiny.info.weights}),
        (f"dimension {tiny.info.dim} instead of 3 and other weights", {"weights": "w", "dim": 3}),
        ("precision fp32 instead of int8", {"precision": "int8"}),
    ):
        different = Encoder(tiny.model, replace(info, **fields))  # type: ignore[arg-type]
        with pytest.raises(IndexStoreError, match=f"It has {said}\\. Search it with"):
            Searcher(index, different)


def test_collections_are_listed_and_dropped(index: ImageIndex, folder: Path, tiny: Encoder) -> None:
    index.add(open_gallery(folder))
    found = {info.name: info for info in list_collections(index.store.uri)}
    info = found[index.collection]
    assert (info.rows, info.encoder, info.embed) == (12, tiny.info.name, "image")
    index.drop()
    assert not index.exists()
    with pytest.raises(MmragError, match=r"There is no collection .*`mmrag index FOLDER` makes it"):
        Searcher(index, tiny)


def test_nothing_to_index_keeps_what_is_there(
    index: ImageIndex, folder: Path, tmp_path: Path
) -> None:
    index.add(open_gallery(folder))
    (tmp_path / "none").mkdir()
    with pytest.raises(MmragError, match="no images"):
        index.add(open_gallery(tmp_path / "none"))
    assert index.info().rows == 12


def test_hostile_names_and_texts_are_only_data(index: ImageIndex, folder: Path) -> None:
    name = "x' or 1==1 or \"\\ %$ 图.png"
    (folder / name).write_bytes((folder / "a" / "01.png").read_bytes())
    (folder / "line\nbreak.png").write_bytes((folder / "a" / "01.png").read_bytes())
    text = '"; drop collection; metadata["price"] > 0 <script>alert(1)</script>'
    (folder / "m.jsonl").write_text(json.dumps({"image": name, "text": text, "k'\"": [1, None]}))
    report = index.add(open_gallery(folder, folder / "m.jsonl"))
    assert (report.added, report.skipped) == (14, [])
    row = index.get([name], ["text", "metadata"])[name]
    assert row["text"] == text
    assert row["metadata"] == {"k'\"": [1, None]}
    (folder / name).unlink()
    (folder / "line\nbreak.png").unlink()
    assert index.add(open_gallery(folder)).removed == 2
    assert index.info().rows == 12


def test_what_is_not_in_memory_is_loaded_and_what_is_refused_is_sent_once(
    index: ImageIndex, folder: Path, tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(open_gallery(folder))
    vector = tiny.encode(texts=["a red mug"])
    index.store.client.release_collection(index.collection)
    assert len(index.search(vector, 3)[0]) == 3
    sent = []
    call = index.store.call
    monkeypatch.setattr(index.store, "call", lambda *args: (sent.append(args[0]), call(*args))[1])
    with pytest.raises(IndexStoreError, match="Filter 'load uploads'"):
        index.search(vector, 3, filter="load uploads")
    assert sent.count("Filter 'load uploads'") == 1


def test_a_half_made_collection_is_completed(index: ImageIndex, folder: Path) -> None:
    """On a server a collection is made in steps; a kill may have come between them."""
    index.create("image")
    index.store.client.release_collection(index.collection)
    index.store.client.drop_index(index.collection, "vector")
    with ImageIndex.open(index.store.uri, index.collection, index.encoder) as again:
        assert again.add(open_gallery(folder)).added == 12
        assert again.info().rows == 12


def test_metadata_that_milvus_cannot_hold_is_one_skip(index: ImageIndex, folder: Path) -> None:
    report = index.add(open_gallery(folder, describe(folder, price=10**30)))
    assert report.added == 11
    assert "cannot be stored" in report.skipped[0].reason


def test_a_decoded_picture_cannot_be_left_out(index: ImageIndex, folder: Path) -> None:
    index.add(open_gallery(folder))
    assert index.encoder is not None
    query = Query(Image.open(folder / "a" / "01.png"))
    with pytest.raises(MmragError, match="give it as a path"):
        Searcher(index, index.encoder).search(query, exclude_query_image=True)


def test_too_large_fields_are_skipped(index: ImageIndex, folder: Path) -> None:
    report = index.add(open_gallery(folder, describe(folder, "x" * 70_000)))
    assert report.added == 11
    assert report.skipped[0].reason == "its text is longer than 65,535 bytes"


def test_search_is_exact_and_all_is_indexed(milvus_server: str) -> None:
    """5,000 vectors of dimension 768: the true neighbours, from the index."""
    assert_exact_and_indexed(milvus_server)


def test_large_collections_get_an_approximate_index(milvus_uri: str) -> None:
    vectors = unit(EXACT_ROWS + 500, 16)
    with ImageIndex.open(milvus_uri, f"test_{uuid.uuid4().hex[:8]}", made_up(16)) as index:
        index.create("image")
        index.write(rows(vectors))
        index.finish()
        kind = index.store.client.describe_index(index.collection, "vector")["index_type"]
        assert kind == "HNSW"
        found = index.search(vectors[:50], 1)
        assert np.mean([int(hits[0]["image_id"]) == i for i, hits in enumerate(found)]) > 0.95


def test_unreachable_and_wrong_stores(tmp_path: Path) -> None:
    message = r"No Milvus answers at http://127\.0\.0\.1:9"
    with pytest.raises(IndexStoreError, match=message) as error:
        ImageIndex.open("http://127.0.0.1:9", token="root:secret")
    shown: BaseException | None = error.value
    while shown is not None:
        assert "secret" not in str(shown)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    with pytest.raises(IndexStoreError, match=message) as error:
        ImageIndex.open("http://root:secret@127.0.0.1:9")
    assert "secret" not in str(error.value)
    (tmp_path / "old.db").write_bytes(b"SQLite format 3\0")
    with pytest.raises(IndexStoreError, match="is a file, not a Milvus Lite 3 store"):
        MilvusStore(tmp_path / "old.db")
    with pytest.raises(MmragError, match="letters, digits and underscores"):
        ImageIndex.open(tmp_path / "g.db", "../x")


def test_odd_pictures_are_counted_each_time(tiny: Encoder, folder: Path, tmp_path: Path) -> None:
    """Also those that are not decoded again; they are indexed like the others."""
    Image.new("RGB", (300, 200), (250, 250, 249)).save(folder / "flat.png")
    Image.effect_noise((200, 15), 90).save(folder / "tiny.png")
    shutil.copy(folder / "a" / "01.png", folder / "again.png")
    with ImageIndex.open(tmp_path / "gallery.db", "odd", tiny) as index:
        for embedded in (15, 0):
            report = index.add(open_gallery(folder))
            assert (report.embedded, index.info().rows) == (embedded, 15)
            assert (report.flat, report.tiny) == (["flat.png"], ["tiny.png"])
            assert report.repeated == [["a/01.png", "again.png"]]
            assert [ids for _, ids in report.odd()] == [["flat.png"], ["tiny.png"], ["again.png"]]


# In memory


@pytest.fixture
def many(in_memory: type[MemoryClient]) -> Iterator[ImageIndex]:  # noqa: F811
    """An index that is no process of its own, still without a collection."""
    with ImageIndex.open(URI, "many", made_up(16)) as opened:
        yield opened


def test_the_report_counts_what_was_done(
    in_memory: type[MemoryClient],  # noqa: F811
    folder: Path,
    tiny: Encoder,
) -> None:
    (folder / "notes.txt").write_text("no picture")
    (folder / "more.txt").write_text("no picture")
    with ImageIndex.open(URI, "counted", tiny) as index:
        first = index.add(open_gallery(folder))
        assert counts(first) == (12, 0, 0, 0, 12)
        assert first.others == {".txt": 2}
        (folder / "a" / "01.png").unlink()
        for name in ("a/03.png", "b/04.png"):
            Image.new("RGB", (30, 30), "red").save(folder / name)
        Image.new("RGB", (30, 30), "blue").save(folder / "new.png")
        assert counts(index.add(open_gallery(folder))) == (1, 2, 9, 1, 3)
        assert counts(index.add(open_gallery(folder, describe(folder)))) == (0, 0, 12, 0, 0)
        metadata = {"image_path": "new.png", "description": "blue"}
        (folder / "m.jsonl").write_text(json.dumps(metadata))
        report = index.add(open_gallery(folder, folder / "m.jsonl"))
        assert counts(report) == (0, 1, 11, 0, 0), "a new text needs no new vector"
        assert index.info().rows == 12


def test_rows_of_partitions_are_replaced(many: ImageIndex) -> None:
    """Milvus 2.3's upsert is not to be trusted with them."""
    many.create("image", BuildOptions(partition_key="brand"))
    vectors = unit(6, 16)
    made = [row | {"metadata": {"brand": "ab"[i % 2]}} for i, row in enumerate(rows(vectors))]
    for _ in range(2):
        many.write(made)
    many.options = SearchOptions(partition="b")
    (found,) = many.search(vectors[1:2], 9)
    assert found[0]["image_id"] == "1"
    assert sorted(row["image_id"] for row in found) == ["1", "3", "5"]
    assert many.info().rows == 6


def test_what_failed_is_named(many: ImageIndex) -> None:
    many.create("image")
    many.write(rows(unit(3, 16)))
    with pytest.raises(IndexStoreError, match=r"^Searching collection many: vector dimension"):
        many.search(unit(1, 8), 2)
    with pytest.raises(IndexStoreError, match=r"^Filter 'price <': cannot parse"):
        many.search(unit(1, 16), 2, "price <")


def test_vectors_are_read_in_the_order_asked_for(many: ImageIndex) -> None:
    many.create("image")
    vectors = unit(700, 16)
    many.write(rows(vectors))
    wanted = [str(i) for i in range(699, -1, -1)]
    ids, read = read_vectors(many, ["gone", *wanted])
    assert ids == wanted
    assert read.dtype == np.float32
    assert np.array_equal(read, vectors[::-1])
    assert [len(one) for one in read_vectors(many, ["gone"])] == [0, 0]


def test_a_collection_without_an_alias_steps_aside(in_memory: type[MemoryClient]) -> None:  # noqa: F811
    """Those of earlier versions have none; the first free number is theirs."""
    store = MilvusStore(URI)
    for name in ("shop", "shop__1", "shop__2"):
        in_memory.held[name] = SimpleNamespace(properties={"is": name})
    assert collections.switch(store, "shop", "shop__2") == "shop__3"
    assert in_memory.held["shop__3"].properties == {"is": "shop"}
    assert in_memory.aliases == {"shop": "shop__2"}
    assert collections.switch(store, "shop", "shop__1") == "shop__2", "that has one now"
    assert collections.switch(store, "shop", "shop__1") is None
    assert collections.switch(store, "new", "shop__3") is None
    assert in_memory.aliases == {"shop": "shop__1", "new": "shop__3"}


def test_files_for_bulk_loading(
    many: ImageIndex,
    in_memory: type[MemoryClient],  # noqa: F811
    tmp_path: Path,
) -> None:
    """They hold every row, and are gone afterwards."""
    many.create("image")
    vectors = unit(2005, 16)
    loading = BulkLoad(many.store, many.collection, f"{tmp_path}/")
    made = [{"key": f"{i:04}", **row} for i, row in enumerate(rows(vectors))]
    loading.add(made[:2001])
    loading.add(made[2001:])
    in_memory.aliases.clear()
    in_memory.held[many.collection] = in_memory.held.pop("many__1")
    assert loading.load() == 2005
    (file,) = in_memory.loaded
    assert Path(file).parent.parent == tmp_path
    held = in_memory.held[many.collection].rows
    assert [row["key"] for row in held] == [row["key"] for row in made]
    assert np.array_equal(np.array([row["vector"] for row in held], np.float32), vectors)
    loading.close()
    assert list(tmp_path.iterdir()) == []


def test_odd_pictures_are_counted_by_kind() -> None:
    flat, tiny, both, plain = (letter * 64 for letter in "abcd")
    odd_pictures.remember([(flat, ("flat",)), (tiny, ("tiny",)), (both, ("flat", "tiny"))])
    assert odd_pictures.count([flat, flat, both, plain]) == {"flat": 3, "tiny": 1, "repeated": 1}
    assert odd_pictures.count([plain]) == {}
