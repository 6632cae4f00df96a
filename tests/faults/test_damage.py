"""Damaged state: told with a way on, repaired, or moved aside."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmrag import ImageIndex, RunStore, list_collections, open_gallery
from mmrag.cli.doctor import doctor
from mmrag.doctor import examine
from mmrag.errors import IndexStoreError
from mmrag.index import collections

from ..helpers import wait_until
from .conftest import draw
from .jobs import encoder

SPOILED = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "garbage": lambda data: b"\x00garbage" * 20,
}


@pytest.fixture(autouse=True)
def _no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRAG_STORE_LINGER", "0")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def store(photos: Path) -> Path:
    """Two collections: `kept` was indexed twice (10 and then 20 more rows), and `other`."""
    photos.mkdir()
    with open_index("kept") as kept, open_index("other") as other:
        for numbers in (range(10), range(10, 30)):
            draw(photos, numbers)
            kept.add(open_gallery(photos))
        other.add(open_gallery(photos))
    return Path(os.environ["MMRAG_HOME"]) / "gallery.db"


def open_index(name: str = "kept") -> ImageIndex:
    return ImageIndex.open(collection=name, encoder=encoder())


def closed(store: Path) -> Path:
    """The folder of `kept`, when no server has it open."""
    assert wait_until(lambda: not (store.with_name("gallery.db.server") / "server.json").exists())
    return store / "collections" / "kept__1"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def said(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(doctor, options, standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, done.stdout


@pytest.mark.parametrize("how", SPOILED)
def test_a_damaged_manifest_loses_nothing(store: Path, how: str) -> None:
    """Milvus Lite by itself answers with the 10 rows of the manifest before, and deletes 20."""
    folder = closed(store)
    before = files(folder)
    manifest = folder / "manifest.json"
    manifest.write_bytes(SPOILED[how](manifest.read_bytes()))
    with pytest.raises(IndexStoreError, match=r"manifest\.json cannot be read.*doctor --repair"):
        open_index()
    with open_index("other") as other:
        assert other.info().rows == 30, "the other collection is not concerned"
    assert [info.name for info in list_collections()] == ["other"]
    assert files(closed(store)) == before
    (problem,) = examine().damaged
    assert "kept__1" in problem
    closed(store)
    status, words = said("--repair", "--check")
    assert (status, "all 30 rows are back" in words) == (0, True), words
    with open_index() as kept:
        assert len(kept.stored_hashes()) == kept.info().rows == 30


def test_an_older_manifest_is_noticed(store: Path) -> None:
    folder = closed(store)
    before = files(folder)
    (folder / "manifest.json").write_bytes((folder / "manifest.json.prev").read_bytes())
    with pytest.raises(IndexStoreError, match="an older one"):
        open_index()
    assert files(closed(store)) == before


def test_fewer_rows_than_there_were(store: Path) -> None:
    """Such as a copy of the store that was taken before: an error, until somebody takes it."""
    with open_index() as kept:
        physical = collections.describe(kept.store, "kept")[0]
        assert kept.store.row_counts is not None
        kept.store.row_counts.note(physical, 60)
    with pytest.raises(IndexStoreError, match="holds 30 rows; it was left with 60"):
        open_index()
    closed(store)
    assert "holds 30 rows and was left with 60" in said("--repair")[1]
    with open_index() as kept:
        assert kept.info().rows == 30


@pytest.mark.parametrize("how", SPOILED)
def test_what_can_be_derived_is_made_anew(store: Path, photos: Path, how: str) -> None:
    """The names of collections, and the index files of the store."""
    folder = closed(store)
    (first, *_) = sorted(folder.glob("partitions/*/indexes/*"))
    for file in (first, store / "aliases.json"):
        file.write_bytes(SPOILED[how](file.read_bytes()))
    with open_index() as kept:
        (hits,) = kept.search(encoder().encode([photos / "000.png"]), 1)
        assert hits[0]["image_id"] == "000.png"
    assert [info.name for info in list_collections()] == ["kept", "other"]
    assert list(store.glob("aliases.json.broken-*"))
    assert list(folder.glob("partitions/*/indexes.broken-*"))


@pytest.mark.parametrize("name", ["schema.json", "partitions/_default/data"])
def test_what_cannot_be_repaired_is_moved_aside(store: Path, photos: Path, name: str) -> None:
    folder = closed(store)
    damaged = folder / name
    damaged = sorted(damaged.iterdir())[0] if damaged.is_dir() else damaged
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(IndexStoreError, match=f"{damaged.name} cannot be read"):
        open_index()
    closed(store)
    status, words = said("--check")
    assert (status, "Collection kept__1" in words) == (1, True)
    closed(store)
    _, words = said("--repair")
    assert "lost: 30 rows" in words
    (aside,) = store.with_name("gallery.db.broken").iterdir()
    assert damaged.name in {path.name for path in aside.rglob("*")}
    assert [info.name for info in list_collections()] == ["other"]
    with open_index() as kept:
        assert kept.add(open_gallery(photos)).added == 30


@pytest.fixture
def runs() -> Path:
    path = Path(os.environ["MMRAG_HOME"]) / "runs.db"
    with RunStore():
        pass
    return path


def test_files_of_the_state_folder(runs: Path) -> None:
    home = runs.parent
    weights = home / "weights" / "x" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"\xff" * 40)
    (home / "cache").mkdir()
    with sqlite3.connect(home / "cache" / "fine.sqlite") as fine:
        fine.execute("CREATE TABLE x (y)")
    data = runs.read_bytes()
    runs.write_bytes(data[:200] + b"\xff" * (len(data) - 200))
    runs.with_name("runs.db-wal").unlink(missing_ok=True)
    status, words = said("--check", "--json")
    told = json.loads(words)
    assert status == 1
    assert {Path(one["what"]).name for one in told["broken"]} == {"runs.db", "model.safetensors"}
    status, words = said("--repair")
    assert "the runs and jobs in it are lost" in words
    assert "mmrag download" in words
    (moved,) = home.glob("runs.db.broken-*[0-9]")
    assert moved.read_bytes()[:200] == data[:200]
    with RunStore() as store:
        assert store.runs() == []
    assert said("--check") == (0, "Nothing is broken.\n")


@pytest.mark.parametrize("name", ["runs.db", "known_vectors.sqlite", "adopted.json"])
def test_a_folder_in_the_place_of_a_file_is_moved_aside(name: str) -> None:
    home = Path(os.environ["MMRAG_HOME"])
    (home / name).mkdir(parents=True)
    (home / name / "inside").touch()
    assert said("--check")[0] == 1
    assert f"{name}: is a folder" in said("--repair")[1]
    (moved,) = home.glob(f"{name}.broken-*[0-9]")
    assert (moved / "inside").exists()
    assert said("--check") == (0, "Nothing is broken.\n")
    with RunStore() as runs:
        assert runs.runs() == []


def test_folders_of_weights_may_be_called_as_files() -> None:
    folder = Path(os.environ["MMRAG_HOME"]) / "weights" / "model.pt-br.json"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert said("--check") == (0, "Nothing is broken.\n")
    said("--repair")
    assert (folder / "config.json").exists()


def test_what_is_known_of_adopted_collections_is_lost_and_the_others_go_on(
    store: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = store.with_name("adopted.json")
    file.write_text('[{"uri": "x"')
    with open_index() as kept:
        assert len(kept.search(encoder().encode([photos / "000.png"]), 1)[0]) == 1
    assert "adopt the collections again" in caplog.text
    assert "adopt the collections again" in said("--repair")[1]
    assert not file.exists()
