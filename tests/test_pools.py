"""Queries with candidates of their own, and the data sets that have them."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mmrag import MmragError, evaluate
from mmrag.cli import main
from mmrag.encoders.encoder import Encoder
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.exporters import export_eval_set
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.validate import validate
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.exact_search import rank_in_memory
from mmrag.evaluation.search_url import search_url
from mmrag.labels.editing import dedupe, merge
from mmrag.metrics.metrics import score_rankings
from mmrag.runs.importing import read_run
from mmrag.runs.provenance import labels_sha256, open_eval_set
from mmrag.runs.store import RunStore
from mmrag.search.pools import PoolVectors
from mmrag.search.searcher import Searcher
from mmrag.types import Query

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .published_forms import picture, write


@pytest.fixture
def pooled(colours: EvalSet, tmp_path: Path) -> EvalSet:  # noqa: F811
    """Each query but the last has the first or the second ten images as candidates."""
    ids = [image.image_id for image in colours.images]
    halves = [tuple(ids[:10]), tuple(ids[10:])]
    right = [colours.qrels.get(q.query_id, {ids[0]: 0}) for q in colours.queries]
    queries = [
        replace(query, pool=halves[next(iter(grades)) in halves[1]])
        for query, grades in zip(colours.queries[:-1], right[:-1], strict=True)
    ]
    made = replace(
        colours, folder=tmp_path / "pooled", queries=[*queries, colours.queries[-1]], name="pooled"
    )
    made.save()
    return EvalSet.load(made.folder)


class Rows:
    """What `PoolVectors` asks of an index; counts what it is asked for."""

    collection = "made up"

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors = vectors
        self.asked: list[tuple[str, ...]] = []

    def get(self, ids: tuple[str, ...], fields: list[str]) -> dict[str, dict[str, Any]]:
        assert {"vector", "path", "content_hash"} <= set(fields)
        self.asked.append(ids)
        rows = {i: {"image_id": i, "path": f"/{i}", "content_hash": i * 2} for i in ids}
        return {i: rows[i] | {"vector": self.vectors[i]} for i in ids if i in self.vectors}


def test_the_nearest_of_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Any = Rows({"a": [1, 0], "b": [0.6, 0.8], "c": [0, 1], "d": [0, 1], "é": [0, 1]})
    pools = PoolVectors(rows)
    everything, vector = ("c", "gone", "b", "d", "a", "é"), np.array([0, 1.0])
    found = pools.nearest(everything, vector, 9)
    assert list(found) == ["é", "d", "c", "b", "a"], "of equal ones the larger id"
    assert list(found.values()) == pytest.approx([1, 1, 1, 0.8, 0])
    assert list(pools.nearest(everything, vector, 2)) == ["é", "d"]
    without = pools.nearest(everything, vector, 2, lambda row: row["path"] in ("/é", "/c"))
    assert list(without) == ["d", "b"]
    assert pools.nearest((), vector, 2) == {}
    assert rows.asked == [everything, ()], "what was read is kept"
    # No room for more than one pool of two vectors and another of one: the oldest goes.
    monkeypatch.setattr("mmrag.search.pools._KEPT", 3 * 8)
    pools, rows.asked = PoolVectors(rows), []
    for pool in (
        ("a", "b"),
        ("c",),
        ("a", "b"),
        ("d",),
        ("a", "b"),
        ("c",),
        everything,
        everything,
    ):
        pools.nearest(pool, vector, 1)
    assert rows.asked == [("a", "b"), ("c",), ("d",), ("c",), everything]


def test_a_collection_without_vectors_has_no_pools() -> None:
    rows: Any = Rows({"a": [1, 0]})
    rows.get = lambda ids, fields: {"a": {"image_id": "a"}}
    with pytest.raises(MmragError, match=r"'made up' gives no vectors.*without --collection"):
        PoolVectors(rows).nearest(("a",), np.array([1.0, 0]), 1)


class Nearest:
    """What `Searcher` asks of an index: image i is the i-th, whatever the vector."""

    collection, encoder, store = "made up", None, None

    def __init__(self, paths: list[str]) -> None:
        self.rows = [
            {
                "image_id": p,
                "path": p,
                "content_hash": p,
                "score": 1.0,
                "text": "",
                "metadata": None,
            }
            for p in paths
        ]
        self.asked: list[tuple[int, int, str | None]] = []

    def exists(self) -> bool:
        return True

    def check_encoder(self) -> None:
        pass

    def search(self, vectors: Any, k: int, filter: str | None = None) -> list[Any]:
        self.asked.append((len(vectors), k, filter))
        return [self.rows[:k] for _ in vectors]


def test_what_is_asked_of_the_index(tmp_path: Path, tiny: Encoder) -> None:
    own = tmp_path / "own.png"
    Image.new("RGB", (8, 8)).save(own)
    rows: Any = Nearest([str(own)] * 30 + [f"/{i}" for i in range(5)])
    asks = Searcher(rows, tiny)
    vectors = np.zeros((5, 2), np.float32)
    words, picture = Query(text="x"), Query(str(own))
    hits = asks.search_vectors([words] * 5, vectors, 2, filter="a < 1", batch_size=2)
    assert rows.asked == [(2, 2, "a < 1"), (2, 2, "a < 1"), (1, 2, "a < 1")]
    assert [[hit.image_id for hit in some] for some in hits] == [[str(own)] * 2] * 5
    assert [(hit.rank, hit.retrieval_rank) for hit in hits[0]] == [(1, 1), (2, 2)]
    assert (hits[0][0].metadata, hits[0][0].score) == ({}, 1.0)
    # One more than is wanted, then four times as many as long as the query's copies fill them.
    rows.asked.clear()
    hits = asks.search_vectors(
        [words, picture], vectors[:2], 3, filter="a < 1", exclude_query_image=True
    )
    assert rows.asked == [(2, 4, "a < 1"), (1, 16, "a < 1"), (1, 64, "a < 1")]
    assert [hit.image_id for hit in hits[0]] == [str(own)] * 3
    assert [hit.image_id for hit in hits[1]] == ["/0", "/1", "/2"]
    assert [hit.rank for hit in hits[1]] == [1, 2, 3]
    rows.asked.clear()
    hits = asks.search_vectors([picture], vectors[:1], 9, exclude_query_image=True)
    assert [one[1] for one in rows.asked] == [10, 40], "there are no more"
    assert len(hits[0]) == 5
    rows.asked.clear()
    rows.rows = [rows.rows[0]] * 20_000
    assert asks.search_vectors([picture], vectors[:1], 9, exclude_query_image=True) == [[]]
    assert [one[1] for one in rows.asked] == [10, 40, 160, 640, 2560, 10_240, 16_384]
    for k in (0, 10_001):
        with pytest.raises(MmragError, match=f"between 1 and 10,000, not {k}"):
            asks.search(words, k)
    assert asks.search_many([]) == []
    assert len(asks.search(words, 10_000).hits) == 10_000
    assert [hit.rank for hit in asks.search(words, 1).hits] == [1]
    assert len(asks.search(words).hits) == 9
    times = asks.search(words).timings_ms
    assert times["total"] == pytest.approx(times["encode"] + times["search"])
    assert 0 < times["total"] < 60_000
    rows.exists = lambda: False
    rows.store = type("Store", (), {"uri": "here"})
    with pytest.raises(MmragError, match="no collection 'made up' in here"):
        Searcher(rows, tiny)


def test_only_candidates_are_found_and_exactly(
    pooled: EvalSet,
    searcher: Searcher,  # noqa: F811
    tiny: Encoder,
) -> None:
    assert len((pooled.folder / "pools.jsonl").read_text().splitlines()) == 2, "they share two"
    run = evaluate(
        pooled, searcher, 20, ablations=Ablations(modality=True, index=True, precision=None)
    )
    exact = rank_in_memory(tiny, pooled, 20)
    assert run.ranking() == exact
    for query in pooled.queries[:-1]:
        assert set(exact[query.query_id]) == set(query.pool)
    assert len(exact["hopeless"]) == 20, "the whole gallery"
    assert run.ablations["modality"]["queries"] == 12
    assert run.ablations["index"]["queries"] == 1, "those without candidates"
    assert open_eval_set(run).queries == pooled.queries
    other = replace(pooled, queries=[replace(q, pool=()) for q in pooled.queries])
    assert labels_sha256(other) != labels_sha256(pooled)
    excluding = replace(
        pooled,
        exclude_query_image=True,
        queries=[replace(pooled.queries[0], image=pooled.images[0].path)],
    )
    (found,) = evaluate(excluding, searcher, 20).ranking().values()
    assert pooled.images[0].image_id not in found
    assert len(found) == 9


def test_rankings_from_elsewhere_keep_to_the_candidates(pooled: EvalSet, tmp_path: Path) -> None:
    query = pooled.queries[0]
    outside = next(i.image_id for i in pooled.images if i.image_id not in query.pool)
    lines = [f"{query.query_id} Q0 {outside} 1 9 x", f"{query.query_id} Q0 {query.pool[3]} 2 8 x"]
    run = read_run(write(tmp_path / "run.trec", "\n".join(lines)), pooled)
    assert run.ranking()[query.query_id] == [query.pool[3]]
    assert "1 image is no candidate of the query that found it, and left out." in run.notes
    with RunStore() as store, pytest.raises(MmragError, match="candidates of their own"):
        search_url("http://127.0.0.1:9", pooled, store)


def test_a_wrong_pool_is_told_with_its_line(pooled: EvalSet) -> None:
    before = [problem.message for problem in validate(pooled.folder).problems]
    assert before == ["the query 'hopeless' has no judgments"]
    info = CliRunner().invoke(main, ["eval-set", "info", str(pooled.folder)])
    assert "candidates of their own: 36 queries, 10 to 10, 10.0 in the mean" in info.output
    path = pooled.folder / "queries.jsonl"
    lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    for pool, what in (
        ("7", "the pool '7' is not in pools.jsonl"),
        (["nowhere"], "the candidate 'nowhere' is not in the gallery"),
    ):
        path.write_text("\n".join([json.dumps(first | {"pool": pool}), *lines[1:]]))
        messages = [problem.message for problem in validate(pooled.folder).problems]
        assert set(messages) - set(before) == {what}
        with pytest.raises(EvalSetError, match=what):
            EvalSet.load(pooled.folder)
    wrong = next(i.image_id for i in pooled.images if i.image_id not in pooled.queries[0].pool)
    path.write_text("\n".join([json.dumps(first | {"pool": [wrong]}), *lines[1:]]))
    problem = next(one for one in validate(pooled.folder).problems if one.message not in before)
    assert (problem.severity, problem.line) == ("warning", 1)
    assert problem.message == "a right image of the query 'q00' is none of its candidates"


@pytest.mark.parametrize("format", ["webdataset", "mteb", "beir"])
def test_candidates_go_out_and_come_back(pooled: EvalSet, tmp_path: Path, format: str) -> None:
    export_eval_set(pooled, format, tmp_path / "out" / "pooled")
    again = import_eval_set(format, tmp_path / "out" / "pooled", tmp_path / "again")
    kept = {q.query_id: q.pool for q in again.queries}
    judged = [query for query in pooled.queries if query.query_id in kept]
    assert len(judged) >= 36
    assert kept == {query.query_id: query.pool for query in judged}
    assert {i: again.qrels[i] for i in pooled.qrels} == pooled.qrels
    data = [[Path(i.path).read_bytes() for i in one.images] for one in (pooled, again)]
    assert data[0] == data[1]
    if format == "webdataset":
        assert [q.paraphrases for q in again.queries] == [q.paraphrases for q in pooled.queries]
        with tarfile.open(tmp_path / "out/pooled/queries/queries-000000.tar") as archive:
            names = archive.getnames()
        assert names[:3] == ["00000000.png", "00000000.json", "00000001.png"]


def test_merged_and_deduplicated_sets_keep_candidates(pooled: EvalSet, tmp_path: Path) -> None:
    twin = replace(pooled, name="twin")
    both = merge([pooled, twin], tmp_path / "both", "both")
    assert both.queries[0].pool == pooled.queries[0].pool
    made = dedupe(pooled, tmp_path / "once").eval_set
    assert made.queries[0].pool == pooled.queries[0].pool


ICIR_QUERIES = 'query/temple/q1.jpg,at sunset,temple\nquery/mug/q2.jpg,"broken, in two",mug\n'
ICIR_DATABASE = """database/temple/1.jpg,at sunset,temple
database/temple/2.jpg,a drawing,temple
database/temple/3.jpg,at sunset,temple
database/mug/1.jpg,"broken, in two",mug
database/mug/2.jpg,whole,mug
"""


def icir_paths() -> list[str]:
    lines = (ICIR_QUERIES + ICIR_DATABASE).splitlines()
    return [line.partition(",")[0] for line in lines]


def shard(path: Path, names: list[str], escape: str = "") -> None:
    """An archive as it is published: a photo and a record in each sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(names):
            photo = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(photo, "JPEG")
            record = json.dumps({"img_path": name, "text": "t", "instance": "i"}).encode()
            for suffix, data in (("jpg", photo.getvalue()), ("json", record)):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def test_icir_from_archives_and_from_folders(tmp_path: Path) -> None:
    hub, plain = tmp_path / "hub", tmp_path / "plain"
    for folder in (hub / "annotations", plain):
        write(folder / "query_files.csv", ICIR_QUERIES)
        write(folder / "database_files.csv", ICIR_DATABASE)
    paths = icir_paths()
    shard(hub / "webdataset/query/query-000000.tar", paths[:2])
    shard(hub / "webdataset/database/database-000000.tar", [*paths[2:], "../../escape.jpg", "x"])
    for path in paths:
        picture(plain / path)
    made = import_eval_set("icir", hub, tmp_path / "set")
    assert made.missing() == []
    assert not (tmp_path / "escape.jpg").exists()
    assert not (tmp_path / "set/images/x").exists(), "only what the tables name"
    first, second = made.queries
    assert first.pool == tuple(paths[2:5])
    assert made.qrels[first.query_id] == {paths[2]: 1, paths[4]: 1}
    assert (second.text, second.category) == ("broken, in two", "mug")
    assert validate(made.folder).problems == []
    other = import_eval_set("icir", plain, tmp_path / "other")
    assert [q.pool for q in other.queries] == [q.pool for q in EvalSet.load(made.folder).queries]
    assert (other.qrels, other.missing()) == (made.qrels, [])
    write(plain / "query_files.csv", "query/a.jpg,x\n")
    with pytest.raises(EvalSetError, match="line 1: expected a path, a text"):
        import_eval_set("icir", plain, tmp_path / "third")
    write(plain / "query_files.csv", "../a.jpg,x,mug\n")
    with pytest.raises(EvalSetError, match="leaves the folder"):
        import_eval_set("icir", plain, tmp_path / "third")


