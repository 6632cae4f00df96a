"""Evaluations with vision models: what they will take, several at once, repeated, other prompts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmrag import ImageIndex, MmragError, evaluate, load_reranker, open_gallery
from mmrag.cli import run as run_command
from mmrag.cli.evaluate_many import choices, expected_lines, many_json, many_lines
from mmrag.cli.rerank_options import RerankChoice
from mmrag.cli.tables import run_lines
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.expected import expect, expect_answers, expect_rewriting, grid_request
from mmrag.evaluation.forecast import estimate
from mmrag.evaluation.question_answering import Answering
from mmrag.rerank.prompt_files import DEFAULT_PROMPT, FOLDER, load_prompt
from mmrag.rerank.ranking_prompt import Look, ranking_prompt
from mmrag.runs.run import EvalSetRef, Run
from mmrag.runs.store import RunStore
from mmrag.search.rewrite import load_rewriter
from mmrag.search.searcher import Searcher
from mmrag.types import Hit, Usage
from mmrag.vision.model import VisionModel
from mmrag.vision.models import find_model

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .helpers import models
from .vision_fixtures import colours as shades
from .vision_fixtures import ids, nearest_first, paint, result_of
from .vision_server import Scene, VisionServer


def test_what_it_will_take_is_told_without_asking(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    def told(name: str, **options: object):  # type: ignore[no-untyped-def]
        reranker = load_reranker(name, **options)  # type: ignore[arg-type]
        return expect(
            colours,
            reranker,
            rerank_k=5,
            queries=37,
            encoder=searcher.encoder.info.name,
            store=store,
        )

    with RunStore() as store:
        plain, luna, thought = (
            told("gpt-4o"),
            told("openai:gpt-6-luna"),
            told("openai:gpt-6-luna", effort="medium"),
        )
        assert server.requests == 0
        assert (plain.queries, plain.requests, plain.timed_runs) == (37, 37, 0)
        assert thought.completion_tokens > 10 * luna.completion_tokens
        searcher.reranker = load_reranker("gpt-4o")
        run = evaluate(colours, searcher, 5, rerank_k=5, store=store)
        assert plain.prompt_tokens == pytest.approx(run.usage.prompt_tokens, rel=0.2)
        assert not any("than estimated" in note for note in run.notes)
        assert told("gpt-4o").timed_runs == 1
        stages = told("encoder:demo@8,gpt-4o@5")
        assert (stages.requests, stages.prompt_tokens) == (37, plain.prompt_tokens)
        batch = told("gpt-4o", batch=True)
        assert batch.cost_usd == pytest.approx((plain.cost_usd or 0) / 2)
        answers = expect_answers(colours, Answering(VisionModel("gpt-4o"), VisionModel("gpt-4o")))
        assert (answers.queries, answers.requests) == (2, 8), "with and without, and the judge's"
        assert answers.cost_usd
        assert server.requests == run.usage.requests, "nothing but the evaluation asked"
    lines = list(expected_lines([plain, replace(luna, cost_usd=None), batch]))
    assert lines[3].endswith("within a day")
    assert "no price known" in lines[2]
    assert f"{plain.prompt_tokens:,}" in lines[1]


def test_what_it_will_take_by_hand(
    colours: EvalSet,  # noqa: F811
    server: VisionServer,
) -> None:
    """Tokens of prompts as they would be sent, at 2.50 and 10 dollars a million."""
    images = colours.images
    hits = [Hit(i, one.image_id, one.path, 0, i, one.text, {}) for i, one in enumerate(images)]
    few = colours.with_queries(colours.queries[:2])
    asked = [query.query() for query in few.queries]
    facts = find_model("gpt-4o")

    def mean(tokens: list[int]) -> int:
        return math.ceil(sum(tokens) / len(tokens))

    def shown(first: int) -> int:
        prompts = [ranking_prompt(one, hits[:first], look) for one in asked]
        return mean([one.likely_tokens(facts.image, "high") for one in prompts])

    look = load_reranker("gpt-4o").look  # type: ignore[attr-defined]
    with RunStore("sqlite://") as store:
        named: dict[str, Any] = {"queries": 37, "encoder": "x", "store": store}
        for name, depths in (("gpt-4o", [5]), ("gpt-4o@4,gpt-4o@2", [4, 2])):
            reranker = load_reranker(name, concurrency=2)
            told = expect(few, reranker, rerank_k=5, times=3, **named)
            assert told.requests == 3 * 37 * len(depths)
            assert told.prompt_tokens == 3 * 37 * sum(map(shown, depths))
            assert told.completion_tokens == 3 * 37 * sum(60 + 2 * one for one in depths)
            cost = (2.5 * told.prompt_tokens + 10 * told.completion_tokens) / 1e6
            assert told.cost_usd == pytest.approx(cost)
            seconds = told.requests * 1.5 + told.completion_tokens / 60
            assert told.seconds == pytest.approx(seconds / 2), "two at a time"
        windows = load_reranker("gpt-4o", window=10, stride=5, picture_size=64)
        told = expect(few, windows, rerank_k=90, **named)
        assert (told.requests, told.completion_tokens) == (3 * 37, 3 * 37 * 80), "20 pictures"
        none = expect(few, None, rerank_k=5, **named)
        assert (none.requests, none.cost_usd, none.seconds) == (0, 0, None)
    rewriter = load_rewriter("openai:gpt-4o", concurrency=3)
    size = mean([rewriter.request(one).likely_tokens(facts.image, "high") for one in asked])
    told = expect_rewriting(few, rewriter, 12)
    assert (told.reranker, told.queries, told.requests) == ("rewriting by openai:gpt-4o", 12, 12)
    assert (told.prompt_tokens, told.completion_tokens) == (12 * size, 12 * 60)
    assert told.cost_usd == pytest.approx(12 * (2.5 * size + 10 * 60) / 1e6)
    assert told.seconds == pytest.approx(12 * 2.5 / 3)
    assert told.timed_runs == 0
    assert server.requests == 0


@pytest.mark.parametrize(("described", "added"), [(0, 0), (10, 13), (401, 502)])
def test_the_size_of_a_panorama_before_there_is_one(described: int, added: int) -> None:
    """Four characters are a token; five candidates, and the query's picture beside them."""
    facts = find_model("gpt-4o")
    look = Look("grid", load_prompt(DEFAULT_PROMPT), facts.image)
    request = grid_request(facts, 5, described, 1000)
    assert request.prompt == 450 + added + facts.image.tokens(*look.size(5, 1, 1000))
    assert request.completion == 70
    assert grid_request(find_model("gpt-6-luna"), 5, 0, 2000).prompt > request.prompt - added


