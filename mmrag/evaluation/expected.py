"""The expected effort of reranking with a vision model, before anything is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.forecast import estimate
from mmrag.evaluation.question_answering import Answering
from mmrag.images.grid import CELL
from mmrag.rerank.cascade import Cascade
from mmrag.rerank.prompt_files import DEFAULT_PROMPT, load_prompt
from mmrag.rerank.ranking_prompt import Look, ranking_prompt
from mmrag.rerank.reranker import Reranker
from mmrag.rerank.vision import VisionReranker, windows
from mmrag.runs.store import RunStore
from mmrag.search.answer import answer_prompt
from mmrag.search.rewrite import Rewriter
from mmrag.types import Hit
from mmrag.vision.model import VisionModel
from mmrag.vision.models import ModelFacts

# Usual tokens of thought by effort; below, the other parts of answers and prompts.
THOUGHT = {"none": 0, "minimal": 100, "low": 500, "medium": 1250, "high": 4000}
_MOST_THOUGHT = 8000
_REASON = 60
_INDEX = 2
_RULES = 450
# Tokens of an answer that is a value, and of a request to judge it.
_VALUE, _JUDGED = 15, 300
# Prompts made to measure their size.
_SAMPLES = 3
# Seconds until the first token, and tokens a second, of a model not yet timed here.
_WAIT, _RATE = 1.5, 60.0


@dataclass(frozen=True)
class RequestSize:
    """Tokens of one request; `completion` includes thought."""

    prompt: int
    completion: int

    def cost(self, facts: ModelFacts, requests: int = 1) -> float | None:
        """US dollars for this many requests; None where the model has no price."""
        if facts.price is None:
            return None
        return requests * facts.price.cost(self.prompt, self.completion)


def completion_tokens(effort: str | None, candidates: int) -> int:
    """Approximate tokens of an answer that ranks this many candidates, thought included."""
    return _thought(effort) + _REASON + _INDEX * candidates


def _thought(effort: str | None) -> int:
    return THOUGHT.get(effort, _MOST_THOUGHT) if effort else 0


def grid_request(
    facts: ModelFacts, candidates: int, description: float = 0.0, largest: int = CELL
) -> RequestSize:
    """Size of a request that shows a query picture and its candidates as one panorama.

    Args:
        facts: of the model, which is asked with the least effort.
        candidates: how many are shown.
        description: characters of each one's description.
        largest: the longest side of their pictures, in pixels.
    """
    look = Look("grid", load_prompt(DEFAULT_PROMPT), facts.image if facts.image_known else None)
    prompt = _RULES + math.ceil(candidates * description / 4)
    prompt += facts.image.tokens(*look.size(candidates, 1, largest))
    return RequestSize(prompt, completion_tokens(facts.effort(None), candidates))


@dataclass(frozen=True)
class Expected:
    """The expected effort of an evaluation; `cost_usd` and `seconds` are None where unknown.

    `timed_runs` is how many earlier runs the time is based on, 0 where it is assumed. `batch` means
    that requests go through the Batch API, which takes up to a day.
    """

    reranker: str
    queries: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    seconds: float | None
    timed_runs: int
    batch: bool = False


def expect(
    eval_set: EvalSet,
    reranker: Reranker | None,
    *,
    rerank_k: int,
    queries: int,
    encoder: str,
    store: RunStore,
    times: int = 1,
) -> Expected:
    """Estimate an evaluation from prompts that are made but not sent, and from earlier runs.

    Args:
        eval_set: queries and gallery; images from the gallery stand for the candidates.
        reranker: None for no reranking.
        rerank_k: how many candidates are reranked.
        queries: how many are asked.
        encoder: the encoder's name.
        store: where earlier runs are.
        times: how often each query is reranked, repetitions and shuffles included.
    """
    name = reranker.name if reranker else None
    earlier = estimate(store, encoder, name, queries)
    stages = reranker.stages if isinstance(reranker, Cascade) else [reranker]
    requests, prompt, completion, waiting = 0, 0, 0, 0.0
    cost: float | None = 0.0
    batch = False
    for stage in stages:
        if not isinstance(stage, VisionReranker):
            continue
        size, each = _sizes(eval_set, stage, stage.depth or rerank_k)
        asked = each * queries * times
        requests, prompt = requests + asked, prompt + asked * size.prompt
        completion += asked * size.completion
        waiting += asked * _seconds(size) / stage.concurrency
        price = size.cost(stage.model.facts, asked)
        if stage.batch and price is not None and stage.model.price is not None:
            price *= stage.model.price.batch_share
        cost = None if cost is None or price is None else cost + price
        batch = batch or stage.batch
    seconds, runs = (waiting if requests else None), 0
    if earlier is not None:
        seconds, runs = times * earlier.seconds, earlier.runs
    found = (name or "none", queries, requests, prompt, completion, cost)
    return Expected(*found, None if batch else seconds, runs, batch)


def expect_answers(eval_set: EvalSet, answering: Answering) -> Expected:
    """Estimate the answers to a set's questions, with and without retrieval."""
    asked = [one for one in eval_set.queries if one.question and one.answers]
    first = eval_set.images[0]
    hit = Hit(1, first.image_id, first.path, 0.0, 1, first.text, first.metadata)
    model = answering.model
    sizes = []
    for one in asked[:: max(1, len(asked) // _SAMPLES)][:_SAMPLES]:
        for hits in ([hit], []):
            prompt = answer_prompt(one.question or "", hits, one.query(), 1, True)[0]
            sizes.append(prompt.likely_tokens(model.facts.image, model.detail))
    size = RequestSize(math.ceil(sum(sizes) / max(1, len(sizes))), _thought(model.effort) + _VALUE)
    parts: list[tuple[VisionModel, RequestSize]] = [(model, size)]
    if answering.judge is not None:
        judged = RequestSize(_JUDGED, _thought(answering.judge.effort) + 1)
        parts.append((answering.judge, judged))
    each = 2 * len(asked)
    costs = [one.cost(by.facts, each) for by, one in parts]
    return Expected(
        f"answers by {model.name}",
        len(asked),
        each * len(parts),
        each * sum(one.prompt for _, one in parts),
        each * sum(one.completion for _, one in parts),
        None if None in costs else sum(cost or 0.0 for cost in costs),
        each * sum(_seconds(one) for _, one in parts) / answering.concurrency,
        0,
    )


def expect_rewriting(eval_set: EvalSet, rewriter: Rewriter, queries: int) -> Expected:
    """Estimate the effort of rewriting queries, from prompts that are made but not sent."""
    model = rewriter.model
    step = max(1, len(eval_set.queries) // _SAMPLES)
    made = [rewriter.request(one.query()) for one in eval_set.queries[::step][:_SAMPLES]]
    tokens = [one.likely_tokens(model.facts.image, model.detail) for one in made]
    size = RequestSize(math.ceil(sum(tokens) / len(tokens)), _thought(model.effort) + _REASON)
    seconds = queries * _seconds(size) / rewriter.concurrency
    cost = size.cost(model.facts, queries)
    prompt, completion = queries * size.prompt, queries * size.completion
    name = f"rewriting by {rewriter.name}"
    return Expected(name, queries, queries, prompt, completion, cost, seconds, 0)


def _seconds(size: RequestSize) -> float:
    return _WAIT + size.completion / _RATE


def _sizes(eval_set: EvalSet, reranker: VisionReranker, rerank_k: int) -> tuple[RequestSize, int]:
    """The mean request, and the number of requests per query."""
    model = reranker.model
    n = min(rerank_k, len(eval_set.images))
    parts = list(windows(n, reranker.window, reranker.stride))
    hits = [
        Hit(rank, one.image_id, one.path, 0.0, rank, one.text, one.metadata)
        for rank, one in enumerate(eval_set.images[:n], start=1)
    ]
    step = max(1, len(eval_set.queries) // _SAMPLES)
    prompts, completions = [], []
    for query in eval_set.queries[::step][:_SAMPLES]:
        for start, end in parts:
            prompt = ranking_prompt(query.query(), hits[start:end], reranker.look)
            prompts.append(prompt.likely_tokens(model.facts.image, model.detail))
            completions.append(completion_tokens(model.effort, end - start))
    made = max(1, len(prompts))
    size = RequestSize(math.ceil(sum(prompts) / made), math.ceil(sum(completions) / made))
    return size, len(parts)
