"""Small copies of pictures."""

import io
import os

import pytest
from PIL import Image

from mmrag import config
from mmrag.errors import ImageError
from mmrag.images.thumbnails import data_url, thumbnail


def picture(path, colour, size=(800, 400)):
    Image.new("RGB", size, colour).save(path)
    return path


def test_a_thumbnail_is_small_keeps_the_aspect_ratio_and_is_kept(tmp_path):
    path = picture(tmp_path / "a.png", "red")
    data = thumbnail(path, 100)
    assert Image.open(io.BytesIO(data)).size == (100, 50)
    (kept,) = (config.home() / "cache" / "thumbnails").rglob("*.webp")
    assert Image.open(kept).size == (100, 50), "what is kept is a picture too"
    written = kept.stat().st_mtime_ns
    assert thumbnail(path, 100) == data
    assert kept.stat().st_mtime_ns == written, "the one that is kept was used"


def _cut(data):
    return data[: len(data) // 2]


def _zeros(data):
    return bytes(len(data))


def _one_bit(data):
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize("damage", [_cut, _zeros, _one_bit, lambda data: b""])
def test_a_damaged_thumbnail_is_made_anew(tmp_path, damage):
    path = picture(tmp_path / "a.png", "red")
    data = thumbnail(path, 100)
    (kept,) = (config.home() / "cache" / "thumbnails").rglob("*.webp")
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert thumbnail(path, 100) == data
    assert kept.read_bytes() == whole, "it is mended on the disk too"


def test_a_changed_picture_gets_a_new_thumbnail(tmp_path):
    path = picture(tmp_path / "a.png", "red")
    before = thumbnail(path, 100)
    picture(path, "blue")
    os.utime(path, ns=(1, 1))
    assert thumbnail(path, 100) != before


def test_uploads_leave_nothing_on_the_disk(tmp_path):
    data = picture(tmp_path / "a.png", "red").read_bytes()
    assert Image.open(io.BytesIO(thumbnail(data, 64))).size == (64, 32)
    assert not (config.home() / "cache").exists()


def test_broken_pictures_are_said_to_be_broken(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError):
        thumbnail(tmp_path / "a.png")
    assert data_url(tmp_path / "a.png") is None
    assert data_url(tmp_path / "absent.png") is None
