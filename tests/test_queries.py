"""Queries of several pictures, and queries without something."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sentence_transformers import SentenceTransformer

from mmrag import (
    ImageIndex,
    MmragError,
    Query,
    evaluate,
    load_encoder,
    load_reranker,
    open_gallery,
)
from mmrag.cli import main
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.queries import query_notes, query_vectors
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.exporters import export_eval_set
from mmrag.eval_sets.templates import templated
from mmrag.eval_sets.validate import validate
from mmrag.images.grid import CELL, draw_grid
from mmrag.rerank.ranking_prompt import ranking_prompt
from mmrag.runs.examples import examples
from mmrag.runs.provenance import labels_sha256
from mmrag.search.searcher import Searcher
from mmrag.ui.panels.query_input import ChosenQuery
from mmrag.ui.reproduce import Recipe, command_line, python_code
from mmrag.vision.prompt import Picture

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .tiny_models import make_qwen3_vl


def unit(vector: Any) -> np.ndarray:
    return np.asarray(vector) / np.linalg.norm(vector)


def test_what_a_query_may_be() -> None:
    assert Query("a.jpg", "red").images == ("a.jpg",)
    assert Query(images=["a.jpg", "b.jpg"]).image == "a.jpg"
    assert Query("a.jpg", without="leather").unwanted == Query(text="leather")
    assert Query("a.jpg", without="").unwanted is None
    assert Query("a.jpg") == Query(images=["a.jpg"])
    for wrong in ({}, {"image": "a", "images": ["b"]}, {"text": "a", "without_weight": -1}):
        with pytest.raises(ValueError, match=r"needs an image|first of them|0 or more"):
            Query(**wrong)


def test_pictures_are_seen_together_or_averaged(
    tmp_path: Path, folder: Path, tiny: Encoder
) -> None:
    first, second, third = sorted(str(path) for path in folder.rglob("*.png"))[:3]
    seeing = load_encoder(f"st:{make_qwen3_vl(tmp_path)}", device="cpu", precision="fp32")
    query = Query(images=[first, second, third], text="in green")
    library = SentenceTransformer(str(tmp_path), device="cpu")
    pictures = [Image.open(path) for path in (first, second, third)]
    expected = unit(library.encode_query([{"image": pictures, "text": "in green"}])[0])
    assert np.abs(query_vectors(seeing, [query])[0] - expected).max() < 1e-5
    assert "together" in query_notes(seeing, query)[0]

    each = tiny.encode([first, second, third], ["in green"] * 3, query=True)
    vectors = query_vectors(tiny, [Query(first), query])
    assert np.abs(vectors[1] - unit(each.mean(0))).max() < 1e-6
    assert np.abs(vectors[0] - tiny.encode([first], query=True)[0]).max() < 1e-6
    assert "averaged and normalised" in query_notes(tiny, query)[0]
    assert query_notes(tiny, Query(first, "in green")) == ()


def test_what_is_not_wanted_is_taken_off(folder: Path, tiny: Encoder) -> None:
    first, second = sorted(str(path) for path in folder.rglob("*.png"))[:2]
    wanted, unwanted = tiny.encode([first], ["red"], query=True), tiny.encode([second], query=True)
    query = Query(first, "red", without=Query(second), without_weight=0.25)
    expected = unit(wanted[0] - 0.25 * unwanted[0])
    assert np.abs(query_vectors(tiny, [query])[0] - expected).max() < 1e-6
    assert "0.25 times" in query_notes(tiny, query)[0]
    with pytest.raises(MmragError, match="Nothing is left of the query"):
        query_vectors(tiny, [Query(first, without=Query(first), without_weight=1)])


def test_rerankers_and_grids_show_all_pictures(
    searcher: Searcher,  # noqa: F811
    colours: EvalSet,  # noqa: F811
) -> None:
    paths = [image.path for image in colours.images[:3]]
    query = Query(images=paths[:2], text="in green", without=Query(paths[2], "leather"))
    hits = searcher.search(query, 6, exclude_query_image=True).hits
    assert not {paths[0], paths[1]} & {hit.path for hit in hits}
    assert len(hits) == 6
    assert draw_grid(paths[:2], paths[:1], columns=1).shape[0] > 2 * CELL
    sent = ranking_prompt(query, hits).parts
    assert sum(isinstance(part, Picture) for part in sent) == 2, "the panorama, and the unwanted"
    assert "leather" in str(sent)
    reranked = load_reranker("encoder:x", encoder=searcher.encoder).rerank(
        searcher.search(query, 6)
    )
    assert [h.image_id for h in reranked.hits] == [
        h.image_id for h in searcher.search(query, 6).hits
    ]


def test_eval_sets_keep_them(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    tmp_path: Path,
) -> None:
    before = labels_sha256(colours)
    paths = [image.path for image in colours.images[:3]]
    first = replace(
        colours.queries[0],
        image=paths[0],
        more_images=(paths[1],),
        without=Query(paths[2], "leather"),
        without_weight=0.25,
    )
    made = colours.with_queries([first, *colours.queries[1:]])
    made.save()
    again = EvalSet.load(made.folder)
    assert again.queries == made.queries
    assert labels_sha256(again) == labels_sha256(made) != before
    found = validate(made.folder)
    assert not found.count("error")
    assert "is not used" not in str(found.problems)
    record = json.loads((made.folder / "queries.jsonl").read_text().splitlines()[0])
    assert len(record["images"]) == 2
    assert record["without"]["weight"] == 0.25
    shown = CliRunner().invoke(main, ["eval-set", "queries", str(made.folder), "--json"])
    assert json.loads(shown.output)[0]["without"]["text"] == "leather"
    assert json.loads(shown.output)[0]["images"] == paths[:2]
    export_eval_set(again, "beir", tmp_path / "beir")
    assert len(EvalSet.load(tmp_path / "beir").queries[0].images) == 2

    run = evaluate(again, searcher, 10)
    vector = query_vectors(searcher.encoder, [again.queries[0].query()])
    hits = searcher.search_vectors([first.query()], vector, 10)[0]
    assert set(run.ranking()[first.query_id]) == {hit.image_id for hit in hits}
    assert any("averaged and normalised" in note for note in run.notes)
    lines = (made.folder / "queries.jsonl").read_text().splitlines()
    record["image"] = record["images"][0]
    (made.folder / "queries.jsonl").write_text("\n".join([json.dumps(record), *lines[1:]]))
    with pytest.raises(EvalSetError, match="'images' for several, not both"):
        EvalSet.load(made.folder)


def test_templates_make_what_is_asked(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
) -> None:
    first = replace(
        colours.queries[0],
        metadata={"shared_concept": "a {thing}"},
        paraphrases=("in other words",),
    )
    [asked] = templated([first], "{{{shared_concept}}} {text}")
    assert asked.text == f"{{a {{thing}}}} {first.text}"
    assert asked.paraphrases == ("{a {thing}} in other words",)
    for template, message in (
        ("{text.__class__}", r"has no 'text\.__class__', which the query template asks for"),
        ("{colour}", rf"Query '{first.query_id}' has no 'colour', .* shared_concept, text"),
        ("{text!r}", "plain fields"),
        ("{text", "cannot be read"),
        ("all", "needs a field"),
    ):
        with pytest.raises(MmragError, match=message):
            templated([first], template)
    with pytest.raises(MmragError, match="has no 'text', which the query template asks for"):
        evaluate(colours, searcher, 5, query_template="find {text}")
    colours = colours.with_queries([one for one in colours.queries if one.text])
    run = evaluate(colours, searcher, 5, query_template="find {text}")
    plain = evaluate(colours, searcher, 5)
    assert run.query_template == "find {text}"
    assert plain.query_template is None
    assert run.eval_set == plain.eval_set, "they can be compared"
    query = colours.queries[0]
    [hits] = [searcher.search(Query(query.image, f"find {query.text}"), 5).hits]
    assert set(run.ranking()[query.query_id]) == {hit.image_id for hit in hits}
    metric = run.eval_set.primary_metric
    metric = metric if metric in run.metrics else next(iter(run.metrics))
    [shown] = examples(run, colours, [query.query_id], metric)
    assert shown.text == f"find {query.text}"


def test_the_page_says_how_to_ask_again() -> None:
    chosen = ChosenQuery("a.jpg", "red", more=("b.jpg",), without=Query(text="leather"))
    query = chosen.query()
    assert query.images == ("a.jpg", "b.jpg")
    assert chosen.digest() != replace(chosen, more=()).digest()
    assert chosen.digest() != replace(chosen, without=None).digest()
    recipe = Recipe(query, "demo", "demo", 9)
    assert "--image a.jpg --image b.jpg --text red --without-text leather" in command_line(recipe)
    code = python_code(recipe)
    assert "images=['a.jpg', 'b.jpg'], text='red', without=Query(text='leather')" in code


def test_a_search_asks_in_the_words_of_a_template(
    folder: Path, tiny: Encoder, tiny_folder: Path
) -> None:
    with ImageIndex.open(encoder=tiny) as opened:
        opened.add(open_gallery(folder))
    command = ["search", "--text", "red", "--encoder", str(tiny_folder), "--precision", "fp32"]
    asked = [*command, "--query-template", "a {text} mug", "--json"]
    told = CliRunner().invoke(main, asked)
    assert told.exit_code == 0, told.output
    assert "Asked: a red mug" in told.stderr
    plain = CliRunner().invoke(main, [*command[:2], "a red mug", *command[3:], "--json"])
    document, same = json.loads(told.stdout), json.loads(plain.stdout)
    assert document["asked"] == same["asked"] == "a red mug"
    assert document["hits"] == same["hits"]
    wrong = [*command, "--query-template", "{text}, {shared_concept}"]
    with pytest.raises(MmragError, match=r"has no 'shared_concept'.*it has text"):
        CliRunner().invoke(main, wrong, catch_exceptions=False)