def published_ap(correct: list[int]) -> float:
    """As i-CIR's `utils.py` has it."""
    places = [place for place, is_right in enumerate(correct) if is_right]
    total = 0.0
    for j, rank in enumerate(places):
        before = 1.0 if rank == 0 else j / rank
        total += (before + (j + 1) / (rank + 1)) / (2 * len(places))
    return total


def test_icir_is_scored_as_published(pooled: EvalSet) -> None:
    rng = np.random.default_rng(0)
    rankings = {q.query_id: list(rng.permutation(q.pool)) for q in pooled.queries[:-1]}
    found = score_rankings(rankings, pooled, ["AP_trapezoid@10000"])
    for query_id, value in zip(found.query_ids, found.values["AP_trapezoid@10000"], strict=True):
        right = pooled.relevant(query_id)
        if query_id in rankings:
            expected = published_ap([int(one in right) for one in rankings[query_id]])
            assert value == pytest.approx(expected)


def test_genecis(tmp_path: Path) -> None:
    def coco(number: int) -> dict[str, Any]:
        return {"val_image_id": number}

    entry = {
        "condition": "wall",
        "reference": coco(7),
        "target": coco(8),
        "gallery": [coco(9), coco(7)],
    }
    write(tmp_path / "src/genecis/change_object.json", [entry])
    for number in (7, 8, 9):
        picture(tmp_path / f"src/val2017/{number:012d}.jpg")
    made = import_eval_set("genecis", tmp_path / "src", tmp_path / "set")
    (query,) = made.queries
    assert (query.text, query.pool, made.qrels) == ("wall", ("8", "9", "7"), {"0000": {"8": 1}})
    assert made.missing() == []
    # A part of a photo, as `datasets/vaw_dataset.py` of the benchmark cuts it out.
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    (tmp_path / "vg").mkdir()
    photo.save(tmp_path / "vg/1.jpg", quality=100)
    photo = Image.open(tmp_path / "vg/1.jpg")
    boxes = [{"image_id": "1", "instance_bbox": box} for box in ([30, 20, 20, 10], [5, 5, 9, 9])]
    entry = {"condition": "c", "reference": boxes[0], "target": boxes[1], "gallery": [boxes[0]]}
    write(tmp_path / "src/genecis/focus_attribute.json", [entry])
    cut = import_eval_set(
        "genecis",
        tmp_path / "src",
        tmp_path / "cut",
        split="focus_attribute",
        images=tmp_path / "vg",
    )
    shown = np.asarray(Image.open(str(cut.queries[0].image)))
    assert shown.shape == (34, 34, 3)
    assert (shown[8:25] == np.asarray(photo.crop((16, 13, 50, 30)))).all()
    assert not shown[:8].any()
    with pytest.raises(EvalSetError, match="no task 'val'; use one of change_attribute"):
        import_eval_set("genecis", tmp_path / "src", tmp_path / "no", split="val")
    write(tmp_path / "src/genecis/change_object.json", [entry])
    with pytest.raises(EvalSetError, match="'val_image_id' must be a whole number"):
        import_eval_set("genecis", tmp_path / "src", tmp_path / "set")


