"""Pictures: whatever a file holds, it becomes RGB pixels or a reason to skip it."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmrag.images.decode import load_image, read_bytes
from mmrag.images.grid import draw_grid
from mmrag.images.resize import resize_and_crop
from mmrag.images.thumbnails import data_url, thumbnail

from .cases import case, fuzz, spoil_bytes
from .pictures import DISGUISED, EXTENSIONS, FORMATS, encoded, noise, png_of, whole_pictures

WHOLE = dict(whole_pictures())
# 89 million pixels, the default limit, as one square.
SIDE = 9459


def look(data: bytes, min_side: int | None) -> None:
    with case(__file__):
        image = load_image(data, min_side=min_side)
        assert image.mode == "RGB"
        assert image.width * image.height > 0
        assert resize_and_crop(image, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_pictures_are_read(name: str) -> None:
    with case(__file__):
        assert load_image(WHOLE[name]).mode == "RGB"


@fuzz(3000)
@given(st.data(), st.sampled_from(sorted(WHOLE)), st.sampled_from([None, 8, 224]))
def test_spoiled_pictures(data: st.DataObject, name: str, min_side: int | None) -> None:
    look(spoil_bytes(data.draw, WHOLE[name]), min_side)


@fuzz(300)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1))
def test_truncated_pictures(name: str, share: float) -> None:
    look(WHOLE[name][: int(share * len(WHOLE[name]))], None)


@fuzz(300)
@given(
    st.sampled_from(sorted(WHOLE)),
    st.sampled_from(sorted(WHOLE)),
    st.integers(0, 64),
    st.integers(0, 64),
)
def test_the_head_of_one_and_the_tail_of_another(a: str, b: str, i: int, j: int) -> None:
    look(WHOLE[a][:i] + WHOLE[b][j:], None)


@fuzz(500)
@given(
    st.integers(0, 2**31 - 1) | st.integers(0, 300),
    st.integers(0, 2**31 - 1) | st.integers(0, 300),
    st.sampled_from([1, 2, 4, 8, 16, 0, 255]),
    st.sampled_from([0, 2, 3, 4, 6, 7]),
    st.binary(max_size=60),
    st.sampled_from([0, 1, 256, 300]),
)
def test_headers_that_promise_too_much(
    width: int, height: int, depth: int, colour: int, lines: bytes, palette: int
) -> None:
    look(png_of(width, height, depth, colour, zlib.compress(lines), palette), None)


@fuzz(300)
@given(st.data(), st.sampled_from(FORMATS))
def test_tags_of_tiff_and_exif(data: st.DataObject, format: str) -> None:
    """Directories of drawn tags, types, counts and offsets, in little and big endian."""
    order = data.draw(st.sampled_from("<>"))
    tags = [254, 256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 320, 322, 330, 338, 34665]
    number = st.sampled_from([0, 1, 2, 8, 40, 2**16, 2**31, 2**32 - 1])
    entries = data.draw(
        st.lists(st.tuples(st.sampled_from(tags), st.integers(0, 18), number, number), max_size=16)
    )
    body = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    head = b"II*\0" if order == "<" else b"MM\0*"
    directory = head + struct.pack(f"{order}IH", 8, len(entries)) + body + bytes(4)
    look(directory + bytes(100), None)
    if format in ("JPEG", "PNG", "WEBP"):
        look(encoded(noise(), format, exif=b"Exif\0\0" + directory), None)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("name", DISGUISED)
def test_what_is_no_picture_is_refused_whatever_it_is_called(
    name: str, extension: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{extension}"
    path.write_bytes(DISGUISED[name])
    with case(__file__, refused="not an image|not a supported format|damaged"):
        load_image(path)
    with case(__file__):
        assert data_url(path) is None


@fuzz(200)
@given(st.data(), st.sampled_from(sorted(WHOLE)), st.sampled_from(EXTENSIONS))
def test_files_by_any_name(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str, extension: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{extension}"
    path.write_bytes(spoil_bytes(data.draw, WHOLE[name]))
    with case(__file__):
        thumbnail(path)
    with case(__file__):
        # A panorama is drawn all the same: what cannot be read is an empty cell.
        assert draw_grid(path, [path], cell=64).shape[2] == 3


@fuzz(200)
@given(st.text(max_size=30) | st.sampled_from(["\0", "a" * 300, "/dev/null/x", ".", "~", "\ud800"]))
def test_paths(name: str) -> None:
    with case(__file__, refused=""):
        load_image(os.path.join("/nonexistent", name))
    with case(__file__, refused=""):
        read_bytes(os.path.join("/nonexistent", name))


@pytest.mark.parametrize("read", [load_image, read_bytes])
def test_pipes_devices_and_giants_are_not_read(tmp_path: Path, read) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "giant.png").open("wb") as file:
        file.truncate(20_000_000_000)
    (tmp_path / "empty.png").touch()
    for path, reason in {
        tmp_path / "pipe.png": "is not a file",
        Path("/dev/zero"): "is not a file",
        tmp_path: "is a folder",
        tmp_path / "giant.png": "larger than 358 MB",
        tmp_path / "empty.png": "file is empty",
    }.items():
        with case(__file__, refused=reason):
            read(path)


def bomb(kind: str) -> bytes:
    """A small file of as many pixels as are allowed."""
    if kind == "PNG palette":
        return png_of(SIDE, SIDE, 8, 3, zlib.compress(bytes((SIDE + 1) * SIDE), 1), 256)
    if kind == "PNG RGBA":
        packer = zlib.compressobj(1)
        lines = b"".join(packer.compress(bytes(4 * SIDE + 1)) for _ in range(SIDE))
        return png_of(SIDE, SIDE, 8, 6, lines + packer.flush())
    if kind == "TIFF float":
        return encoded(Image.new("F", (SIDE, SIDE)), "TIFF", compression="tiff_lzw")
    if kind == "JPEG progressive":
        return encoded(Image.new("L", (SIDE, SIDE)), "JPEG", progressive=True, quality=1)
    if kind == "GIF":
        return encoded(Image.new("P", (SIDE, SIDE)), "GIF")
    return encoded(Image.new("L", (SIDE, SIDE)), kind)


@pytest.mark.parametrize("kind", ["PNG palette", "PNG RGBA", "TIFF float", "JPEG progressive"])
def test_as_many_pixels_as_are_allowed_fit_into_time_and_memory(kind: str) -> None:
    data = bomb(kind)
    with case(__file__):
        assert load_image(data, min_side=224).mode == "RGB"


def test_more_pixels_are_refused_before_they_are_decoded() -> None:
    lines = zlib.compress(bytes(10_000_000))
    for width, height in [(30_000, 30_000), (2**31 - 1, 1), (1, 2**31 - 1), (9460, 9460)]:
        with case(__file__, refused="pixels"):
            load_image(png_of(width, height, 1, 0, lines))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Every scan is a pass over all pixels: 1,000 of them over 25 megapixels take minutes."""
    whole = encoded(Image.new("L", (5000, 5000)), "JPEG", progressive=True, quality=1)
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    data = whole[:-2] + 900 * scan + whole[-2:]
    with case(__file__, refused="progressive JPEG of 9"):
        load_image(data)
    with case(__file__):
        assert load_image(whole).size == (5000, 5000)
