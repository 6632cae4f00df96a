"""Uploaded pictures stay in their folder, and nothing is overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmrag import MmragError
from mmrag.galleries.uploads import (
    MAX_FILE_BYTES,
    MAX_FILES,
    check_upload,
    collection_name,
    delete_uploads,
    safe_name,
    save_uploads,
    uploads_folder,
)

UNREAD_SVG = (
    "not a supported format (SVG); draw it first, for example: rsvg-convert FILE -o FILE.png"
)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd.png", "passwd.png"),
        ("..\\..\\boot.png", "boot.png"),
        ("/abs/olute.png", "olute.png"),
        (".hidden.png", "hidden.png"),
        ("...png", "picture.png"),
        ("line\nbreak\x1b[2J\u202e.png", "linebreak[2J.png"),
        ('<img src=x onerror="a:b">.png', "img src=x onerror=ab.png"),
        ("图 ü.png", "图 ü.png"),
        ("u\u0308.png", "ü.png"),
        ("", "picture"),
        ("..", "picture"),
        ("\ud800.png", "picture.png"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_fit_a_file_system() -> None:
    safe = safe_name("ü" * 400 + ".jpeg")
    assert safe.endswith("ü.jpeg")
    assert len(safe.encode()) <= 255


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    files = [("a.png", b"1"), ("x/a.png", b"2"), ("a.png", memoryview(b"1")), ("b.png", b"3")]
    folder, skipped = save_uploads("mine", files)
    assert skipped == []
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert held == {"a.png": b"1", "a-2.png": b"2", "b.png": b"3"}
    save_uploads("mine", [("a.png", b"2"), ("a.png", b"4")])
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert held == {"a.png": b"1", "a-2.png": b"2", "b.png": b"3", "a-3.png": b"4"}


def test_what_is_no_picture_or_too_large_is_listed() -> None:
    large = bytes(MAX_FILE_BYTES + 1)
    files = [
        ("run.sh", b"x"),
        ("page.html", b"x"),
        ("huge.png", large),
        ("../ok.JPG", b"x"),
        ("photo", b"\xff\xd8\xff\xe0"),
        ("a.svg", b"<svg/>"),
    ]
    folder, skipped = save_uploads("mine", files)
    assert [(one.path, one.reason) for one in skipped] == [
        ("run.sh", "not an image in a supported format"),
        ("page.html", "not an image in a supported format"),
        ("huge.png", "larger than 20 MB"),
        ("a.svg", UNREAD_SVG),
    ]
    assert sorted(os.listdir(folder)) == ["ok.JPG", "photo"]


def test_uploads_are_bounded() -> None:
    check_upload([1] * MAX_FILES)
    with pytest.raises(MmragError, match="1,001 files are more"):
        check_upload([1] * (MAX_FILES + 1))
    with pytest.raises(MmragError, match="510 MB are more"):
        check_upload([17_000_000] * 30)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "1st", "a b", "x" * 101])
def test_a_collection_names_no_other_folder(name: str) -> None:
    with pytest.raises(MmragError, match="letters, digits and underscores"):
        uploads_folder(name)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("My Photos 2024", "my_photos_2024"),
        ("../../etc", "etc"),
        ("2024", "images_2024"),
        ("图片", "images"),
        ("Café", "cafe"),
        ("x" * 300, "x" * 100),
    ],
)
def test_titles_become_names(title: str, name: str) -> None:
    assert collection_name(title) == name
    uploads_folder(name)


def test_deleting_removes_only_this_folder(tmp_path: Path) -> None:
    folder, _ = save_uploads("mine", [("a.png", b"1")])
    other, _ = save_uploads("other", [("a.png", b"1")])
    delete_uploads("mine")
    delete_uploads("never_there")
    assert not folder.exists()
    assert (other / "a.png").exists()
    outside = tmp_path / "outside"
    outside.mkdir()
    folder.symlink_to(outside)
    delete_uploads("mine")
    assert outside.is_dir(), "a link is not followed"
