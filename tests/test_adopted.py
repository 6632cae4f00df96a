"""Collections that somebody made with the Milvus tutorial's script: searched, never written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmrag import ImageIndex, MmragError, Query, Searcher, evaluate
from mmrag.cli import main
from mmrag.encoders.encoder import Encoder
from mmrag.errors import IndexStoreError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.gallery_index import adopted_index
from mmrag.galleries.gallery import Gallery
from mmrag.index.adopted import Adopted

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .helpers import made_by_script


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_it_is_searched_and_evaluated_as_our_own(
    tmp_path: Path,
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    tiny_folder: Path,
    metric: str,
) -> None:
    milvus_uri = str(tmp_path / "script.db")
    paths = [image.path for image in colours.images]
    name = made_by_script(milvus_uri, searcher.encoder, paths, metric)
    options = ["--uri", milvus_uri, "--collection", name, "--encoder", str(tiny_folder)]
    done = CliRunner().invoke(main, ["adopt", *options, "--precision", "fp32", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["metric"], len(told["probe"]["cosines"])) == (metric, 10)

    query = Query(colours.queries[0].image, colours.queries[0].text)
    expected = searcher.search(query, 5).hits
    with ImageIndex.open(milvus_uri, name, searcher.encoder) as opened:
        hits = Searcher(opened, searcher.encoder).search(query, 5).hits
        assert [os.path.realpath(h.path) for h in hits] == [h.path for h in expected]
        assert [h.score for h in hits] == pytest.approx([h.score for h in expected], abs=1e-3)
        for write in (
            lambda: opened.add(Gallery([], [])),
            lambda: opened.delete(["a"]),
            opened.drop,
        ):
            with pytest.raises(IndexStoreError, match="never written to"):
                write()
    with adopted_index(colours, searcher.encoder, name, milvus_uri) as opened:
        run = evaluate(colours, Searcher(opened, searcher.encoder), 10)
    assert run.metrics == pytest.approx(evaluate(colours, searcher, 10).metrics)
    with pytest.raises(MmragError, match="was not adopted"):
        adopted_index(colours, searcher.encoder, "another", milvus_uri)


def test_another_encoder_or_field_is_one_sentence(
    tmp_path: Path, folder: Path, tiny: Encoder, tiny_folder: Path
) -> None:
    milvus_uri = str(tmp_path / "script.db")
    paths = sorted(str(path) for path in folder.rglob("*.png"))
    # Each picture under another one's name: as if another encoder had made the vectors.
    name = made_by_script(milvus_uri, tiny, paths, "COSINE")
    other = made_by_script(milvus_uri, _Shifted(tiny.model, tiny.info), paths, "COSINE")
    options = ["--uri", milvus_uri, "--encoder", str(tiny_folder)]
    for collection, more, message in (
        (other, [], "did not make"),
        (name, ["--vector-field", "image"], "its fields are id, vector"),
        (name, ["--path-field", "file"], "Name the field|name the field"),
        ("nothing", [], "There is no collection 'nothing'; there are:"),
        (name, ["--image-root", str(folder)], "--image-root names another folder"),
    ):
        asked = ["adopt", *options, "--collection", collection, *more]
        with pytest.raises(MmragError, match=message):
            CliRunner().invoke(main, asked, catch_exceptions=False)
    with pytest.raises(IndexStoreError, match="was not made by mmrag"):
        ImageIndex.open(milvus_uri, name, tiny)


def test_images_have_the_names_of_the_set_and_else_their_paths(tmp_path: Path) -> None:
    root = os.path.realpath(tmp_path)
    ids = {f"{root}/a/1.png": "one"}
    held = Adopted("uri", "c", "vector", "path", "COSINE", 8, str(tmp_path), ids=ids)
    for stored, name, path in (
        ("a/1.png", "one", f"{root}/a/1.png"),
        ("a/../a/1.png", "one", f"{root}/a/1.png"),
        ("a/2.png", "a/2.png", f"{root}/a/2.png"),
        ("/else/3.png", "/else/3.png", "/else/3.png"),
    ):
        row = held.row(stored)
        assert (row["image_id"], row["path"]) == (name, path)


class _Shifted(Encoder):
    def encode(self, images=None, texts=None, batch_size=None, query=False):  # type: ignore[no-untyped-def]
        found = super().encode(images, texts, batch_size, query)
        return -found
