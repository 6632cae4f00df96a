"""Names that are written in another way than the disk has them: letters taken apart, backslashes,
folders of another machine."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag import EvalSet, MmragError, RunStore, open_gallery
from mmrag.distributed.parquet import ShardSource
from mmrag.distributed.shards import Manifest, ShardFolder, shard_table
from mmrag.distributed.sources import open_root
from mmrag.distributed.tars import list_tar
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.validate import validate
from mmrag.index.rows import Candidate
from mmrag.runs.importing import import_run
from mmrag.system.names import AmbiguousName, Names, as_on_disk
from mmrag.types import GalleryImage

COMPOSED, APART = "café", unicodedata.normalize("NFD", "café")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "JPEG")


def texts(folder: Path, records: list[tuple[str, str]]) -> dict[str, str]:
    """The texts of pictures after these records were joined."""
    table = folder.parent / "m.json"
    table.write_text(json.dumps([{"path": path, "text": text} for path, text in records]))
    return {image.image_id: image.text for image in open_gallery(folder, table).images}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in (f"{APART}.jpg", "plain.jpg", "sub/c.jpg"):
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_metadata_of_another_system(photos: Path) -> None:
    found = texts(
        photos, [(f"{COMPOSED}.jpg", "a cup"), ("sub\\c.jpg", "Windows"), ("plain.jpg", "plain")]
    )
    assert found == {f"{APART}.jpg": "a cup", "plain.jpg": "plain", "sub/c.jpg": "Windows"}


def test_an_exact_name_goes_first(photos: Path) -> None:
    assert texts(photos, [(f"{COMPOSED}.jpg", "near"), (f"{APART}.jpg", "exact")])[
        f"{APART}.jpg"
    ] == ("exact")
    picture(photos / f"{COMPOSED}.jpg")
    found = texts(photos, [(f"{COMPOSED}.jpg", "one"), (f"{APART}.jpg", "other")])
    assert (found[f"{COMPOSED}.jpg"], found[f"{APART}.jpg"]) == ("one", "other")


def test_a_name_that_fits_two_files_is_an_error(photos: Path) -> None:
    """Of a letter with two marks there are three writings."""
    for name in ("\u1ec7", "e\u0323\u0302"):
        picture(photos / "sub" / f"{name}.jpg")
    one, other = "sub\\\u1ec7.jpg", "sub\\e\u0323\u0302.jpg"
    found = texts(photos, [(one, "one"), (other, "other")])
    assert (found[one.replace("\\", "/")], found[other.replace("\\", "/")]) == ("one", "other")
    with pytest.raises(MmragError, match=r"line 1: 'sub/.*jpg' could be 'sub/.* or 'sub"):
        texts(photos, [("sub/\u1eb9\u0302.jpg", "which?")])


def test_paths_of_another_machine_join_by_their_ends(photos: Path) -> None:
    picture(photos / "other" / "c.jpg")
    table = photos.parent / "m.jsonl"
    paths = [
        "C:\\Users\\me\\photos\\sub\\c.jpg",
        "/home/you/plain.jpg",
        "/home/you/c.jpg",
        "/etc/passwd",
    ]
    table.write_text("".join(json.dumps({"path": path, "text": path}) + "\n" for path in paths))
    gallery = open_gallery(photos, table)
    found = {image.image_id: image.text for image in gallery.images if image.text}
    assert found == {"sub/c.jpg": paths[0], "plain.jpg": paths[1]}
    assert [one.path for one in gallery.skipped] == ["m.jsonl:3", "m.jsonl:4"]
    assert gallery.notes == (
        "2 records name paths of another machine; joined by the end of the path.",
    )


def test_two_paths_of_another_machine_for_one_file_are_not_guessed(photos: Path) -> None:
    assert not any(texts(photos, [("/a/plain.jpg", "1"), ("/b/plain.jpg", "2")]).values())


@pytest.fixture
def eval_set(tmp_path: Path, photos: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": COMPOSED, "image": f"{COMPOSED}.jpg"}, {"_id": "c", "image": "sub\\c.jpg"}]
    queries = [{"_id": f"q-{COMPOSED}", "image": f"{COMPOSED}.jpg"}]
    (folder / "eval_set.json").write_text(json.dumps({"image_root": str(photos)}))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    lines = f"query-id\tcorpus-id\tscore\nq-{APART}\t{APART}\t1\n"
    (folder / "qrels" / "test.tsv").write_text(lines)
    return folder


def test_an_eval_set_and_a_run_of_another_system(eval_set: Path, photos: Path) -> None:
    loaded = EvalSet.load(eval_set)
    assert loaded.missing() == []
    assert loaded.queries[0].image == str(photos / f"{APART}.jpg")
    assert loaded.qrels == {f"q-{COMPOSED}": {COMPOSED: 1}}
    assert validate(eval_set, decode=True).count("error") == 0
    run = eval_set / "run.trec"
    run.write_text(f"q-{APART} Q0 {APART} 1 2 t\n")
    with RunStore("sqlite://") as store:
        assert import_run(run, loaded, store, metrics=["hit_rate@1"]).metrics["hit_rate@1"] == 1


def test_judgments_that_fit_two_images_are_an_error(eval_set: Path) -> None:
    with (eval_set / "corpus.jsonl").open("a") as corpus:
        corpus.write(json.dumps({"_id": "a/b", "image": "plain.jpg"}) + "\n")
        corpus.write(json.dumps({"_id": "a\\b", "image": "plain.jpg"}) + "\n")
    with (eval_set / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write(f"q-{COMPOSED}\ta/b\t1\n")
    assert EvalSet.load(eval_set).qrels[f"q-{COMPOSED}"]["a/b"] == 1
    names = Names(["a/b", "a\\b", "c/d\\e", "c\\d/e"])
    assert names.find("a\\b") == "a\\b"
    with pytest.raises(AmbiguousName, match="write the name exactly"):
        names.find("c/d/e")


def test_another_spelling_leads_nowhere_else(tmp_path: Path, photos: Path) -> None:
    """Neither by a backslash nor over a link, and a file that is named exactly stays its own."""
    picture(tmp_path / "secret.jpg")
    (photos / f"{APART}-link.jpg").symlink_to(tmp_path / "secret.jpg")
    root = str(photos.resolve())
    wanted = [
        f"{root}/..\\secret.jpg",
        f"{root}/{COMPOSED}-link.jpg",
        f"{root}/{COMPOSED}.jpg",
        f"{root}/{APART}.jpg",
    ]
    assert as_on_disk(root, wanted) == {}
    assert as_on_disk(root, wanted[:3]) == {wanted[2]: wanted[3]}


def test_class_folders_stay_apart(tmp_path: Path) -> None:
    for name in (COMPOSED, APART):
        for number in range(2):
            picture(tmp_path / "classes" / name / f"{number}.jpg")
    made = import_eval_set("folder", tmp_path / "classes", tmp_path / "set")
    assert len({query.category for query in made.queries}) == 2
    assert all(len(made.relevant(query.query_id)) == 1 for query in made.queries)
    copied = tmp_path / "copied"
    for name in (COMPOSED, "plain"):
        shutil.copytree(tmp_path / "classes" / COMPOSED, copied / name)
    import_eval_set("folder", copied, tmp_path / "moved")
    (copied / COMPOSED).rename(copied / APART)
    assert EvalSet.load(tmp_path / "moved").missing() == []


def test_texts_in_a_tar_of_another_system() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in (f"{APART}.jpg", f"{COMPOSED}.txt", "b.jpg", "b.txt"):
            data = name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    size = held.tell()
    held.seek(0)
    found, _ = list_tar(held, size, "s.tar", "s.tar", "folder")
    assert [image.text for image in found] == [f"{COMPOSED}.txt", "b.txt"]


def test_shards_of_another_system(tmp_path: Path, photos: Path) -> None:
    folder = ShardFolder(str(tmp_path / "shards"))
    manifest = Manifest("demo", "fingerprint", 2, 32, "fp32", "image")
    folder.begin(manifest)
    vectors = np.eye(2, dtype=np.float32)
    ids = [f"{COMPOSED}.jpg", "plain.jpg"]
    rows = [
        (Candidate(GalleryImage(image_id, "elsewhere"), "a" * 64), vector)
        for image_id, vector in zip(ids, vectors, strict=True)
    ]
    name = folder.write(shard_table(rows))
    folder.complete(replace(manifest, complete=True, rows=2, shards=(name,)))
    source = ShardSource(folder.url, open_root(str(photos)))
    images = source.gallery().images
    paths = [str(photos.resolve() / file) for file in (f"{APART}.jpg", "plain.jpg")]
    assert [(image.image_id, image.path) for image in images] == list(zip(ids, paths, strict=True))
    assert [candidate.image.path for candidate, _ in source(images, {})] == paths
