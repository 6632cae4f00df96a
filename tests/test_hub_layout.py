"""Eval sets in the layouts of other tools, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from mmrag.cli import main
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.exporters import export_eval_set
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.validate import validate

from .published_forms import picture, write


def png(colour: str, path: Path) -> dict[str, Any]:
    Image.new("RGB", (4, 4), colour).save(path, "PNG")
    return {"bytes": path.read_bytes(), "path": "x.png"}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """As MRBench/mbeir_cirr_task7 is published: three files, `query` without an s, a column Q0."""
    root = tmp_path / "mbeir_x"
    root.mkdir()
    red, blue = (png(name, tmp_path / "x.png") for name in ("red", "blue"))
    corpus = [
        {"id": "9:1", "modality": "image", "text": None, "image": red},
        {"id": "9:2", "modality": "image", "text": "a blue one", "image": blue},
    ]
    query = [
        {"id": "9:7", "modality": "image,text", "text": "in blue", "image": red},
        {"id": "9:8", "modality": "text", "text": "nobody judged this", "image": None},
    ]
    qrels = [{"query-id": "9:7", "Q0": "Q0", "corpus-id": "9:2", "score": 1}]
    for name, rows in (("corpus", corpus), ("query", query), ("qrels", qrels)):
        pq.write_table(pa.Table.from_pylist(rows), root / f"{name}-00000-of-00001.parquet")
    return root


def test_m_beirs_files_come_in_with_their_pictures(hub: Path, tmp_path: Path) -> None:
    command = ["eval-set", "import", "mteb", str(hub), str(tmp_path / "set")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    made = EvalSet.load(tmp_path / "set")
    assert [(i.image_id, i.text) for i in made.images] == [("9:1", ""), ("9:2", "a blue one")]
    (query,) = made.queries
    assert (query.query_id, query.text) == ("9:7", "in blue")
    with Image.open(made.images[1].path) as shown, Image.open(str(query.image)) as asked:
        assert (shown.getpixel((0, 0)), asked.getpixel((0, 0))) == ((0, 0, 255), (255, 0, 0))
    assert made.qrels == {"9:7": {"9:2": 1}}
    assert made.missing() == []
    assert validate(made.folder).count("error") == 0
    # The same again changes nothing, another set is not overwritten.
    assert CliRunner().invoke(main, command).exit_code == 0
    with pytest.raises(EvalSetError, match="another eval set"):
        import_eval_set("mteb", hub, tmp_path / "set", split="validation")


def test_what_is_no_gallery_of_pictures_is_refused(hub: Path, tmp_path: Path) -> None:
    rows = [{"id": "1", "text": "words", "image": None}]
    pq.write_table(pa.Table.from_pylist(rows), hub / "corpus-00000-of-00001.parquet")
    with pytest.raises(EvalSetError, match="row 1: has no picture"):
        import_eval_set("mteb", hub, tmp_path / "set")
    (hub / "corpus-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(EvalSetError, match="cannot be read"):
        import_eval_set("mteb", hub, tmp_path / "set")
    (hub / "corpus-00000-of-00001.parquet").unlink()
    with pytest.raises(EvalSetError, match="no Parquet files of corpus"):
        import_eval_set("mteb", hub, tmp_path / "set")


@pytest.mark.parametrize("format", ["mteb", "beir"])
def test_a_set_goes_out_and_comes_back(hub: Path, tmp_path: Path, format: str) -> None:
    made = import_eval_set("mteb", hub, tmp_path / "set")
    out = tmp_path / "out"
    done = CliRunner().invoke(
        main, ["eval-set", "export", str(made.folder), str(out), "--format", format]
    )
    assert done.exit_code == 0, done.output
    again = import_eval_set(format, out, tmp_path / "again")
    assert again.qrels == made.qrels
    assert [(q.query_id, q.text) for q in again.queries] == [("9:7", "in blue")]
    bytes_of = [[Path(i.path).read_bytes() for i in one.images] for one in (made, again)]
    assert bytes_of[0] == bytes_of[1]
    assert [i.text for i in again.images] == [i.text for i in made.images]
    with pytest.raises(EvalSetError, match="not empty"):
        export_eval_set(made, format, out)
    Path(made.images[0].path).unlink()
    with pytest.raises(EvalSetError, match="1 picture is missing"):
        export_eval_set(made, format, tmp_path / "other")


def test_lasco(tmp_path: Path) -> None:
    source = tmp_path / "downloads"
    one, two, three = ([i, f"val2014/COCO_val2014_{i:012}.jpg"] for i in (7, 8, 9))
    for _, path in (one, two, three):
        picture(source / "coco" / str(path))
    entry = {"qid": 28714000, "query-image": one, "query-text": "It rains", "target-image": two}
    write(source / "lasco_val.json", [entry])
    write(source / "lasco_val_corpus.json", [one, two, three])
    made = import_eval_set("lasco", tmp_path, tmp_path / "set")
    assert [image.image_id for image in made.images] == ["7", "8", "9"]
    (query,) = made.queries
    assert (query.text, made.qrels[query.query_id]) == ("It rains", {"8": 1})
    assert made.missing() == []
    (source / "lasco_val_corpus.json").unlink()
    assert len(import_eval_set("lasco", tmp_path, tmp_path / "set").images) == 2
    write(source / "lasco_val_corpus.json", [[7, "../../x.jpg"]])
    with pytest.raises(EvalSetError, match="entry 1: expected a COCO number"):
        import_eval_set("lasco", tmp_path, tmp_path / "set")
    write(source / "lasco_val_corpus.json", [one])
    with pytest.raises(EvalSetError, match="not in the corpus"):
        import_eval_set("lasco", tmp_path, tmp_path / "set")
