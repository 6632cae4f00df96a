# ruff: noqa: PT017, RUF043
"""A path in data leads nowhere but below its root, also not over links."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mmrag import EvalSet, ImageIndex, MmragError, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.errors import EvalSetError
from mmrag.eval_sets.importers import import_eval_set
from mmrag.galleries.uploads import delete_uploads, save_uploads, uploads_folder

ESCAPES = ["../secret.png", "/secret.png", "sub/../../secret.png", "link.png", "linked/secret.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of pictures with links that lead out of it, beside a picture that is secret."""
    Image.new("RGB", (9, 9), "red").save(tmp_path / "secret.png")
    (tmp_path / "secret.txt").write_text("SECRET")
    pictures = tmp_path / "pictures"
    (pictures / "sub").mkdir(parents=True)
    Image.new("RGB", (9, 9), "blue").save(pictures / "sub" / "a.png")
    (pictures / "link.png").symlink_to(tmp_path / "secret.png")
    (pictures / "linked").symlink_to(tmp_path)
    return pictures


def eval_set(folder: Path, image: str, query: str | None = None) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "eval_set.json").write_text('{"name": "x", "image_root": "../pictures"}')
    corpus = [{"_id": "1", "image": image}, {"_id": "2", "image": "sub/a.png"}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "x", "image": query}))
    (folder / "qrels" / "test.tsv").write_text("q\t1\t1\n")
    return folder


@pytest.mark.parametrize("name", ESCAPES)
def test_eval_sets(root: Path, tmp_path: Path, name: str) -> None:
    try:
        loaded = EvalSet.load(eval_set(tmp_path / "set", name))
    except EvalSetError as error:
        assert "leaves the image root" in str(error)
    else:
        assert [image.image_id for image in loaded.gallery().images] == ["2"]
        assert "1" not in loaded.present(["1", "2"])
        assert "2" in loaded.present(["1", "2"])
    with pytest.raises(EvalSetError, match="leave|leads out"):
        EvalSet.load(eval_set(tmp_path / "set", "sub/a.png", name))


@pytest.mark.parametrize("name", ESCAPES)
def test_metadata_files(root: Path, tmp_path: Path, name: str) -> None:
    record = {"image_path": name, "description": "found"}
    for file, text in {
        "m.json": json.dumps([record]),
        "m.csv": f"image_path,description\n{name},found\n",
    }.items():
        (tmp_path / file).write_text(text)
        gallery = open_gallery(root, tmp_path / file)
        assert [image.path for image in gallery.images] == [str(root.resolve() / "sub" / "a.png")]
        assert gallery.images[0].text == ""
        assert any(
            skipped.path == f"{file}:{1 if file == 'm.json' else 2}" for skipped in gallery.skipped
        )


@pytest.mark.parametrize("name", ["../secret.txt", "/../secret.txt", "d/link.txt"])
def test_lists_of_the_grocery_data_set(tmp_path: Path, name: str) -> None:
    """Its `classes.csv` names text files, which are read."""
    source = tmp_path / "grocery"
    (source / "d").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("SECRET")
    (source / "d" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (source / "classes.csv").write_text(f"a,b,c,d,e,f\nGala,0,Apple,0,p.jpg,{name}\n")
    (source / "val.txt").write_text("a.jpg, 0, 0\nb.jpg, 0, 0\n")
    with pytest.raises(EvalSetError, match="leaves it|leads out"):
        import_eval_set("grocery", source, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_uploads_and_collections(tmp_path: Path) -> None:
    picture = b"not looked at here"
    folder, _ = save_uploads("mine", [("../../../out.png", picture), ("/abs.png", picture)])
    assert {path.name for path in folder.iterdir()} == {"out.png", "abs.png"}
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"mine")
    (folder / "taken.png").symlink_to(outside)
    save_uploads("mine", [("taken.png", b"theirs")])
    assert outside.read_bytes() == b"mine", "written beside a link, not through it"
    for name in ("../x", "a/b", "..", ".", "", "a\0", "C:\\x", "/etc"):
        for use in (uploads_folder, delete_uploads):
            with pytest.raises(MmragError, match="letters, digits and underscores"):
                use(name)
        with pytest.raises(MmragError, match="letters, digits and underscores"):
            ImageIndex.open(tmp_path / "store.db", collection=name)
    assert not (tmp_path / "store.db").exists()


def test_what_is_indexed_lies_in_the_folder(root: Path, tmp_path: Path, tiny: Encoder) -> None:
    with ImageIndex.open(tmp_path / "store.db", encoder=tiny) as index:
        report = index.add(open_gallery(root))
        assert (report.added, len(report.skipped)) == (1, 2)
        assert [row["image_id"] for row in index.rows(["image_id"])] == ["sub/a.png"]


@pytest.mark.parametrize(
    "like", ["../../x:1", "images:../../../etc/passwd", ":", "x" * 200, "a:b:c"]
)
def test_a_parameter_of_the_address_opens_no_file(
    root: Path, tmp_path: Path, tiny: Encoder, monkeypatch: pytest.MonkeyPatch, like: str
) -> None:
    """`?like=COLLECTION:IMAGE` reads the picture of an indexed image, and no other file."""
    from mmrag.ui import resources
    from mmrag.ui.panels import query_input as query_panel

    monkeypatch.setenv("MMRAG_URI", str(tmp_path / "store.db"))
    with ImageIndex.open(tmp_path / "store.db", "images", tiny) as index:
        index.add(open_gallery(root))
    read: list[object] = []
    monkeypatch.setattr(query_panel, "read_bytes", read.append)
    collection, _, image_id = like.partition(":")
    with pytest.raises(MmragError):
        query_panel._search_like(collection, image_id)
    assert read == []
    resources.index.clear()


def test_encoders_and_checkpoints_by_name(tmp_path: Path) -> None:
    """A name of an encoder is a folder that says it is one; a hub name stays in its cache."""
    from mmrag import load_encoder

    for name in ("..", "/etc", "../../etc/passwd", str(tmp_path), "demo/../../../.."):
        with pytest.raises(MmragError):
            load_encoder(name, device="cpu")
