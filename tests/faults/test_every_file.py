"""Every file of a state folder, damaged in every way: nothing is lost in silence, all is told.

CI tries a few; `make attack` tries all of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag import MmragError, RunStore, config
from mmrag.cli import run
from mmrag.encoders.encoder import Encoder
from mmrag.images.thumbnails import thumbnail
from mmrag.index.lite_server import read_record
from mmrag.rerank.embeddings import EmbeddingCache
from mmrag.vision.cache import ResponseCache

from ..helpers import made_file, wait_until
from .conftest import ROUNDS, draw

PICTURES = 30
# With more rounds than CI's all files in all ways.
FEW = [("runs.db", "zeros"), ("cache/embeddings.sqlite", "cut off")]


def flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if data else b"\1"


def overwritten(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(100) + data[at + 100 :]


# What becomes of a file's content; None is handled by name.
WAYS: dict[str, Callable[[bytes, random.Random], bytes] | None] = {
    "emptied": lambda data, rng: b"",
    "cut off": lambda data, rng: data[: rng.randrange(len(data) or 1)],
    "garbage": lambda data, rng: rng.randbytes(500),
    "zeros": lambda data, rng: bytes(len(data)),
    "a bit flipped": flipped,
    "partly overwritten": overwritten,
    "twice": lambda data, rng: data + data,
    "other JSON": lambda data, rng: b'{"rows": [], "version": {}}',
    "gone": None,
    "a link to nowhere": None,
}


def damage(file: Path, way: str, rng: random.Random) -> None:
    change = WAYS[way]
    if change:
        file.write_bytes(change(file.read_bytes(), rng))
        return
    file.unlink()
    if way == "a link to nowhere":
        file.symlink_to("nowhere")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    draw(folder, range(PICTURES))
    return folder


@pytest.fixture
def whole(
    tmp_path: Path,
    photos: Path,
    tiny: Encoder,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """A state folder with everything that commands leave in one."""
    home = tmp_path / "whole"
    monkeypatch.setenv("MMRAG_HOME", str(home))
    monkeypatch.setenv("MMRAG_STORE_LINGER", "2")
    assert run(["index", str(photos), "--encoder", str(tiny_folder)]) == 0, capsys.readouterr()
    with RunStore():
        pass
    paths = sorted(map(str, photos.iterdir()))
    EmbeddingCache(tiny).embed(paths)
    ResponseCache().put("key", {"text": "an answer"})
    thumbnail(paths[0], 64)
    shutil.copytree(tiny_folder, home / "weights" / "mine")
    (home / "bench").mkdir()
    made_file(home / "bench" / "result.json", "2026-01-01T10:00:00", 2.0)
    at_rest(home)
    return home


def at_rest(home: Path) -> None:
    """Wait until the local store's server is gone."""
    assert wait_until(lambda: read_record(home / "gallery.db.server") is None, 60)


def test_every_file_in_every_way(
    whole: Path,
    photos: Path,
    tiny: Encoder,
    tiny_folder: Path,
    tmp_path: Path,
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    files = sorted(
        path.relative_to(whole)
        for path in whole.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".log")
    )
    tries = [(file, way) for file in files for way in WAYS]
    rng.shuffle(tries)
    if ROUNDS <= 30:
        tries = [(Path(file), way) for file, way in FEW]
    paths = sorted(map(str, photos.iterdir()))
    expected = EmbeddingCache(tiny).embed(paths)
    home = tmp_path / "home"
    monkeypatch.setenv("MMRAG_HOME", str(home))
    assert config.home() == home

    def said(*arguments: str) -> tuple[int, str, str]:
        """Status, output and errors of a command that ends in one line if it fails."""
        capsys.readouterr()
        status = run(list(arguments))
        out, err = capsys.readouterr()
        last = err.strip().rpartition("\n")[2]
        assert status in (0, 1, 3), (arguments, err)
        if status == 1 and arguments[0] != "doctor":
            assert last.startswith("Error: "), (arguments, err)
        assert "Traceback" not in err, (arguments, err)
        return status, out, last

    search = ("search", "--image", str(photos / "003.png"), "-k", "50", "--json")
    search = (*search, "--encoder", str(tiny_folder))
    index = ("index", str(photos), "--encoder", str(tiny_folder), "--json")

    def finds_all() -> bool:
        """Whether a search finds all rows; fewer are an error, and no result."""
        status, out, _ = said(*search)
        if status == 0:
            hits = json.loads(out)["hits"]
            assert (len(hits), hits[0]["image_id"]) == (PICTURES, "003.png")
        return status == 0

    def caches_are_mended() -> None:
        vectors = EmbeddingCache(tiny).embed(paths)
        assert all(np.array_equal(vectors[path], expected[path]) for path in paths)
        with contextlib.suppress(MmragError):  # moved aside only now, and told
            assert ResponseCache().get("key") in (None, {"text": "an answer"})
        with Image.open(io.BytesIO(thumbnail(paths[0], 64))) as small:
            small.load()

    for count, (file, way) in enumerate(tries, start=1):
        shutil.copytree(whole, home)
        damage(home / file, way, rng)
        what = f"{file}: {way} ({count})"
        try:
            finds_all()
            said("runs")
            said("bench", "compare")
            caches_are_mended()
            said("doctor", "--check")
            at_rest(home)
            status, repaired, _ = said("doctor", "--repair")
            assert status == 0, (what, repaired)
            assert said(*index)[0] == 0, (what, repaired)
            assert finds_all(), (what, repaired)
            assert said("runs")[0] == 0, (what, repaired)
            at_rest(home)
            status, left, _ = said("doctor", "--check")
            assert status == 0, (what, repaired, left)
        except BaseException:
            print(what)
            raise
        at_rest(home)
        shutil.rmtree(home)
    record_property("tried", len(tries))
