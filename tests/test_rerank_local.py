"""Rerankers that need no key: a second encoder, and a cross-encoder for texts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmrag import MmragError, Query, list_rerankers, load_reranker
from mmrag.encoders.encoder import Encoder
from mmrag.errors import CheckpointError
from mmrag.rerank import cross_encoder as cross_encoders
from mmrag.rerank.embeddings import EmbeddingCache
from mmrag.rerank.reranker import Reranker
from mmrag.rerank.shuffles import kendall_tau, shuffle_agreement
from mmrag.types import Hit, SearchResult, Usage

from .vision_fixtures import ids
from .vision_server import Scene, VisionServer


@pytest.fixture
def result(folder: Path) -> SearchResult:
    paths = sorted(folder.rglob("*.png"))
    hits = [
        Hit(i + 1, path.name, str(path), 1 - i / 100, i + 1, f"thing number {i}", {})
        for i, path in enumerate(paths)
    ]
    return SearchResult(Query(str(paths[7]), "the same in green"), hits, {"search": 1.0})


def expected(encoder: Encoder, result: SearchResult) -> dict[str, float]:
    query = encoder.encode([result.query.image], [result.query.text])[0]
    vectors = encoder.encode([hit.path for hit in result.hits])
    scores = zip(result.hits, vectors @ query, strict=True)
    return {hit.image_id: float(score) for hit, score in scores}


def test_a_second_encoder_orders_by_its_own_cosine(
    result: SearchResult, tiny: Encoder, tiny_folder: Path
) -> None:
    reranker = load_reranker(f"encoder:{tiny_folder}", device="cpu", precision="fp32")
    done = reranker.rerank(result)
    scores = expected(tiny, result)
    assert ids(done) == sorted(scores, key=lambda i: -scores[i])
    assert {hit.image_id: hit.score for hit in done.hits} == pytest.approx(scores, abs=1e-5)
    assert [hit.rank for hit in done.hits] == list(range(1, 13))
    assert {hit.image_id: hit.retrieval_rank for hit in done.hits} == {
        hit.image_id: hit.rank for hit in result.hits
    }
    assert done.rerank is not None
    assert (done.rerank.status, done.rerank.usage.requests) == ("complete", 0)
    assert done.timings_ms["rerank"] > 0
    assert load_reranker(**reranker.configuration, encoder=tiny).configuration


class Counting(Encoder):
    """The same encoder, counting the images that it computes."""

    images = 0

    def encode_stream(self, items, load, batch_size=32, workers=None):  # type: ignore[no-untyped-def]
        for item, outcome in super().encode_stream(items, load, batch_size, workers):
            self.images += isinstance(item, str)
            yield item, outcome


def test_candidates_are_embedded_once(result: SearchResult, tiny: Encoder) -> None:
    counting = Counting(tiny.model, tiny.info)
    first = load_reranker("encoder:x", encoder=counting).rerank_many([result, result])
    assert counting.images == 12
    again = load_reranker("encoder:x", encoder=counting).rerank(result)
    assert counting.images == 12, "from the disk"
    assert ids(again) == ids(first[0]) == ids(first[1])
    path = Path(result.hits[0].path)
    path.write_bytes(Path(result.hits[1].path).read_bytes())
    reranker = load_reranker("encoder:x", encoder=counting)
    changed = reranker.rerank(result)
    assert counting.images == 12, "the new content is known under another name"
    scores = {hit.image_id: hit.score for hit in changed.hits}
    assert scores[result.hits[0].image_id] == scores[result.hits[1].image_id]
    load_reranker("encoder:x", encoder=counting, cache=False).rerank(result)
    assert counting.images == 12 + 11
    other = Counting(tiny.model, replace(tiny.info, fingerprint="another"))
    load_reranker("encoder:x", encoder=other).rerank(result)
    assert other.images == 11, "another encoder, another vector"


def test_vectors_on_disk_are_plain_bytes(result: SearchResult, tiny: Encoder) -> None:
    cache = EmbeddingCache(tiny)
    vectors = cache.embed([hit.path for hit in result.hits])
    with sqlite3.connect(cache.path) as connection:
        rows = connection.execute("SELECT encoder, vector FROM embeddings").fetchall()
    assert len(rows) == 12
    assert {row[0] for row in rows} == {tiny.info.fingerprint}
    stored = {row[1] for row in rows}
    assert stored == {np.asarray(v, "<f4").tobytes() for v in vectors.values()}
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE embeddings SET vector = ?", (b"broken",))
    healed = EmbeddingCache(tiny).embed([hit.path for hit in result.hits])
    for path, vector in vectors.items():
        np.testing.assert_array_equal(healed[path], vector)


def test_several_at_once_share_the_embeddings(folder: Path, tiny: Encoder) -> None:
    paths = [str(path) for path in sorted(folder.rglob("*.png"))]

    def embed(_: int) -> list[str]:
        return list(EmbeddingCache(tiny).embed(paths))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(embed, range(8))) == [paths] * 8
    with sqlite3.connect(EmbeddingCache(tiny).path) as connection:
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone() == (12,)


def test_unreadable_candidates_go_behind(result: SearchResult, tiny: Encoder) -> None:
    Path(result.hits[0].path).write_bytes(b"no picture")
    Path(result.hits[1].path).unlink()
    reranker = load_reranker("encoder:x", encoder=tiny)
    done = reranker.rerank(result)
    assert ids(done)[-2:] == ids(result)[:2]
    assert done.hits[-2].score == result.hits[0].score
    assert done.rerank is not None
    assert done.rerank.status == "repaired"
    assert "not an image" in done.rerank.problems[0]
    assert "file not found" in done.rerank.problems[1]
    lost = reranker.rerank(replace(result, hits=result.hits[:2]))
    assert ids(lost) == ids(result)[:2]
    assert lost.rerank is not None
    assert lost.rerank.status == "failed"


def test_depth_and_order_of_reports(result: SearchResult, tiny: Encoder) -> None:
    reranker = load_reranker("encoder:x", encoder=tiny, depth=5)
    done = reranker.rerank(result)
    scores = expected(tiny, replace(result, hits=result.hits[:5]))
    assert ids(done)[:5] == sorted(scores, key=lambda i: -scores[i])
    assert ids(done)[5:] == ids(result)[5:]
    told: list[int] = []
    results = [result] * 40
    outcomes = reranker.rerank_many(results, lambda i, outcome: told.append(i))
    assert told == list(range(40))
    assert all(ids(outcome) == ids(done) for outcome in outcomes)
    empty = reranker.rerank(replace(result, hits=[]))
    assert empty.hits == []


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "mug", "lamp", "a", "thing"]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained cross-encoder, as the hub holds them."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("cross-encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
    )
    model = BertForSequenceClassification(config)
    # Far from zero, so that texts differ in their score.
    torch.nn.init.normal_(model.classifier.weight, std=3.0)
    model.save_pretrained(folder)
    return folder


def test_a_cross_encoder_orders_by_text(result: SearchResult, cross_encoder: Path) -> None:
    from transformers import BertForSequenceClassification, BertTokenizerFast

    texts = ["a red mug", "a green mug", "red lamp", "", "green thing", "a a a lamp"]
    hits = [replace(hit, text=text) for hit, text in zip(result.hits[:6], texts, strict=True)]
    result = replace(result, query=Query(result.query.image, "green mug"), hits=hits)
    done = load_reranker(f"bge-reranker:{cross_encoder}", device="cpu").rerank(result)
    tokenizer = BertTokenizerFast.from_pretrained(cross_encoder)
    model = BertForSequenceClassification.from_pretrained(cross_encoder).eval()
    scores = {}
    for hit in hits:
        if hit.text:
            with torch.inference_mode():
                logits = model(**tokenizer("green mug", hit.text, return_tensors="pt")).logits
            scores[hit.image_id] = float(torch.sigmoid(logits))
    assert len({round(score, 4) for score in scores.values()}) == 5, "the texts differ in score"
    assert ids(done) == [*sorted(scores, key=lambda i: -scores[i]), hits[3].image_id]
    got = {hit.image_id: hit.score for hit in done.hits if hit.text}
    assert got == pytest.approx(scores, abs=1e-4)
    assert done.rerank is not None
    assert done.rerank.status == "repaired"
    assert done.rerank.problems == ("1 of 6 hits have no description",)
    silent = replace(result, query=Query(result.query.image))
    kept = load_reranker(f"bge-reranker:{cross_encoder}", device="cpu").rerank(silent)
    assert ids(kept) == ids(result)
    assert kept.rerank is not None
    assert kept.rerank.status == "failed"
    assert "has no text" in kept.rerank.problems[0]


def test_a_cross_encoder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_reranker(f"bge-reranker:{tmp_path}", device="cpu")
    with pytest.raises(CheckpointError, match="cannot be loaded: name a folder"):
        load_reranker("bge-reranker:/nowhere/at/all", device="cpu")


def test_a_cross_encoder_computes_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def made(model: str, **options: object) -> str:
        given.update(options, model=model)
        return "made"

    monkeypatch.setattr("FlagEmbedding.FlagReranker", made)
    assert cross_encoders._load("me/ranks", "cuda:1", half=True) == "made"
    assert given == {
        "model": "me/ranks",
        "use_fp16": True,
        "devices": ["cuda:1"],
        "trust_remote_code": False,
    }


def test_names() -> None:
    assert [d.name for d in list_rerankers()] == [
        "vision",
        "gpt-4o",
        "openai:MODEL",
        "encoder:NAME",
        "bge-reranker",
        "ce:NAME_OR_FOLDER",
    ]
    assert all(d.description for d in list_rerankers())
    for name in ("encoder", "encoder:", "ce:", "openai:", "gpt", ""):
        with pytest.raises(MmragError, match="Unknown reranker"):
            load_reranker(name)
    with pytest.raises(MmragError, match="Unknown encoder 'nope'"):
        load_reranker("encoder:nope")


def test_equal_scores_keep_the_order_of_retrieval(result: SearchResult, tiny: Encoder) -> None:
    for hit in result.hits[3:9]:
        Path(hit.path).write_bytes(Path(result.hits[3].path).read_bytes())
    done = load_reranker("encoder:x", encoder=tiny).rerank(result)
    copies = [hit.retrieval_rank for hit in done.hits if 4 <= hit.retrieval_rank <= 9]
    assert copies == [4, 5, 6, 7, 8, 9]


class Stubborn:
    """Keeps the order that it is shown: as sensitive as a reranker can be."""

    name = "stubborn"
    configuration: dict[str, object] = {}  # noqa: RUF012

    def rerank(self, result: SearchResult) -> SearchResult:
        return result

    def rerank_many(self, results, on_done=None):  # type: ignore[no-untyped-def]
        for place, one in enumerate(results):
            if on_done is not None:
                on_done(place, one)
        return list(results)


def test_what_is_counted_of_the_shuffles(result: SearchResult) -> None:
    told: list[SearchResult] = []
    seven, one = (replace(result, hits=result.hits[:n]) for n in (7, 1))
    report = shuffle_agreement(
        Stubborn(),  # type: ignore[arg-type]
        [seven, one, replace(result, hits=[])],
        4,
        seed=3,
        on_done=lambda place, found: told.append(found),
    )
    assert report.shuffles == 4
    assert [[hit.rank for hit in one.hits] for one in told] == [[1, 2, 3, 4, 5, 6, 7], [1], []] * 4
    orders = [ids(shown) for shown in told[::3]]
    assert all(sorted(order) == sorted(ids(seven)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    pairs = [(a, b) for i, a in enumerate(orders) for b in orders[i + 1 :]]
    tau = np.mean([kendall_tau(a, b) for a, b in pairs])
    assert report.taus == (pytest.approx(tau), None, None)
    assert report.tau == pytest.approx(tau)
    assert report.same_best == pytest.approx(np.mean([a[0] == b[0] for a, b in pairs]))
    firsts = [order[0] for order in orders]
    assert report.best == (max(firsts, key=firsts.count), ids(one)[0], None)
    assert (report.statuses, report.usage) == ({}, Usage())
    other = shuffle_agreement(Stubborn(), [seven], 4, seed=4)  # type: ignore[arg-type]
    assert other.taus != report.taus[:1]
    assert shuffle_agreement(Stubborn(), [], 2).tau is None  # type: ignore[arg-type]


def test_agreement_between_shuffles(result: SearchResult, tiny: Encoder) -> None:
    from scipy.stats import kendalltau

    firm: Reranker = load_reranker("encoder:x", encoder=tiny)

    report = shuffle_agreement(firm, [result, result], 5)
    assert (report.tau, report.same_best) == (1, 1)
    assert report.taus == (1, 1)
    assert report.statuses == {"complete": 10}
    assert report.best[0] == firm.rerank(result).hits[0].image_id
    stubborn = shuffle_agreement(Stubborn(), [result] * 30, 6)  # type: ignore[arg-type]
    assert stubborn.tau is not None
    assert abs(stubborn.tau) < 0.1, "random orders agree by chance only"
    assert stubborn.same_best is not None
    assert stubborn.same_best < 0.2
    again = shuffle_agreement(Stubborn(), [result] * 30, 6)  # type: ignore[arg-type]
    assert again == stubborn, "the seed makes the orders"
    single = shuffle_agreement(firm, [replace(result, hits=result.hits[:1])], 3)
    assert (single.tau, single.same_best) == (None, None)
    two = shuffle_agreement(firm, [replace(result, hits=result.hits[:2])], 4)
    assert (two.tau, two.same_best) == (1, 1)
    assert kendall_tau("ab", "ba") == -1
    with pytest.raises(MmragError, match="at least 2"):
        shuffle_agreement(firm, [result], 1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.permutation(9), rng.permutation(9)
        names = kendall_tau([str(i) for i in a], [str(i) for i in b])
        assert names == pytest.approx(kendalltau(np.argsort(a), np.argsort(b)).statistic)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[VisionServer]:
    with VisionServer() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        yield running


def test_dropping_candidates_shows_in_the_agreement(
    server: VisionServer, result: SearchResult
) -> None:
    """A model that names only one candidate leaves the rest to the order it was shown."""
    server.always = Scene(text="Ranked list: [0]")
    report = shuffle_agreement(load_reranker("gpt-4o"), [result], 8)
    assert report.tau is not None
    assert report.tau < 0.5
    assert report.statuses == {"repaired": 8}
    assert report.usage.requests == server.requests == 8
    assert not os.environ.get("AZURE_OPENAI_ENDPOINT")
