"""Tables as spreadsheets write them, and errors that say where they cannot be understood."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from mmrag import MmragError, open_gallery
from mmrag.cli.index import index
from mmrag.galleries.gallery import Gallery
from mmrag.galleries.metadata import Reading


def join(
    folder: Path, text: str, writing: str = "utf-8", name: str = "m.csv", **how: str
) -> Gallery:
    """A gallery of a.jpg and b.jpg with this table."""
    for picture in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(folder / picture)
    (folder / name).write_bytes(text.encode(writing))
    return open_gallery(folder, folder / name, Reading(**how))


GERMAN = "path;description;price\na.jpg;Grüne Äpfel;1,5\nb.jpg;Müsli;2\n"


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8", ""), ("cp1252", "as Windows-1252 "), ("utf-16", "")]
)
def test_a_german_spreadsheet(tmp_path: Path, encoding: str, said: str) -> None:
    gallery = join(tmp_path, GERMAN, encoding)
    found = [(image.text, image.metadata) for image in gallery.images]
    assert found == [("Grüne Äpfel", {"price": 1.5}), ("Müsli", {"price": 2})]
    assert gallery.notes == (f"m.csv was read {said}with semicolons between the cells.",)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path;описание;description\na.jpg;x;зелёные яблоки на столе\n", "cp1251"),
        ("path,description\na.jpg,青いマグカップと緑のりんご\n", "shift_jis"),
        ("path|description\na.jpg|绿色的苹果和蓝色的杯子\n", "gb18030"),
    ],
)
def test_other_writings(tmp_path: Path, text: str, encoding: str) -> None:
    words = text.strip()[-6:]
    assert join(tmp_path, text, encoding).images[0].text.endswith(words)
    told = join(tmp_path, text, encoding, encoding=encoding)
    assert told.images[0].text.endswith(words)
    assert not any(" as " in note for note in told.notes)


def test_numbers_and_delimiters(tmp_path: Path) -> None:
    text = "sep=;\nfile;title;a;b;c;d\na.jpg;one, two;12,50;1.234,5;0,5,5;1.10\n"
    image = join(tmp_path, text).images[0]
    assert image.text == "one, two"
    assert image.metadata == {"a": 12.5, "b": 1234.5, "c": "0,5,5", "d": "1.10"}
    tabs = "file\ttitle\ta\na.jpg\tone, two\t1,5\n"
    assert join(tmp_path, tabs).images[0].metadata == {"a": 1.5}
    assert join(tmp_path, tabs, name="m.tsv").notes == ()
    odd = "file#title\na.jpg#one;two\n"
    assert join(tmp_path, odd, delimiter="#").images[0].text == "one;two"
    assert join(tmp_path, tabs, delimiter="tab").notes == ()
    plain = 'file,title,a\na.jpg,x,"1,5"\n'
    assert join(tmp_path, plain).images[0].metadata == {"a": "1,5"}


@pytest.mark.parametrize(
    ("text", "how", "said"),
    [
        ("picture,words\na.jpg,x\n", {}, r"line 1: expected a column called .*found 'picture', 'w"),
        (
            "path,text\na.jpg,x\nb.jpg,one, two\n",
            {},
            "line 3, column 3: expected 2 cells",
        ),
        (GERMAN, {"encoding": "ascii"}, "line 2, column 9: expected text in ascii, found the byte"),
        ("path\n", {"encoding": "klingon"}, "Unknown encoding 'klingon'"),
        ("path\n", {"encoding": "rot13"}, "Unknown encoding 'rot13'"),
        ("path\n", {"delimiter": "--"}, "cannot stand between cells"),
    ],
)
def test_what_cannot_be_understood_names_its_place(
    tmp_path: Path, text: str, how: dict[str, str], said: str
) -> None:
    with pytest.raises(MmragError, match=said):
        join(tmp_path, text, **how)


def test_the_command_says_what_it_assumed(tmp_path: Path) -> None:
    join(tmp_path, GERMAN, "cp1252")
    where = ["--uri", str(tmp_path / "store.db"), "--metadata", str(tmp_path / "m.csv")]
    done = CliRunner().invoke(index, [str(tmp_path), *where])
    assert done.exit_code == 0, done.output
    assert "m.csv was read as Windows-1252 with semicolons between the cells." in done.output
    done = CliRunner().invoke(index, [str(tmp_path), *where, "--metadata-encoding", "ascii"])
    assert "column 9" in str(done.exception)
