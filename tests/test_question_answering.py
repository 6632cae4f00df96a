"""Questions of an eval set: asked side by side, within a budget, resumed, and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmrag import EvalSet, MmragError, Searcher, evaluate, index_eval_set, load_encoder
from mmrag import load_reranker as load
from mmrag.errors import ModelServerError
from mmrag.evaluation.ablations import Ablations
from mmrag.evaluation.question_answering import Answering
from mmrag.runs.run import Run
from mmrag.vision.budget import Budget
from mmrag.vision.model import VisionModel

from .evaluation_fixtures import colours, index, searcher  # noqa: F401
from .helpers import ROOT
from .vision_server import Scene, VisionServer


@pytest.fixture
def asked(colours: EvalSet) -> EvalSet:  # noqa: F811
    """Every third query has a question, twelve in all, which the server answers by a number."""
    question = {"question": "Which number is it?", "answers": ("0", "1")}
    queries = [replace(q, **question) if i % 3 == 0 else q for i, q in enumerate(colours.queries)]  # type: ignore[arg-type]
    return colours.with_queries([q for q in queries if q.question and q.image])


def ask(eval_set: EvalSet, searcher: Searcher, answering: Any, **options: Any) -> Run:  # noqa: F811
    return evaluate(
        eval_set, searcher, 5, ablations=Ablations(answers=True), answer_model=answering, **options
    )


def test_answers_with_and_without_retrieval(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    server.script.extend([Scene(text=text) for text in ("I cannot know", "0", "No. 1", "The 1.")])
    run = ask(colours, searcher, Answering(VisionModel("gpt-4o"), concurrency=1))
    found = run.ablations["answers"]
    assert (found["queries"], found["unanswered"]) == (2, 0)
    assert (found["metrics"]["exact_match"]["a"], found["metrics"]["exact_match"]["b"]) == (0, 1)
    assert found["metrics"]["token_f1"]["a"] == pytest.approx((0 + 2 / 3) / 2)
    assert found["metrics"]["contains"]["a"] == 0.5
    assert found["metrics"]["same_numbers"]["a"] == 0.5
    assert "judged" not in found["metrics"]
    assert run.usage.requests == 4
    assert (run.usage.cost_usd or 0) > 0
    assert run.spent_usd == pytest.approx(run.usage.cost_usd)
    descriptions = [seen.descriptions for seen in server.seen]
    best = run.ranking()["q00"][0]
    assert descriptions[0] == ["something red"], "the query's own text"
    assert descriptions[1] == [best.replace("-", " ")]
    with pytest.raises(MmragError, match="needs `answer_model`"):
        evaluate(colours, searcher, 5, ablations=Ablations(answers=True))


def test_they_are_asked_side_by_side_about_the_first_after_reranking(
    asked: EvalSet,
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    searcher.reranker = load("gpt-4o", concurrency=6)
    server.gather = 6
    model = VisionModel("gpt-4o")
    run = ask(asked, searcher, Answering(model, concurrency=6), rerank_k=5)
    assert server.most_under_way == 6
    first, last = run.ranking("retrieval"), run.ranking("reranked")
    assert any(first[one][0] != last[one][0] for one in last)
    about = {tuple(seen.descriptions) for seen in server.seen if seen.question is not None}
    assert {(ids[0].replace("-", " "),) for ids in last.values()} <= about
    sent = server.requests
    again = ask(asked, searcher, Answering(model), rerank_k=5, resume=False)
    assert server.requests == sent, "answers are cached"
    assert again.ablations == run.ablations


def test_a_budget_stops_them_and_a_higher_one_goes_on(
    asked: EvalSet,
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    def answering(limit: float) -> Answering:
        return Answering(VisionModel("gpt-4o", cache=False, budget=Budget(limit)), concurrency=3)

    limit = 0.03
    stopped = ask(asked, searcher, answering(limit))
    assert stopped.state == "stopped: budget"
    assert 0 < server.requests < 24
    spent = (server.tokens[0] * 2.5 + server.tokens[1] * 10) / 1e6
    assert limit / 3 < spent <= limit
    assert stopped.spent_usd == pytest.approx(spent), "also of questions that are half answered"
    sent = server.requests
    assert ask(asked, searcher, answering(limit)).state == "stopped: budget"
    assert server.requests == sent, "the limit is the run's"
    whole = ask(asked, searcher, answering(1.0))
    assert (whole.run_id, whole.state) == (stopped.run_id, "complete")
    assert whole.ablations["answers"]["queries"] == 12
    assert server.requests < sent + 24


def test_questions_without_an_answer(
    asked: EvalSet,
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    server.script.extend([Scene(status=500), Scene(status=500)])
    model = VisionModel("gpt-4o", retries=0)
    found = ask(asked, searcher, Answering(model, concurrency=1)).ablations["answers"]
    assert (found["queries"], found["unanswered"]) == (10, 2), "they count in no metric"
    server.always = Scene(status=500)
    with pytest.raises(ModelServerError, match=r"5 questions in a row had no answer.*status 500"):
        ask(asked, searcher, Answering(VisionModel("gpt-4o", retries=0, cache=False)), seed=1)


def test_a_judge(
    asked: EvalSet,
    searcher: Searcher,  # noqa: F811
    server: VisionServer,
) -> None:
    few = asked.with_queries(asked.queries[:1])
    texts = ("no idea", "no", "a zero", "Yes.")
    server.script.extend([Scene(text=text) for text in texts])
    answering = Answering(VisionModel("gpt-4o"), VisionModel("gpt-4o-mini"), 1)
    judged = ask(few, searcher, answering).ablations["answers"]["metrics"]["judged"]
    assert (judged["a"], judged["b"]) == (0, 1)
    assert [body["model"] for body in server.bodies] == ["gpt-4o", "gpt-4o-mini"] * 2
    told = server.seen[-1].texts[-1]
    assert all(part in told for part in ("Which number is it?", '"0"', '"1"', "a zero"))


def test_retrieval_helps_with_the_catalogues_questions(
    server: VisionServer, tmp_path: Path
) -> None:
    """All 85, in a gallery of what they are about; the server reads what it is sent."""
    catalogue = EvalSet.load(ROOT / "eval_sets" / "catalogue")
    queries = [query for query in catalogue.queries if query.question]
    right = {image_id for query in queries for image_id in catalogue.relevant(query.query_id)}
    images = [image for image in catalogue.images if image.image_id in right]
    some = replace(catalogue.with_queries(queries), images=images)
    encoder = load_encoder("demo", precision="fp32")
    opened, _ = index_eval_set(some, encoder, tmp_path / "g.db")
    with opened:
        run = ask(some, Searcher(opened, encoder), Answering(VisionModel("gpt-4o"), concurrency=8))
    found = run.ablations["answers"]
    assert (found["queries"], run.usage.requests + run.usage.cached) == (85, 170)
    assert found["right_image"] > 0.8
    for name in ("exact_match", "token_f1", "contains", "same_numbers"):
        one = found["metrics"][name]
        assert one["b"] > 0.7, name
        assert one["a"] < 0.1, name
        assert one["p"] < 0.001, name
