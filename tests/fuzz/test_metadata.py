"""Galleries: metadata files of every kind, names of files, and what becomes of them on the way."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmrag.galleries.gallery import Gallery, open_gallery
from mmrag.galleries.metadata import PATH_KEYS, TEXT_KEYS
from mmrag.galleries.uploads import collection_name, safe_name, save_uploads, uploads_folder
from mmrag.index.rows import check_storable
from mmrag.types import GalleryImage

from .cases import ODD_TEXTS, SCALARS, VALUES, case, fuzz, spoil_bytes, spoil_value

RECORDS = [
    {"image_path": "a/1.png", "description": "a red mug", "price": 4.5, "tags": ["x", {"y": 1}]},
    {"file_name": "b.png", "caption": "blau, grün", "id": 2**40, "size": {"w": 3}},
    {"path": "../outside.png", "text": ""},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gallery")
    make_gallery(root)
    return root


def make_gallery(root: Path) -> None:
    for name in ("a/1.png", "b.png"):
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (3, 3)).save(root / name)


def as_csv(records: list[dict[str, object]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted({key for one in records for key in one}))
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue().encode("utf-8", "surrogatepass")


def as_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"image_path": ["a/1.png"], "description": ["a red mug"]}), out)
    return out.getvalue()


FILES = {
    "m.jsonl": "\n".join(map(json.dumps, RECORDS)).encode(),
    "m.json": json.dumps(RECORDS).encode(),
    "m.csv": as_csv(RECORDS),
    "m.tsv": as_csv(RECORDS).replace(b",", b"\t"),
    "m.parquet": as_parquet(),
    "m.txt": b"a/1.png a red mug",
}


def join(folder: Path, name: str, content: bytes) -> Gallery:
    """Open the gallery; every picture stays in it, and what is left out is listed."""
    path = folder / name
    path.write_bytes(content)
    gallery = open_gallery(folder, path)
    assert [image.image_id for image in gallery.images] == ["a/1.png", "b.png"]
    for image in gallery.images:
        assert Path(image.path).resolve().is_relative_to(folder.resolve())
        assert isinstance(image.text, str)
        # What cannot be stored is one picture's reason to be skipped, before it reaches Milvus.
        with case(__file__):
            check_storable(image, "image")
    assert all(skipped.reason for skipped in gallery.skipped)
    return gallery


@pytest.mark.parametrize("name", FILES)
def test_spoiled_files(folder: Path, name: str) -> None:
    @fuzz(120)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        with case(__file__):
            join(folder, name, spoil_bytes(data.draw, FILES[name]))

    run()


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_spoiled_values(folder: Path, name: str) -> None:
    @fuzz(150)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        records = spoil_value(data.draw, RECORDS)
        if name == "m.jsonl" and isinstance(records, list):
            text = "\n".join(map(json.dumps, records))
        else:
            text = json.dumps(records)
        with case(__file__):
            join(folder, name, text.encode())

    run()


@fuzz(200)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*PATH_KEYS, *TEXT_KEYS, "price", "", "a.b"]),
            st.sampled_from(["a/1.png", "b.png", "1e400", "nan", "007"]) | ODD_TEXTS,
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["m.csv", "m.tsv"]),
)
def test_tables_of_odd_texts(folder: Path, records: list[dict[str, str]], name: str) -> None:
    with case(__file__):
        join(folder, name, as_csv(records))  # type: ignore[arg-type]


@fuzz(200)
@given(ODD_TEXTS, ODD_TEXTS, VALUES, st.sampled_from(["a/1.png", "b.png"]))
def test_odd_descriptions_and_metadata(
    folder: Path, text: str, key: str, value: object, picture: str
) -> None:
    record = {"image_path": picture, "text": text, key or "k": value}
    with case(__file__):
        gallery = join(folder, "m.json", json.dumps([record]).encode())
        found = {image.image_id: image for image in gallery.images}[picture]
        assert key in PATH_KEYS or found.text == text or key in TEXT_KEYS


@fuzz(200)
@given(ODD_TEXTS, st.dictionaries(st.text(max_size=5), SCALARS, max_size=3))
def test_what_cannot_be_stored_is_a_reason(text: str, metadata: dict[str, object]) -> None:
    image = GalleryImage(text[:2000], "/nonexistent/x.png", text, metadata)
    with case(__file__):
        check_storable(image, "both")


@fuzz(100)
@given(ODD_TEXTS, st.binary(max_size=3))
def test_uploads_stay_in_their_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    with case(__file__):
        safe = safe_name(name + ".png")
        assert "/" not in safe
        assert not safe.startswith(".")
        assert safe.isprintable()
        folder, skipped = save_uploads("fuzzed", [(name + ".png", content)])
        assert folder == uploads_folder("fuzzed")
        held = list(folder.iterdir())
        assert skipped or held
        assert all(path.is_file() and path.resolve().parent == folder.resolve() for path in held)


@fuzz(300)
@given(ODD_TEXTS)
def test_collections_name_no_other_folder(title: str) -> None:
    with case(__file__):
        assert uploads_folder(collection_name(title)).parent.name == "galleries"
    with case(__file__):
        assert uploads_folder(title).parent.name == "galleries"


@fuzz(150)
@given(ODD_TEXTS)
def test_folders_that_are_none(folder: Path, name: str) -> None:
    with case(__file__, refused="is not a folder"):
        open_gallery(f"/nonexistent/{name}")
    with case(__file__, refused="metadata|read"):
        open_gallery(folder, f"/nonexistent/{name}.csv")
