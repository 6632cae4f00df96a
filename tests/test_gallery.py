"""Listing a folder and joining its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from mmrag import MmragError, open_gallery


def test_a_folder_is_walked_in_order(folder: Path) -> None:
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_bytes(b"x")
    gallery = open_gallery(folder)
    ids = [image.image_id for image in gallery.images]
    assert ids[:2] == ["a/01.png", "a/03.png"]
    assert ids == sorted(ids)
    assert len(ids) == 12
    assert gallery.skipped == []
    assert gallery.images[0].path == str(folder.resolve() / "a" / "01.png")


def test_what_a_phone_leaves_in_a_folder(tmp_path: Path) -> None:
    """HEIC and files without an extension are pictures; what is not read is listed."""
    for name, format in (("a.heic", "HEIF"), ("b", "JPEG"), ("c.jpg", "JPEG"), ("d.bak", "PNG")):
        Image.new("RGB", (8, 8)).save(tmp_path / name, format)
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "IMG_1.DNG").write_bytes(b"II*\0raw")
    (tmp_path / "scan").write_bytes(b"%PDF-1.7")
    (tmp_path / "e.jxl").write_bytes(b"\xff\x0a")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (tmp_path / "README").write_text("Some words.")
    os.mkfifo(tmp_path / "pipe")
    gallery = open_gallery(tmp_path)
    assert [image.image_id for image in gallery.images] == ["a.heic", "b", "c.jpg"]
    reasons = {one.path: one.reason for one in gallery.skipped}
    assert reasons["drawing.svg"].startswith("not a supported format (SVG); draw it first")
    assert "camera raw" in reasons["IMG_1.DNG"]
    assert "pdftoppm" in reasons["scan"]
    assert "djxl" in reasons["e.jxl"]
    assert reasons["d.bak"].endswith("rename it so that it ends in .png")
    assert len(reasons) == 5
    assert gallery.others == {".mp4": 1, "": 2}


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(MmragError, match="the folder is empty"):
        open_gallery(tmp_path).check_not_empty()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(MmragError, match=r"only 1 \.mp4, 1 \.svg \(a\.svg: not a supported"):
        open_gallery(tmp_path).check_not_empty()


def test_links_out_and_odd_names_are_listed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes((folder / "a" / "01.png").read_bytes())
    (folder / "out.png").symlink_to(outside)
    (folder / "in.png").symlink_to(folder / "a" / "01.png")
    (folder / "dangling.png").symlink_to(folder / "nothing.png")
    (folder / "linked").symlink_to(folder / "a")
    Path(os.fsdecode(bytes(folder) + b"/bad\xff.png")).write_bytes(b"x")
    gallery = open_gallery(folder)
    assert len(gallery.images) == 13
    reasons = {skipped.path: skipped.reason for skipped in gallery.skipped}
    assert reasons["out.png"] == "is a link that leads out of the folder"
    assert "not valid UTF-8" in reasons["bad?.png"]
    assert reasons["linked"] == "is a link to a folder, which is not followed"
    assert reasons["dangling.png"] == "is not a file"


def test_a_folder_that_cannot_be_listed_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images would count as vanished."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MmragError, match="/b cannot be listed: Permission denied"):
        open_gallery(folder)


RECORDS = [
    {"image_path": "a/01.png", "description": "a red mug", "price": 4.5, "tags": ["x"]},
    {"image_path": "pictures/a/03.png", "description": "a blue mug"},
    {"image_path": "a/99.png", "description": "absent"},
    {"image_path": "a/01.png", "description": "again"},
    {"image_path": "../../etc/passwd"},
    {"description": "no path"},
    "no record",
]


@pytest.mark.parametrize("name", ["m.jsonl", "m.json", "description.json"])
def test_metadata_is_joined_by_path(folder: Path, tmp_path: Path, name: str) -> None:
    """JSON Lines, a JSON list, and JSON Lines that calls itself .json, as the cookbook's does."""
    lines = "\n".join(map(json.dumps, RECORDS))
    (tmp_path / name).write_text(json.dumps(RECORDS) if name == "m.json" else lines)
    gallery = open_gallery(folder, tmp_path / name)
    by_id = {image.image_id: image for image in gallery.images}
    assert by_id["a/01.png"].text == "a red mug"
    assert by_id["a/01.png"].metadata == {"price": 4.5, "tags": ["x"]}
    assert by_id["a/03.png"].text == "a blue mug"
    assert by_id["b/00.png"].text == ""
    assert len(gallery.images) == 12
    assert [skipped.path for skipped in gallery.skipped] == [f"{name}:{n}" for n in range(3, 8)]


def test_csv_numbers_are_numbers(folder: Path) -> None:
    (folder / "m.csv").write_text(
        'image,caption,price,code,note\na/01.png,"a mug, red",4.5,007,\na/03.png,1984,12,1e5,x\n'
    )
    by_id = {image.image_id: image for image in open_gallery(folder, folder / "m.csv").images}
    assert by_id["a/01.png"].text == "a mug, red"
    assert by_id["a/01.png"].metadata == {"price": 4.5, "code": "007"}
    assert by_id["a/03.png"].text == "1984"
    assert by_id["a/03.png"].metadata == {"price": 12, "code": "1e5", "note": "x"}


def test_errors_name_the_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"image": "a/01.png"}\n{"image": \n')
    with pytest.raises(MmragError, match=r"m\.jsonl, line 2: not JSON"):
        open_gallery(folder, tmp_path / "m.jsonl")
    with pytest.raises(MmragError, match="No metadata file"):
        open_gallery(folder, tmp_path / "absent.csv")
    with pytest.raises(MmragError, match="is not a folder"):
        open_gallery(tmp_path / "absent")