def test_an_estimate_from_earlier_runs_by_hand() -> None:
    """10 queries of 0.3 s, 0.2 s of it reranking, and 20 further searches, within 15 s."""
    made = Run(
        "earlier",
        "earlier",
        EvalSetRef("set", "", "1", "labels"),
        "complete",
        "2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:15+00:00",
        config={"encoder": {"name": "e"}, "reranker": {"name": "r"}, "rerank_k": 10},
        timings_ms={"rerank": {"mean": 200.0}, "total": {"mean": 300.0}},
        usage=Usage(cost_usd=0.5),
        finished_queries=10,
        ablations={"modality": {"queries": 8}, "index": {"queries": 4}, "precision": {}},
    )
    besides = 15 - 10 * 0.3 - 20 * 0.1
    with RunStore("sqlite://") as store:
        store.start(made)
        store.save(made)
        for options, seconds in (
            ({}, 100 * 0.3 + besides),
            ({"rerank_k": 20}, 100 * 0.5 + besides),
            ({"again": 30}, 100 * 0.3 + 30 * 0.1 + besides),
        ):
            found = estimate(store, "e", "r", 100, **options)
            assert found is not None
            assert found.seconds == pytest.approx(seconds)
            assert found.runs == 1
            assert found.cost_usd == pytest.approx(5)
        assert estimate(store, "e", None, 100) is None