def test_circus(tmp_path: Path) -> None:
    source, mbeir = tmp_path / "circus", tmp_path / "mbeir"
    folder = source / "final_dataset/query_jsonl/cirr"
    first = {
        "qid": "8:5",
        "query_txt": "Add needles.",
        "query_img_path": "mbeir_images/cirr_images/dev/a.jpg",
        "query_modality": "image,text",
        "query_src_content": '{"id": "a"}',
        "pos_cand_list": ["8:1"],
        "neg_cand_list": ["8:2"],
        "task_id": 7,
    }
    name = "mbeir_cirr_task7_test_validated_{}.jsonl"
    write(folder / "validated_solved" / name.format("solved"), json.dumps(first))
    write(folder / "validated_solved" / name.format("solved.trace"), "{}")
    second = json.dumps(first | {"qid": "8:6"})
    write(folder / "validated_unsolved" / name.format("unsolved"), second)
    pool = [
        {"did": f"8:{i}", "img_path": f"mbeir_images/cirr_images/dev/{n}.jpg", "modality": "image"}
        for i, n in enumerate("abc")
    ]
    write(
        mbeir / "cand_pool/local/mbeir_cirr_task7_cand_pool.jsonl", "\n".join(map(json.dumps, pool))
    )
    for letter in "abc":
        picture(mbeir / f"mbeir_images/cirr_images/dev/{letter}.jpg")
    command = ["eval-set", "import", "circus", str(source), str(tmp_path / "set")]
    done = CliRunner().invoke(main, [*command, "--category", "cirr", "--images", str(mbeir)])
    assert done.exit_code == 0, done.output
    made = EvalSet.load(tmp_path / "set")
    assert [q.query_id for q in made.queries] == ["8:5", "8:6"]
    assert (made.qrels["8:5"], len(made.images)) == ({"8:2": 0, "8:1": 1}, 3)
    assert made.missing() == []
    # CIRCO's paths are those of another machine.
    query = {
        "query_id": "circo_q_test_134",
        "query_text": "has a window",
        "query_img_path": "<path_to_user_home>/CIRCO/COCO2017_unlabeled/unlabeled2017/01.jpg",
        "pos_cand_list": ["circo_img_1"],
        "gt_cand_list": ["circo_img_1", "circo_img_2"],
    }
    label = source / "shortcut_free_subsets/circo/shortcut_free"
    write(label / "mbeir_circo_task7_test_multimodal.jsonl", json.dumps(query))
    rows = [
        {
            "cand_id": f"circo_img_{i}",
            "img_path": f"/data/COCO2017_unlabeled/unlabeled2017/0{i}.jpg",
        }
        for i in (1, 2)
    ]
    write(mbeir / "cand_pool/circo_task7.jsonl", "\n".join(map(json.dumps, rows)))
    for i in (1, 2):
        picture(mbeir / f"COCO2017_unlabeled/unlabeled2017/0{i}.jpg")
    options = {"category": "circo", "split": "shortcut_free", "images": mbeir}
    circo = import_eval_set("circus", source, tmp_path / "circo", **options)
    assert circo.missing() == []
    assert circo.relevant("circo_q_test_134") == {"circo_img_1", "circo_img_2"}
    assert circo.queries[0].metadata == {"target": "circo_img_1"}
    write(mbeir / "cand_pool/circo_task7.jsonl", json.dumps(rows[0] | {"img_path": "../../x.jpg"}))
    with pytest.raises(EvalSetError, match="'img_path' leaves"):
        import_eval_set("circus", source, tmp_path / "circo", **options)
    with pytest.raises(EvalSetError, match="no split 'val'; use one of validated"):
        import_eval_set("circus", source, tmp_path / "circo", split="val")
