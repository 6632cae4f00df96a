"""What a page shows of results."""

import csv
import io
import json
import shlex

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import CATALOGUE, known_eval_sets
from mmrag.types import Hit, Query, SearchResult
from mmrag.ui.reproduce import Recipe, command_line, python_code
from mmrag.ui.tiles import as_csv, as_json, first_right, hit_tiles, judged


def hits(*ids, text=""):
    order = [3, 1, 2]
    return [
        Hit(rank, i, f"/nowhere/{i}.png", 0.5, order[(rank - 1) % 3], text, {})
        for rank, i in enumerate(ids, start=1)
    ]


def result(found, text="a mug"):
    return SearchResult(Query(text=text), found, {"encode": 1.0, "total": 1.0})


def test_tiles_show_rank_movement_and_judgment():
    tiles = hit_tiles(hits("a", "b", "c"), {"b"})
    assert [tile.badge for tile in tiles] == ["1", "2", "3"]
    assert [tile.moved for tile in tiles] == [2, -1, -1]
    assert [tile.mark for tile in tiles] == ["wrong", "right", "wrong"]
    assert [tile.mark for tile in hit_tiles(hits("a"), None)] == [None]
    assert first_right(hits("a", "b"), {"b"}) == "First right image at rank 2 (retrieved at 1)"
    assert first_right(hits("a", "b"), {"x"}) == "No right image among the first 2"


def test_hits_of_another_gallery_are_not_judged():
    eval_set = EvalSet.load(CATALOGUE)
    query_id = next(iter(eval_set.qrels))
    right = sorted(eval_set.relevant(query_id))[0]
    assert right in (judged(result(hits(right)), eval_set, query_id) or ())
    assert judged(result(hits(right, "elsewhere.png")), eval_set, query_id) is None
    assert judged(result(hits(right)), None, None) is None


def test_exports_hold_the_hits_and_no_formula():
    shown = result(hits("=1+1", "b", text="@SUM(A1)"))
    rows = list(csv.reader(io.StringIO(as_csv(shown))))
    assert [row[0] for row in rows] == ["rank", "1", "2"]
    assert rows[1][1] == "'=1+1"
    assert rows[1][5] == "'@SUM(A1)"
    document = json.loads(as_json(shown))
    assert [hit["image_id"] for hit in document["hits"]] == ["=1+1", "b"]
    uploaded = SearchResult(Query(image=b"bytes", text="x"), [], {})
    assert json.loads(as_json(uploaded))["query"]["image"] == "(uploaded)"


def test_commands_survive_the_shell_and_the_program_compiles():
    query = Query(image="a b.jpg", text='it\'s; rm -rf $HOME "now"')
    words = shlex.split(command_line(Recipe(query, "c", "demo", 9, "encoder:demo", candidates=20)))
    assert words[words.index("--text") + 1] == query.text
    assert words[words.index("--image") + 1] == "a b.jpg"
    assert words[words.index("--rerank-k") + 1] == "20"
    code = python_code(Recipe(query, "c", "demo", 9, "gpt-4o", "images", 20))
    compile(code, "reproduce", "exec")
    assert repr(query.text) in code
    assert "presentation='images'" in code


def test_eval_sets_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "sets" / "mine").mkdir(parents=True)
    (tmp_path / "sets" / "mine" / "eval_set.json").write_text("{}")
    monkeypatch.setenv("MMRAG_EVAL_SETS", str(tmp_path / "sets"))
    assert list(known_eval_sets()) == ["grocery", "catalogue", "mine"]
