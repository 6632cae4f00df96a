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
    kept = list((config.home() / "cache" / "thumbnails").rglob("*.webp"))
    assert [file.read_bytes() for file in kept] == [data]
    kept[0].write_bytes(b"kept")
    assert thumbnail(path, 100) == b"kept"


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
