"""Results show themselves in a notebook; whatever data holds stays text."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tqdm.auto
import tqdm.std
from PIL import Image

from mmrag import notebook, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.galleries.gallery import Gallery
from mmrag.metrics.metrics import score_rankings
from mmrag.metrics.summary import summarise
from mmrag.runs.compare import compare_runs
from mmrag.runs.run import EvalSetRef, Ranked, Run
from mmrag.system.jobs import Progress
from mmrag.types import GalleryImage, Hit, Query, RerankReport, SearchResult

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def eval_set(tmp_path: Path) -> EvalSet:
    images = []
    for name in ("red", "green", "blue"):
        Image.new("RGB", (40, 30), name).save(tmp_path / f"{name}.png")
        images.append(GalleryImage(name, str(tmp_path / f"{name}.png"), HOSTILE))
    queries = [
        EvalQuery("1", images[0].path, f"{HOSTILE} in green", category="composed"),
        EvalQuery("2", None, "the blue one", category="text"),
    ]
    qrels = {"1": {"green": 1, "red": 0}, "2": {"blue": 2}}
    return EvalSet("three colours", tmp_path, tmp_path, images, queries, qrels)


def run_of(eval_set: EvalSet, name: str, rankings: dict[str, list[str]]) -> Run:
    ref = EvalSetRef(eval_set.name, str(eval_set.folder), "1", "hash", queries=2)
    run = Run(name, name, ref, "complete", "2026-01-01T00:00:00+00:00")
    run.rankings["retrieval"] = {
        query_id: Ranked(query_id, ids, [0.5] * len(ids)) for query_id, ids in rankings.items()
    }
    run.scores["retrieval"] = score_rankings(rankings, eval_set, ["hit_rate@1"])
    run.summaries["retrieval"] = summarise(run.scores["retrieval"])
    run.notes.append(HOSTILE)
    return run


def test_hits(eval_set: EvalSet) -> None:
    hits = [
        Hit(rank, one.image_id, one.path, 0.5, rank, one.text, {"price": rank})
        for rank, one in enumerate(eval_set.images, 1)
    ]
    query = Query(eval_set.images[0].path, HOSTILE)
    report = RerankReport("gpt-4o", "repaired")
    result = SearchResult(query, hits, {"total": 1.0}, HOSTILE, report)
    page = result._repr_html_()
    assert page.count("<img") == 4
    assert "Reranked by gpt-4o: repaired." in page
    assert "<script" not in page
    frame = result.to_pandas()
    assert list(frame["image_id"]) == ["red", "green", "blue"]
    assert frame["metadata"][2] == {"price": 3}
    assert list(SearchResult(query, [], {}).to_pandas()) == list(frame), "columns without hits, too"
    gone = SearchResult(query, [Hit(1, "x", "nowhere.png", 0.5, 1, "", {})], {})._repr_html_()
    assert gone.count("<img") == 1, "a picture that is gone leaves its name"


def test_galleries_and_eval_sets(eval_set: EvalSet, folder: Path) -> None:
    page = open_gallery(folder)._repr_html_()
    assert "12 pictures" in page
    assert page.count("<img") == 12
    page = Gallery(list(eval_set.images), [])._repr_html_()
    assert page.count("<img") == 3
    assert "<script" not in page
    page = eval_set._repr_html_()
    assert "three colours: 2 queries over 3 pictures" in page
    assert "<script" not in page
    frame = eval_set.to_pandas().set_index("query_id")
    assert list(frame["relevant"]) == [["green"], ["blue"]]


def test_runs_and_comparisons(eval_set: EvalSet) -> None:
    worse = run_of(eval_set, "worse", {"1": ["red", "green"], "2": ["blue"]})
    better = run_of(eval_set, "better", {"1": ["green"], "2": ["blue"]})
    page = worse._repr_html_()
    assert "<td>hit_rate@1</td><td>0.500</td>" in page
    assert "<script" not in page
    assert list(worse.to_pandas()["hit_rate@1"]) == [0.0, 1.0]
    comparison = compare_runs([worse, better])
    page = comparison._repr_html_()
    assert "<td>+0.500</td>" in page
    assert "<script" not in page
    (difference,) = comparison.to_pandas().to_dict("records")
    assert (difference["from"], difference["to"], difference["delta"]) == ("worse", "better", 0.5)


def test_encoders(tiny: Encoder) -> None:
    page = tiny._repr_html_()
    assert f"<td>{tiny.info.dim}</td>" in page
    assert page == tiny.info._repr_html_()
    assert "<script" not in replace(tiny.info, name=HOSTILE, licence=HOSTILE)._repr_html_()


def test_bars_are_the_notebooks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of `tqdm.auto`, which a notebook draws as a widget, for each stage."""
    assert notebook.tqdm is tqdm.auto.tqdm
    made: list[tqdm.std.tqdm[Any]] = []

    def bar(**options: Any) -> Any:
        made.append(tqdm.std.tqdm(**options, file=io.StringIO()))
        return made[-1]

    monkeypatch.setattr(notebook, "tqdm", bar)
    show = notebook.StageBars()
    for stage, done in (("searching", 1), ("searching", 4), ("reranking", 2), ("reranking", 4)):
        show(Progress(stage, done, 4))
    assert [(one.desc, one.n, one.total) for one in made] == [
        ("searching", 4, 4),
        ("reranking", 4, 4),
    ]
