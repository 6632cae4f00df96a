"""Queries that a model puts into other words before they are encoded."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmrag import ImageIndex, MmragError, evaluate, load_reranker
from mmrag.cli import run as run_command
from mmrag.cli.tables import run_lines
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.rerank.reranker import GaveUp
from mmrag.runs.exports import export_run
from mmrag.runs.report import html_report
from mmrag.runs.run import RETRIEVAL, STOPPED_BY_BUDGET
from mmrag.runs.store import RunStore
from mmrag.search.rewrite import FOLDER, load_rewriter
from mmrag.search.searcher import Searcher
from mmrag.types import Query, Usage
from mmrag.vision.prompt import DATA_RULE, Picture

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .vision_server import Scene, VisionServer

RED_MUG = Scene(text='{"query": "a red mug"}')


@pytest.fixture
def rewriting(searcher: Searcher, server: VisionServer) -> Searcher:  # noqa: F811
    searcher.rewriter = load_rewriter("openai:gpt-4o")
    return searcher


def test_the_new_words_are_what_is_encoded_and_what_is_shown(
    colours: EvalSet,  # noqa: F811
    rewriting: Searcher,
    server: VisionServer,
) -> None:
    with RunStore() as store:
        run = store.load(evaluate(colours, rewriting, 20, store=store).run_id)
        asked = server.requests
        assert run.rewrites == {"rewritten": 37, "failed": 0}
        assert asked == 37 - run.usage.cached, "the same question is asked once"
        first = run.rankings[RETRIEVAL]["q00"]
        words = str(first.details["rewritten"])
        assert words == "something red red", "the instruction, and what the picture shows"
        alone = Searcher(rewriting.index, rewriting.encoder).search(Query(text=words), 20)
        assert first.image_ids == [hit.image_id for hit in alone.hits]
        cost = run.usage.cost_usd
        assert cost
        assert run.stage_cost(RETRIEVAL) == pytest.approx(cost)
        assert run.spent_usd == pytest.approx(cost)
        assert run.timings_ms["rewrite"]["mean"] > 0
        said = "Queries rewritten by openai:gpt-4o (describe-1), the new words alone encoded: 37 of"
        assert any(line.startswith(said) for line in run_lines(run))
        assert "Rewritten as: " in html_report(run)
        (file,) = export_run(run, "csv")
        rows = list(csv.DictReader(io.StringIO(file[1].decode())))
        assert {row["stage"] for row in rows} == {RETRIEVAL}
        assert next(row for row in rows if row["query_id"] == "q00")["rewritten"] == words
        # The same words again, for nothing; a reranker sees the query itself.
        rewriting.reranker = load_reranker("gpt-4o")
        again = evaluate(colours, rewriting, 20, rerank_k=5, store=store, limit=6)
        assert server.requests <= asked + 6
        assert again.usage.cached >= 6
        reranked = {one.instruction for one in server.seen[asked:]}
        assert reranked <= {query.text for query in colours.queries} | {None}


def test_a_query_that_gets_no_words_is_asked_as_it_stands(
    colours: EvalSet,  # noqa: F811
    rewriting: Searcher,
    server: VisionServer,
) -> None:
    assert rewriting.rewriter is not None
    rewriting.rewriter.concurrency = 1
    server.script.extend([Scene(refusal="I would rather not"), Scene(text="{}"), RED_MUG])
    run = evaluate(colours, rewriting, 20, limit=5)
    assert run.rewrites == {"rewritten": 3, "failed": 2}
    assert "2 queries were asked as they stand: rewriting gave no new words." in run.notes
    plain = evaluate(colours, Searcher(rewriting.index, rewriting.encoder), 20, limit=5)
    firsts = run.rankings[RETRIEVAL]
    failed = [i for i, one in firsts.items() if "rewrite_problem" in one.details]
    assert [firsts[i].image_ids for i in failed] == [plain.ranking()[i] for i in failed]
    server.always = Scene(refusal="Never")
    with pytest.raises(MmragError, match="5 queries in a row could not be rewritten"):
        evaluate(colours, rewriting, 20, limit=20)


def test_rewriting_keeps_to_the_budget_and_goes_on(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    searcher.rewriter = load_rewriter("openai:gpt-4o", max_cost=0.02, cache=False)
    stopped = evaluate(colours, searcher, 20)
    assert stopped.state == STOPPED_BY_BUDGET
    assert 0 < server.requests < 37
    assert stopped.spent_usd <= 0.02
    searcher.rewriter = load_rewriter("openai:gpt-4o", max_cost=10, cache=False)
    run = evaluate(colours, searcher, 20)
    assert (run.run_id, run.state, server.requests) == (stopped.run_id, "complete", 37)


def test_the_picture_stays_where_the_prompt_says_so(
    colours: EvalSet,  # noqa: F811
    server: VisionServer,
    tmp_path: Path,
) -> None:
    query = colours.queries[0].query()
    (one,) = load_rewriter("openai:gpt-4o", prompt="instruct-1").rewrite_many([query])
    assert (one.query.images, one.query.text) == (query.images, one.text)
    own = tmp_path / "own.toml"
    own.write_text((FOLDER / "describe-1.toml").read_text().replace('"text"', '"picture"'))
    with pytest.raises(MmragError, match='must be "text" or "both"'):
        load_rewriter("openai:gpt-4o", prompt=str(own))
    with pytest.raises(MmragError, match="use one of describe-1, instruct-1"):
        load_rewriter("openai:gpt-4o", prompt="ranking-1")
    with pytest.raises(MmragError, match="--rewrite openai:gpt-6-luna"):
        load_rewriter("encoder:demo")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('```json\n{"query": "a red mug"}\n```', "a red mug"),
        ('"a red mug"\n\nbecause it is red', "a red mug"),
        ("\n  “a red mug”  \nor", "a red mug"),
        ('{"query": "a mug"} no, {"query": "a red mug"}', "a red mug"),
        ('{"query": 5}', None),
        ("```\na red mug\n```", None),
        ("", None),
        ('{"ranking": [1]}', None),
    ],
)
def test_what_models_write_is_read(
    said: str, words: str | None, server: VisionServer, tmp_path: Path
) -> None:
    server.script.append(Scene(text=said))
    asked = Query(text="red", without="blue", without_weight=0.25)
    (one,) = load_rewriter("openai:gpt-4o").rewrite_many([asked])
    assert one.text == words
    assert one.problem == (None if words else "the answer is empty." if not said else one.problem)
    if words is None:
        assert one.query == asked
        assert one.problem.endswith(".")
        load_rewriter("openai:gpt-4o").rewrite_many([asked])
        assert server.requests == 2, "what cannot be used is not kept"
    else:
        assert one.query == replace(asked, text=words)
    assert 0 < one.ms < 60_000
    assert one.usage.requests == 1


def test_what_a_rewriter_is_asked(tmp_path: Path, server: VisionServer) -> None:
    picture = tmp_path / "wide.png"
    Image.new("RGB", (1300, 650)).save(picture)
    rewriter = load_rewriter("openai:gpt-4o", concurrency=7)
    words = rewriter.request(Query(text="r" * 2001))
    assert words.parts == (f'Instruction: <data>"{"r" * 2000}…"</data>',)
    assert words.rules == "\n\n".join([rewriter.prompt.task, DATA_RULE, rewriter.prompt.form])
    assert words.max_tokens == 300
    assert words.schema is not None
    assert words.schema["required"] == ["query"]
    one, two = (rewriter.request(Query(images=(str(picture),) * n)).parts for n in (1, 2))
    assert one[:2] == ("There is no instruction.", "Query picture:")
    assert two[:2] == ("There is no instruction.", "Query pictures:")
    assert (one[2:], len(two)) == (two[2:3], 4)
    assert isinstance(one[2], Picture)
    assert (one[2].width, one[2].height) == (512, 256)
    assert (rewriter.name, rewriter.concurrency) == ("openai:gpt-4o", 7)
    assert rewriter.configuration == {
        "name": "openai:gpt-4o",
        "prompt": "describe-1",
        "encode": "text",
    }
    own = tmp_path / "own.toml"
    own.write_text((FOLDER / "instruct-1.toml").read_text())
    other = load_rewriter("openai:gpt-4o", prompt=str(own)).configuration
    assert (other["encode"], len(other["fingerprint"])) == ("both", 64)
    (unreadable,) = rewriter.rewrite_many([Query(image=str(own), text="red")])
    assert (unreadable.text, unreadable.usage) == (None, Usage())
    assert str(unreadable.problem).startswith("the query picture cannot be read: ")
    assert server.requests == 0


def test_queries_without_words_wait_for_one_that_has_some(server: VisionServer) -> None:
    """They are handed out once the server is seen to be there; after five in a row it is not."""
    rewriter = load_rewriter("openai:gpt-4o", concurrency=1, retries=0)
    refused = Scene(refusal="No")
    server.script.extend([refused] * 4 + [RED_MUG] + [refused] * 4)
    done: list[int] = []
    queries = [Query(text=f"shade {i}") for i in range(9)]
    found = rewriter.rewrite_many(queries, lambda place, one: done.append(place))
    assert sorted(done) == list(range(9))
    assert [one.text for one in found] == [None] * 4 + ["a red mug"] + [None] * 4
    server.always = refused
    done.clear()
    with pytest.raises(
        GaveUp, match=r"5 queries in a row could not .*: the model refused: No\."
    ) as up:
        rewriter.rewrite_many(
            [Query(text=f"colour {i}") for i in range(9)], lambda place, one: done.append(place)
        )
    assert done == []
    assert up.value.usage.requests == 5


def test_the_commands(
    colours: EvalSet,  # noqa: F811
    tiny: Encoder,
    tiny_folder: Path,
    server: VisionServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = ["--encoder", str(tiny_folder), "--precision", "fp32"]
    command = ["evaluate", str(colours.folder), *encoder, "--rewrite", "openai:gpt-4o"]
    assert run_command([*command, "--dry-run", "--json"]) == 0
    (expected, _) = json.loads(capsys.readouterr().out)["dry_run"]["colours"]
    assert (expected["reranker"], expected["requests"]) == ("rewriting by openai:gpt-4o", 37)
    assert expected["cost_usd"] > 0
    assert server.requests == 0
    assert run_command([*command, "--limit", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rewrites"] == {"rewritten": 4, "failed": 0}
    assert told["config"]["rewriter"]["encode"] == "text"
    assert told["name"].startswith("openai:gpt-4o rewrites + ")
    with ImageIndex.open(encoder=tiny, collection="colours") as opened:
        opened.add(colours.gallery())
    picture = str(colours.queries[0].image)
    search = ["search", "--image", picture, "--text", "wide", "--collection", "colours", *encoder]
    assert run_command([*search, "--rewrite", "openai:gpt-4o", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rewrite"]["text"] == "wide red"
    assert found["usage"]["requests"] == 1
    assert "rewrite" in found["timings_ms"]
    assert run_command([*command, "--search-url", "http://127.0.0.1:9"]) == 2
