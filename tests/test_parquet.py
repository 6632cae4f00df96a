"""Rows in Parquet shards and images in tar archives: what workers do, in this process."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmrag import ImageIndex
from mmrag.distributed.open_sources import shard_source
from mmrag.distributed.parquet import embed_to_shards
from mmrag.distributed.shards import ShardFolder, shard_table
from mmrag.distributed.sources import list_images, open_root, read_image
from mmrag.distributed.tars import TarMember, is_inside, list_tar
from mmrag.encoders.encoder import Encoder
from mmrag.errors import ImageError, IndexStoreError, MmragError
from mmrag.galleries.gallery import open_gallery
from mmrag.index.rows import Candidate
from mmrag.types import GalleryImage
from tests.helpers import mmrag

from .ray_in_process import Here, source_of


def described(folder: Path, **texts: str) -> Path:
    records = [{"image_path": f"{name}.png", "text": text} for name, text in texts.items()]
    about = folder / "about.json"
    about.write_text(json.dumps([{**record, "n": {"of": [1, 2.5]}} for record in records]))
    return about


def rows_of(index: ImageIndex) -> list[dict[str, Any]]:
    fields = ("image_id", "content_hash", "row_hash", "path", "text", "metadata", "vector")
    return sorted(index.rows(fields), key=lambda row: row["image_id"])


def load(folder: Path, shards: Path, uri: Path, collection: str = "loaded") -> Any:
    source = shard_source(shards, str(folder))
    with ImageIndex.open(uri, collection, source.encoder) as index:
        report = index.add(source.gallery, embed=source.embed, embedder=source.embedder)
        return report, rows_of(index), index.info()


@pytest.mark.parametrize("embed", ["image", "both"])
def test_round_trip(
    tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path, embed: str
) -> None:
    about = described(folder, **{"a/01": "a red mug", "b/02": "größer"})
    (folder / "broken.jpg").write_bytes(b"no image")
    source = source_of(tiny, tiny_folder, folder, metadata=about, embed=embed)
    report = embed_to_shards(source, tmp_path / "shards")
    assert (report.added, [one.path for one in report.skipped]) == (12, ["broken.jpg"])
    loaded, rows, info = load(folder, tmp_path / "shards", tmp_path / "store.db")
    assert (loaded.added, loaded.skipped) == (12, [])
    with ImageIndex.open(tmp_path / "store.db", "one", tiny) as one:
        one.add(source.gallery, embed=embed, batch_size=2)
        for row, other in zip(rows_of(one), rows, strict=True):
            vector, stored = row.pop("vector"), other.pop("vector")
            np.testing.assert_allclose(vector, stored, rtol=0, atol=2e-6)
            assert row == other
        assert replace(one.info(), name="loaded") == info
    again, _, _ = load(folder, tmp_path / "shards", tmp_path / "store.db")
    assert (again.unchanged, again.embedded, again.added) == (12, 0, 0)


def test_shards_follow_the_gallery(
    tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    """What is there is kept, byte by byte; what changed is replaced; what is gone is dropped."""
    shards = tmp_path / "shards"
    embed_to_shards(source_of(tiny, tiny_folder, folder), shards)
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    again = embed_to_shards(source_of(tiny, tiny_folder, folder), shards)
    assert (again.unchanged, again.embedded) == (12, 0)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == before

    (folder / "a" / "01.png").write_bytes((folder / "b" / "00.png").read_bytes())
    (folder / "a" / "03.png").unlink()
    about = described(folder, **{"b/02": "now with a text"})
    source = source_of(tiny, tiny_folder, folder, metadata=about)
    report = embed_to_shards(source, shards)
    assert (report.embedded, report.updated, report.removed, report.unchanged) == (1, 2, 1, 9)
    _, rows, _ = load(folder, shards, tmp_path / "store.db")
    with ImageIndex.open(tmp_path / "store.db", "one", tiny) as one:
        one.add(source.gallery, batch_size=2)
        expected = rows_of(one)
    for row in rows + expected:
        del row["vector"]
    assert rows == expected


def test_a_killed_run_goes_on(
    tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    shards, source = tmp_path / "shards", source_of(tiny, tiny_folder, folder)
    assert isinstance(source.embedder, Here)
    source.embedder.limit = 3
    with pytest.raises(MmragError, match="switched off"):
        embed_to_shards(source, shards)
    with pytest.raises(MmragError, match="has not finished; start it again"):
        shard_source(shards, str(folder))
    source.embedder.limit = 1000
    report = embed_to_shards(source, shards)
    # Three blocks of two were there; nothing was lost and nothing is there twice.
    assert (report.unchanged, report.added, report.embedded) == (6, 6, 6)
    assert len(shard_source(shards, str(folder)).gallery.images) == 12


def test_pictures_may_be_elsewhere(
    tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    embed_to_shards(source_of(tiny, tiny_folder, folder), shards)
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    _, rows, _ = load(moved, shards, tmp_path / "store.db")
    with ImageIndex.open(tmp_path / "store.db", "one", tiny) as one:
        one.add(open_gallery(moved))
        expected = rows_of(one)
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    assert [row["row_hash"] for row in rows] == [row["row_hash"] for row in expected]


def test_another_encoder_is_refused(
    tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    shards, source = tmp_path / "shards", source_of(tiny, tiny_folder, folder)
    embed_to_shards(source, shards)
    other = Encoder(tiny.model, replace(tiny.info, fingerprint="another"))
    with ImageIndex.open(tmp_path / "store.db", "loaded", other) as index:
        index.create("image")
    with pytest.raises(IndexStoreError, match="was built with encoder"):
        load(folder, shards, tmp_path / "store.db")
    with pytest.raises(MmragError, match="with embed 'image', not 'both'; name another folder"):
        embed_to_shards(source_of(tiny, tiny_folder, folder, embed="both"), shards)
    with ImageIndex.open(tmp_path / "store.db", "both", tiny) as index:
        index.create("both")
    with pytest.raises(IndexStoreError, match="holds embeddings of 'both'"):
        load(folder, shards, tmp_path / "store.db", "both")


def test_hostile_shards(tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    """Rows that lead out of the folder or are no vectors are listed, and do not get in."""
    shards = ShardFolder(str(tmp_path / "shards"))
    embed_to_shards(source_of(tiny, tiny_folder, folder), shards.url)
    outside = tmp_path / "secret.png"
    shutil.copy(folder / "a" / "01.png", outside)
    (folder / "link.png").symlink_to(outside)
    unit = np.eye(1, tiny.info.dim, dtype=np.float32)[0]
    ids = ["../secret.png", "/etc/passwd", "a/../../secret.png", "a//01.png", "", "link.png"]
    done = [(Candidate(GalleryImage(i, ""), "0" * 64), unit) for i in ids]
    done.append((Candidate(GalleryImage("long.png", ""), "0" * 64), 3 * unit))
    done.append((Candidate(GalleryImage("nan.png", ""), "0" * 64), unit * np.nan))
    done.append((Candidate(GalleryImage("hash.png", ""), "../../x"), unit))
    name = shards.write(shard_table(done))
    made = shards.manifest()
    assert made is not None
    shards.complete(replace(made, rows=12 + len(done), shards=(*made.shards, name)))
    report, rows, _ = load(folder, Path(shards.url), tmp_path / "store.db")
    assert len(rows) == 12
    reasons = {one.path: one.reason for one in report.skipped}
    assert set(reasons) == {*ids, "long.png", "nan.png", "hash.png"}
    assert reasons["link.png"] == "is a link that leads out of the image root"
    assert reasons["../secret.png"] == "its id leads out of the folder"
    assert "not of unit length" in reasons["nan.png"]

    shards.complete(replace(made, rows=13))
    with pytest.raises(MmragError, match="holds 12 rows instead of 13"):
        shard_source(shards.url, str(folder))
    shards.complete(replace(made, shards=(*made.shards, made.shards[0])))
    with pytest.raises(MmragError, match="twice"):
        shard_source(shards.url, str(folder))
    shards.complete(replace(made, shards=("../x.parquet",)))
    with pytest.raises(MmragError, match="a shard's name is none of ours"):
        shard_source(shards.url, str(folder))
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "shards" / "part-0.parquet")
    shards.complete(replace(made, shards=("part-0.parquet",)))
    with pytest.raises(MmragError, match="is no shard of 128 dimensions"):
        shard_source(shards.url, str(folder))
    (tmp_path / "shards" / "part-0.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(MmragError, match="cannot be read"):
        shard_source(shards.url, str(folder))
    (tmp_path / "shards" / "manifest.json").write_text("[]")
    with pytest.raises(MmragError, match="cannot be used"):
        shard_source(shards.url, str(folder))


def test_command_options(folder: Path, tmp_path: Path) -> None:
    shards = str(tmp_path / "none")
    for arguments, reason in (
        (["--parquet", shards], "--parquet needs --engine ray"),
        (["--workers", "2"], "--workers needs --engine ray"),
        (["--no-store"], "--no-store needs --parquet"),
        (["--from-parquet", shards, "--encoder", "demo"], "--encoder does not go with"),
        (["--from-parquet", shards, "--embed", "text"], "--embed does not go with"),
    ):
        done = mmrag("index", str(folder), *arguments)
        assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    done = mmrag("index", str(folder), "--from-parquet", shards)
    assert done.returncode == 1
    assert done.stderr == f"Error: {shards} holds no shards; " + (
        "`mmrag index FOLDER --parquet` writes them.\n"
    )


def make_tar(path: Path, members: Sequence[tuple[str, bytes | None, dict[str, Any]]]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for name, data, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(data or b"")
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data) if data is not None else None)


def test_hostile_archives(folder: Path, tmp_path: Path) -> None:
    image = (folder / "a" / "01.png").read_bytes()
    link = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
    make_tar(
        tmp_path / "one.tar",
        [
            ("good.png", image, {}),
            ("good.txt", "schön ".encode(), {}),
            ("./deep/er/two.jpg", image, {}),
            ("deep/er/two.json", b'{"caption": "a mug", "n": [1]}', {}),
            ("../up.png", image, {}),
            ("/etc/absolute.png", image, {}),
            ("deep/../../up.png", image, {}),
            ("link.png", None, link),
            ("hard.png", None, {"type": tarfile.LNKTYPE, "linkname": "good.png"}),
            ("device.png", None, {"type": tarfile.CHRTYPE}),
            ("good.png", image + b"again", {}),
            (".hidden/a.png", image, {}),
            ("bad\udcff.png", image, {}),
            ("list.json", b"[]", {}),
            ("no.json", b"{", {}),
            ("script.py", b"import this", {}),
            ("empty.png", b"", {}),
        ],
    )
    root = open_root(str(tmp_path / "*.tar"))
    gallery = list_images(root)
    assert [(i.image_id, i.text, i.metadata) for i in gallery.images] == [
        ("one.tar/deep/er/two.jpg", "a mug", {"n": [1]}),
        ("one.tar/empty.png", "", {}),
        ("one.tar/good.png", "schön", {}),
    ]
    assert {one.path: one.reason for one in gallery.skipped} == {
        "one.tar/../up.png": "its name leads out of the archive",
        "one.tar//etc/absolute.png": "its name leads out of the archive",
        "one.tar/deep/../../up.png": "its name leads out of the archive",
        "one.tar/link.png": "is a link, which is not followed",
        "one.tar/hard.png": "is a link, which is not followed",
        "one.tar/device.png": "is not a plain file",
        "one.tar/good.png": "stands twice in the archive",
        "one.tar/bad?.png": "the file name is not valid UTF-8",
        "one.tar/list.json": "is not a record with named fields",
        "one.tar/no.json": "is not JSON",
    }
    assert read_image(gallery.images[2]) == image
    assert gallery.images[2].path == f"{tmp_path.resolve()}/one.tar/good.png"
    with pytest.raises(ImageError, match="file is empty"):
        read_image(gallery.images[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.tar", "pictures"]


def test_damaged_archives(folder: Path, tmp_path: Path) -> None:
    image = (folder / "a" / "01.png").read_bytes()
    make_tar(tmp_path / "cut.tar", [("a.png", image, {}), ("b.png", image, {})])
    whole = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 512 + len(image) + 2000])
    (tmp_path / "none.tar").write_bytes(b"not an archive" * 100)
    (tmp_path / "empty.tar").touch()
    gallery = list_images(open_root(str(tmp_path / "*.tar")))
    assert [image.image_id for image in gallery.images] == ["cut.tar/a.png"]
    reasons = {one.path: one.reason for one in gallery.skipped}
    assert reasons["cut.tar/b.png"] == "the archive ends before it does"
    for name in ("none.tar", "empty.tar"):
        assert "damaged or no uncompressed tar archive" in reasons[name]
    (tmp_path / "cut.tar").write_bytes(whole[:600])
    with pytest.raises(ImageError, match="the archive ends before it does"):
        read_image(gallery.images[0])


@pytest.mark.timeout(20)
def test_a_header_that_leads_backwards(folder: Path) -> None:
    """CVE-2025-8194: Python's own reader goes round in circles here."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    header = bytearray(data.getvalue()[:512])
    header[124:136] = tarfile.itn(-1024, 12, tarfile.GNU_FORMAT)
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    file = io.BytesIO(bytes(header) * 3)
    images, skipped = list_tar(file, 3 * 512, "x.tar", "x.tar", "/root")
    assert images == []
    assert "leads backwards" in skipped[0].reason


def test_a_linked_archive(folder: Path, tmp_path: Path) -> None:
    away, root = tmp_path / "away", tmp_path / "root"
    away.mkdir()
    root.mkdir()
    make_tar(away / "a.tar", [("a.png", (folder / "a" / "01.png").read_bytes(), {})])
    (root / "a.tar").symlink_to(away / "a.tar")
    gallery = list_images(open_root(f"{root}/*.tar"))
    assert gallery.images == []
    assert gallery.skipped[0].reason == "is a link that leads out of the folder"
    with pytest.raises(MmragError, match=r"There is no archive b\*\.tar"):
        list_images(open_root(f"{root}/b*.tar"))


def test_names() -> None:
    good = ["a", "a/b.png", "a b", "a\\b", "...", "a/..b"]
    bad = ["", "/", "/a", "..", "a/..", "a/../b", "./a", "a//b", "a/", "a\0b"]
    assert [name for name in good + bad if is_inside(name)] == good
    assert TarMember("a", "b", tar="t", start=1, size=2).metadata == {}
