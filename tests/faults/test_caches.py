"""Damaged caches: what is in them can be made again, so that is what happens."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mmrag import config
from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError
from mmrag.rerank.embeddings import EmbeddingCache
from mmrag.vision.cache import ResponseCache


def test_half_an_answer_is_asked_for_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The row's text is cut in the middle, as an interrupted copy of the file leaves it."""
    cache = ResponseCache()
    cache.put("a", {"text": "an answer"})
    cache.put("b", {"text": "another"})
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE responses SET answer = substr(answer, 1, 9) WHERE key = 'a'")
        connection.execute("UPDATE responses SET answer = '[1]' WHERE key = 'b'")
    assert cache.get("a") is None
    assert cache.get("b") is None
    assert "damaged; it is asked for anew" in caplog.text
    cache.put("a", {"text": "the new answer"})
    assert cache.get("a") == {"text": "the new answer"}


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2 + 100]


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def scribble(data: bytes) -> bytes:
    return data[:100] + b"\xff" * (len(data) - 100)


@pytest.mark.parametrize("damage", [cut, zeros, scribble])
def test_a_damaged_file_is_moved_aside_and_begun_anew(
    damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache = ResponseCache()
    for n in range(200):
        cache.put(str(n), {"text": "x" * 200})
    with sqlite3.connect(cache.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged = damage(cache.path.read_bytes())
    cache.path.write_bytes(damaged)
    for n in range(200):
        with contextlib.suppress(MmragError):
            assert cache.get(str(n)) in (None, {"text": "x" * 200})
    cache.put("new", {"text": "new"})
    assert cache.get("new") == {"text": "new"}
    (kept,) = cache.path.parent.glob("responses.sqlite.broken-*[0-9]")
    assert kept.read_bytes() == damaged, "nothing is deleted"
    assert "was damaged; it is now responses.sqlite.broken-" in caplog.text


def test_vectors_are_computed_again(tiny: Encoder, folder: Path) -> None:
    paths = sorted(map(str, folder.rglob("*.png")))
    before = EmbeddingCache(tiny).embed(paths)
    (config.home() / "cache" / "embeddings.sqlite").write_bytes(b"no database" * 1000)
    after = EmbeddingCache(tiny).embed(paths)
    assert all((before[path] == after[path]).all() for path in paths)  # type: ignore[union-attr]
