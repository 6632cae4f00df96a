"""Unreadable is not vanished, and nothing much is removed unasked: in every way of indexing."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmrag import ImageIndex, open_gallery
from mmrag.cli.index import index as index_command
from mmrag.distributed.open_sources import shard_source
from mmrag.distributed.parquet import embed_to_shards
from mmrag.distributed.ray_embedder import RaySource
from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError, RemovalError
from mmrag.index import replace
from mmrag.index.kinds import BuildOptions

from .faults.conftest import draw
from .faults.jobs import encoder as colours
from .ray_in_process import source_of

PICTURES = 30
PRUNE, ANEW = BuildOptions(prune=True), BuildOptions(replace=True)
ANEW_PRUNE = BuildOptions(replace=True, prune=True)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(replace, "GRACE_SECONDS", 0.0)
    root = tmp_path / "photos"
    root.mkdir()
    draw(root, range(PICTURES))
    return root


@pytest.fixture
def index(photos: Path) -> Iterator[ImageIndex]:
    with ImageIndex.open(collection="kept", encoder=colours()) as opened:
        opened.add(open_gallery(photos))
        yield opened


def cut_to_nothing(photo: Path) -> None:
    photo.write_bytes(b"")


def make_a_folder(photo: Path) -> None:
    photo.unlink()
    photo.mkdir()


def point_nowhere(photo: Path) -> None:
    photo.unlink()
    photo.symlink_to(photo.parent / "gone.png")


@pytest.mark.parametrize("build", [None, PRUNE, ANEW], ids=["update", "prune", "replace"])
def test_unreadable_pictures_keep_their_rows(
    index: ImageIndex, photos: Path, build: BuildOptions | None
) -> None:
    held = index.stored_hashes()
    for photo in photos.iterdir():
        if photo.name != "000.png":
            [cut_to_nothing, point_nowhere][photo.name < "015"](photo)
    report = index.add(open_gallery(photos), build=build)
    assert (report.removed, len(report.stale), len(report.skipped)) == (0, 29, 29)
    assert report.unreadable == 15, "the others were left out before they were read"
    assert index.stored_hashes() == held
    draw(photos, range(15, PICTURES))
    report = index.add(open_gallery(photos))
    assert (report.unchanged, len(report.stale)) == (16, 14)


@pytest.mark.parametrize("build", [None, ANEW], ids=["update", "replace"])
def test_much_is_removed_only_when_asked(
    index: ImageIndex, photos: Path, build: BuildOptions | None
) -> None:
    held = index.stored_hashes()
    for i in range(11):
        (photos / f"{i:03}.png").unlink()
    with pytest.raises(RemovalError, match=r"would lose 11 of its 30 rows.*add --prune"):
        index.add(open_gallery(photos), build=build)
    assert index.stored_hashes() == held
    asked = ANEW_PRUNE if build else PRUNE
    assert index.add(open_gallery(photos), build=asked).removed == 11
    assert index.info().rows == 19
    (photos / "029.png").unlink()
    assert index.add(open_gallery(photos)).removed == 1, "a few go as ever"


@pytest.mark.parametrize("build", [None, PRUNE, ANEW, ANEW_PRUNE])
def test_an_empty_or_missing_folder_removes_nothing(
    index: ImageIndex, tmp_path: Path, build: BuildOptions | None
) -> None:
    held = index.stored_hashes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MmragError, match="no images to index: the folder is empty"):
        index.add(open_gallery(tmp_path / "empty"), build=build)
    with pytest.raises(MmragError, match="missing is not a folder"):
        index.add(open_gallery(tmp_path / "missing"), build=build)
    assert index.stored_hashes() == held


def test_another_encoder_cannot_keep_what_it_cannot_read(
    index: ImageIndex, photos: Path, tiny: Encoder
) -> None:
    for i in range(11):
        cut_to_nothing(photos / f"{i:03}.png")
    with ImageIndex.open(collection="kept") as other:
        other.encoder = tiny
        with pytest.raises(RemovalError, match="11 of its 30 rows"):
            other.add(open_gallery(photos), build=ANEW)
        assert other.info().rows == 30
        other.add(open_gallery(photos), build=ANEW_PRUNE)
        assert other.info().rows == 19


def test_the_command_says_it_by_its_status(photos: Path, tiny_folder: Path) -> None:
    def run(*options: str) -> tuple[int, str]:
        arguments = [str(photos), "--encoder", str(tiny_folder), "--collection", "told", *options]
        result = CliRunner().invoke(index_command, arguments, standalone_mode=False)
        assert result.exception is None or isinstance(result.exception, RemovalError)
        if result.exception:
            return 1, str(result.exception)
        return result.return_value, result.stdout

    assert run()[0] == 0
    cut_to_nothing(photos / "003.png")
    status, words = run()
    assert status == 3
    assert "stale 003.png: file is empty" in words
    assert "Done, with 1 unreadable; 1 of them kept the rows they had." in words
    status, words = run("--json", "--strict")
    told = json.loads(words)
    assert (status, told["unreadable"], told["stale"], told["removed"]) == (1, 1, ["003.png"], 0)
    for i in range(4, 20):
        (photos / f"{i:03}.png").unlink()
    status, words = run()
    assert (status, "add --prune" in words) == (1, True)
    assert run("--prune", "--replace")[0] == 3


def test_shards_keep_the_rows_of_unreadable_pictures(
    photos: Path, tmp_path: Path, tiny: Encoder, tiny_folder: Path
) -> None:
    def source() -> RaySource:
        return source_of(tiny, tiny_folder, photos)

    shards = tmp_path / "shards"
    assert embed_to_shards(source(), shards).added == PICTURES
    before = {image.image_id for image in shard_source(shards, str(photos)).gallery.images}
    for i in range(20):
        cut_to_nothing(photos / f"{i:03}.png")
    report = embed_to_shards(source(), shards)
    assert (report.removed, len(report.stale), report.unreadable) == (0, 20, 20)
    assert {i.image_id for i in shard_source(shards, str(photos)).gallery.images} == before
    for i in range(20):
        (photos / f"{i:03}.png").unlink()
    with pytest.raises(RemovalError, match="20 of its 30 rows"):
        embed_to_shards(source(), shards)
    assert embed_to_shards(source(), shards, prune=True).removed == 20


def _index(folder: Path, seconds: float, begun: Any) -> None:
    with ImageIndex.open(collection="shared", encoder=colours(seconds)) as opened:
        opened.add(open_gallery(folder), batch_size=2, progress=lambda n: begun.set())


def test_two_galleries_at_once(photos: Path, tmp_path: Path) -> None:
    """The second waits for the first, and then finds a collection that mirrors another folder."""
    other = tmp_path / "other"
    other.mkdir()
    draw(other, range(50, 70))
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    first = context.Process(target=_index, args=(photos, 0.1, started))
    first.start()
    assert started.wait(120)
    waited: list[int] = []
    with ImageIndex.open(collection="shared", encoder=colours()) as opened:
        with pytest.raises(RemovalError, match="would lose 30 of its 30 rows"):
            opened.add(open_gallery(other), progress=waited.append)
        assert 0 in waited, "it was told of the waiting"
        assert opened.info().rows == 30
    first.join()
    assert first.exitcode == 0


def test_another_writer_is_noticed(index: ImageIndex, photos: Path, tmp_path: Path) -> None:
    """Somebody who does not take the lock, such as a machine with another MMRAG_HOME."""
    draw(photos, range(PICTURES, PICTURES + 2))
    stray = {**next(index.rows(["image_id", "content_hash", "row_hash", "path", "text"]))}
    stray |= {"image_id": "stray.png", "metadata": {}, "vector": [1.0] + [0.0] * 15}

    def interfere(_: int) -> None:
        index.write([stray])

    with pytest.raises(Exception, match=r"holds 33 rows instead of 32: something else wrote"):
        index.add(open_gallery(photos), progress=interfere)