def test_tokens_that_are_far_off_are_spoken_of(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    own = tmp_path / "models.json"
    own.write_text('{"models": {"gpt-4o": {"image": {"flat": 5000}}}}')
    monkeypatch.setenv("MMRAG_MODELS", str(own))
    searcher.reranker = load_reranker("gpt-4o")
    run = evaluate(colours, searcher, 5, rerank_k=5, limit=3)
    assert any("fewer prompt tokens than estimated" in note for note in run.notes)


def test_several_rerankers_are_one_table(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    runs = []
    for name in (None, "gpt-4o", "openai:gpt-6-luna"):
        searcher.reranker = load_reranker(name) if name else None
        retrieved = runs[0].rankings["retrieval"] if runs else None
        rerank_k = 5 if name else None
        runs.append(evaluate(colours, searcher, 20, rerank_k=rerank_k, retrieved=retrieved))
    assert runs[1].rankings["retrieval"] == runs[0].rankings["retrieval"], "made once"
    lines = list(many_lines(runs))
    head = lines[0].split()
    assert head[0] == "hit_rate@1"
    assert "R@10" in head, "recall, whatever the primary metric"
    assert " ".join(head[-7:]) == "seconds a query USD per 1,000 queries"
    assert [line.split()[1] for line in lines[1:4]] == [
        "none",
        "openai:gpt-4o",
        "openai:gpt-6-luna",
    ]
    found = many_json(runs)
    assert [pair["a"] for pair in found["pairs"]] == [0, 0], "each against no reranking"
    plain, big, small = found["rerankers"]
    assert plain["usd_per_1000_queries"] == 0 < small["usd_per_1000_queries"]
    assert big["usd_per_1000_queries"] == pytest.approx(1000 * (runs[1].usage.cost_usd or 0) / 37)


def test_the_command_says_what_failed_first_and_exits_with_1(
    colours: EvalSet,  # noqa: F811
    tiny_folder: Path,
    server: VisionServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.script.extend(scene for _ in range(4) for scene in (Scene(text="Nice!"), Scene()))
    command = ["evaluate", str(colours.folder), "--encoder", str(tiny_folder), "-k", "10"]
    command += ["--precision", "fp32", "--rerank-k", "5", "--concurrency", "1", "--json"]
    assert run_command([*command, "--rerank", "none,gpt-4o"]) == 1
    told = capsys.readouterr()
    plain, reranked = json.loads(told.out)["runs"]
    assert (plain["warning"], plain["rerank"]) == (None, {})
    assert reranked["rerank"]["failed"] == 4
    assert reranked["warning"].startswith("Reranking failed for 4 of 37 queries")
    assert reranked["warning"] in told.err
    (pair,) = json.loads(told.out)["comparisons"]["colours"]["pairs"]
    assert pair["queries"] == 36
    assert run_command([*command, "--rerank", "vision", "--dry-run"]) == 0
    (expected,) = json.loads(capsys.readouterr().out)["dry_run"]["colours"]
    assert (expected["reranker"], expected["requests"]) == ("openai:gpt-4o", 37)
    assert run_command([*command, "--rerank", "vision", "--repeat", "3", "--dry-run"]) == 0
    (expected,) = json.loads(capsys.readouterr().out)["dry_run"]["colours"]
    assert expected["requests"] == 3 * 37


def test_ask_says_what_a_failure_came_to(
    folder: Path,
    tiny: Encoder,
    tiny_folder: Path,
    server: VisionServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ImageIndex.open(encoder=tiny) as default:
        default.add(open_gallery(folder))
    ask = ["ask", "What is it?", "--text", "a mug", "--encoder", str(tiny_folder)]
    ask += ["--precision", "fp32", "--model", "gpt-4o"]
    models(server, "gpt-4o", gpt_4o=30)
    server.always = Scene(text="It is a very nice mug", stall=20)
    hasty = [*ask, "--timeout", "0.5"]
    assert run_command(hasty) == 1
    told = capsys.readouterr()
    assert "did not answer in time; --timeout gives more" in told.err
    assert "(gpt-4o: 1 request, 0 + 0 tokens, $0.01" in told.out
    assert "at most; 1 unanswered request may have been charged)" in told.out
    assert run_command([*hasty, "--json"]) == 1
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert "did not answer in time" in document["problem"]
    assert document["usage"]["unanswered"] == 1
    assert document["usage"]["cost_usd"] > 0.01
    server.always = Scene(status=404, error={"message": "gone"})
    assert run_command(ask) == 1
    told = capsys.readouterr().err
    assert "Note: gpt-4o leaves" in told
    assert "in 30 days; its successor is gpt-6-luna (openai:gpt-6-luna)." in told
    assert "Its successor is gpt-6-luna: use openai:gpt-6-luna." in told


def test_names_of_several() -> None:
    asked = dict.fromkeys(RerankChoice.__dataclass_fields__)
    one = RerankChoice(**asked)  # type: ignore[arg-type]

    def names(given: str | None) -> list[str | None]:
        return [choice.rerank for choice in choices(replace(one, rerank=given))]

    assert names(None) == [None]
    assert names("none,vision, encoder:demo,vision") == [None, "vision", "encoder:demo"]
    assert names("vision@100,encoder:demo@20") == ["vision@100,encoder:demo@20"]


def test_repetitions_give_a_spread(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    searcher.reranker = load_reranker("gpt-4o", concurrency=1)
    again = Scene(text='{"ranking": [4, 3, 2, 1, 0], "reason": "r"}')
    first = evaluate(colours, searcher, 20, rerank_k=5)
    asked = server.requests
    server.script.extend([again] * asked)
    run = evaluate(colours, searcher, 20, rerank_k=5, ablations=Ablations(repeat=3), resume=False)
    assert server.requests == 3 * asked, "the first answers are in the cache, the others apart"
    found = run.ablations["repeat"]
    hits = found["metrics"]["hit_rate@1"]
    assert hits["max"] == first.metrics["hit_rate@1"] == run.metrics["hit_rate@1"]
    assert hits["spread"] == pytest.approx(hits["max"] - hits["min"])
    assert hits["min"] < hits["mean"] < hits["max"]
    assert found["same_best"] < 1
    assert run.usage.requests == 2 * asked
    assert any("The same asked 3 times" in line for line in run_lines(run))


@pytest.mark.parametrize(
    ("model", "side", "options", "size"),
    [
        # Five cells beside each other: GPT-4o sees a shorter side of 768, GPT-6 2,500 patches.
        ("gpt-4o", 1000, {}, (1284, 768)),
        ("openai:gpt-6-luna", 1000, {}, (2044, 1224)),
        ("openai:gpt-6-luna", 350, {}, (1774, 1062)),
        ("openai:gpt-6-luna", 1000, {"picture_size": 500}, (834, 498)),
        ("openai:of-my-own", 1000, {}, (1524, 912)),
    ],
)
def test_a_panorama_is_as_large_as_is_seen(
    server: VisionServer,
    tmp_path: Path,
    model: str,
    side: int,
    options: dict,  # type: ignore[type-arg]
    size: tuple[int, int],
) -> None:
    result = result_of(tmp_path, shades(10))
    paint(Path(result.hits[3].path), (20, 20, 20), (side, side - 100))
    load_reranker(model, **options).rerank(result)
    (picture,) = server.seen[-1].pictures
    assert (picture.shape[1], picture.shape[0]) == size


@pytest.mark.parametrize("n", [4, 9, 25])
@pytest.mark.parametrize(
    ("options", "shorter"),
    [({}, 768), ({"prompt": "marks-1"}, 768), ({"picture_size": 512}, 512)],
)
def test_a_panorama_is_no_larger_than_is_seen(
    server: VisionServer,
    tmp_path: Path,
    n: int,
    options: dict,  # type: ignore[type-arg]
    shorter: int,
) -> None:
    shown = shades(n)
    done = load_reranker("gpt-4o", window=25, **options).rerank(result_of(tmp_path, shown))
    assert ids(done) == nearest_first(shown)
    (picture,) = server.seen[-1].pictures
    assert min(picture.shape[:2]) <= shorter
    assert max(picture.shape[:2]) <= 2048
    assert done.rerank is not None
    assert done.rerank.details["prompt"] == options.get("prompt", "ranking-1")


def test_detail_is_sent_and_counts(server: VisionServer, tmp_path: Path) -> None:
    result = result_of(tmp_path, shades(4))
    spent = []
    for detail in ("low", "high"):
        model = load_reranker("gpt-4o", presentation="images", detail=detail, picture_size=64)
        report = model.rerank(result).rerank
        assert report is not None
        spent.append(report.usage.expected_tokens)
        sent = server.bodies[-1]["messages"][1]["content"][-1]["image_url"]
        assert sent["detail"] == detail
    assert min(server.seen[-1].pictures[0].shape[:2]) == 64
    assert spent[0] < spent[1]


def test_a_prompt_of_ones_own(server: VisionServer, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    text = (FOLDER / "ranking-1.toml").read_text()
    own.write_text(text.replace("You put the results", "Kindly put the results"))
    reranker = load_reranker("gpt-4o", prompt=str(own))
    shown = shades(4)
    assert ids(reranker.rerank(result_of(tmp_path, shown))) == nearest_first(shown)
    assert server.seen[-1].texts[0].startswith("Kindly put")
    assert "<data>" in server.seen[-1].texts[0], "the rule about data is always there"
    assert reranker.configuration["prompt"] == str(own)
    assert reranker.fingerprint != load_reranker("gpt-4o", prompt="marks-1").fingerprint
    bad = tmp_path / "bad.toml"
    bad.write_text('task = "rank"')
    with pytest.raises(MmragError, match=r"bad\.toml needs the texts"):
        load_reranker("gpt-4o", prompt=str(bad))
    with pytest.raises(MmragError, match="no prompt 'nope'; use one of marks-1, ranking-1"):
        load_reranker("gpt-4o", prompt="nope")
