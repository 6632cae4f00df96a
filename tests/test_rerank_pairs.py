"""Cross-encoders of sentence-transformers as rerankers: the library's own scores, in its order."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

from mmrag import Query, load_reranker
from mmrag.encoders.encoder import Encoder
from mmrag.errors import CheckpointError
from mmrag.rerank.reranker import Reranker
from mmrag.types import Hit, SearchResult

from .tiny_models import make_text_reranker, make_vl_reranker


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_vl_reranker(tmp_path_factory.mktemp("vl"))
    shutil.rmtree(folder / "made")
    return folder


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text_reranker(tmp_path_factory.mktemp("text"))


@pytest.fixture
def result(folder: Path) -> SearchResult:
    paths = sorted(folder.rglob("*.png"))
    hits = [
        Hit(
            i + 1,
            path.name,
            str(path),
            1 - i / 100,
            i + 1,
            f"thing number {i}" if i % 3 else "",
            {},
        )
        for i, path in enumerate(paths)
    ]
    return SearchResult(Query(str(paths[7]), "the same in green"), hits, {"search": 1.0})


def load(folder: Path, depth: int | None = 12) -> Reranker:
    return load_reranker(f"ce:{folder}", device="cpu", precision="fp32", depth=depth)


def test_pictures_and_texts_are_scored_together(seeing: Path, result: SearchResult) -> None:
    library = CrossEncoder(str(seeing), device="cpu")
    query = {"image": Image.open(result.query.image_path or ""), "text": result.query.text}
    expected = {}
    for hit in result.hits:
        found = {"image": Image.open(hit.path)} | ({"text": hit.text} if hit.text else {})
        expected[hit.image_id] = float(library.predict([(query, found)])[0])
    reranker = load(seeing)
    told: list[int] = []
    outcomes = reranker.rerank_many([result, result], lambda place, _: told.append(place))
    for outcome in outcomes:
        assert {h.image_id: h.score for h in outcome.hits} == pytest.approx(expected, abs=1e-5)
        scores = [h.score for h in outcome.hits]
        assert scores == sorted(scores, reverse=True)
        assert outcome.rerank is not None
        assert outcome.rerank.status == "complete"
        assert outcome.rerank.details["pairs"] == 12
        assert outcome.rerank.details["memory_mb"] > 0
        assert outcome.timings_ms["rerank"] > 0
    assert sorted(told) == [0, 1]
    assert reranker.fingerprint == load(seeing, 3).fingerprint != ""


def test_what_cannot_be_read_stays_behind(
    seeing: Path, result: SearchResult, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = replace(result.hits[0], path=str(tmp_path / "broken.png"))
    outcome = load(seeing).rerank(replace(result, hits=[broken, *result.hits[1:4]]))
    assert outcome.hits[-1].image_id == broken.image_id
    assert outcome.rerank is not None
    assert outcome.rerank.status == "repaired"
    assert "cannot be scored" in outcome.rerank.problems[0]
    blind = replace(result, query=Query(str(tmp_path / "broken.png"), "red"))
    outcome = load(seeing).rerank(blind)
    assert outcome.rerank is not None
    assert outcome.rerank.status == "failed"
    assert [h.image_id for h in outcome.hits] == [h.image_id for h in result.hits]


def test_models_without_pictures_read_descriptions(reading: Path, result: SearchResult) -> None:
    library = CrossEncoder(str(reading), device="cpu")
    outcome = load(reading).rerank(result)
    pairs = {h.image_id: (result.query.text, h.text) for h in result.hits if h.text}
    expected = {name: float(library.predict([pair])[0]) for name, pair in pairs.items()}
    scored = outcome.hits[: len(expected)]
    assert {h.image_id: h.score for h in scored} == pytest.approx(expected, abs=1e-5)
    assert outcome.rerank is not None
    assert outcome.rerank.problems == ("4 of 12 hits have no description",)
    outcome = load(reading).rerank(replace(result, query=Query(result.query.image)))
    assert outcome.rerank is not None
    assert "reads only texts" in outcome.rerank.problems[0]


def test_depth_is_what_fits_a_second_and_is_kept(reading: Path) -> None:
    reranker = load(reading, None)
    assert reranker.depth is not None
    assert 2 <= reranker.depth <= 100
    assert f"the first {reranker.depth} hits are reranked" in reranker.notices()[0]
    assert load(reading, None).depth == reranker.depth
    assert not load(reading, 5).notices()


def test_wrong_models_are_one_sentence(reading: Path, tiny: Encoder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="`mmrag download ce:me/model` brings them"):
        load_reranker("ce:me/model")
    for file in reading.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(reading / "model.safetensors")
    state.pop("classifier.weight")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing classifier\.weight \(1\)"):
        load(tmp_path)
