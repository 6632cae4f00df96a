"""The expected effort of reranking with a vision model, before anything is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.forecast import estimate
from mmrag.images.grid import grid_size
from mmrag.rerank.ranking_prompt import ranking_prompt
from mmrag.rerank.reranker import Reranker
from mmrag.rerank.vision import VisionReranker, windows
from mmrag.runs.store import RunStore
from mmrag.types import Hit
from mmrag.vision.models import ModelFacts

# Tokens of thought that are common at an effort, and that an answer takes beside its indices.
THOUGHT = {"none": 0, "minimal": 100, "low": 500, "medium": 1250, "high": 4000}
_MOST_THOUGHT = 8000
_REASON = 60
_INDEX = 2
_RULES = 450
# Prompts that are made to see how large they are.
_SAMPLES = 3
# Seconds until the first token, and tokens a second, of a model that was not timed here yet.
_WAIT, _RATE = 1.5, 60.0


@dataclass(frozen=True)
class RequestSize:
    """Tokens of one request: `completion` has the thought in it."""

    prompt: int
    completion: int

    def cost(self, facts: ModelFacts, requests: int = 1) -> float | None:
        """US dollars for so many requests; None where the model has no price."""
        if facts.price is None:
            return None
        return requests * facts.price.cost(self.prompt, self.completion)


def completion_tokens(effort: str | None, candidates: int) -> int:
    """About the tokens of an answer that ranks so many candidates, thought included."""
    thought = THOUGHT.get(effort, _MOST_THOUGHT) if effort else 0
    return thought + _REASON + _INDEX * candidates


def grid_request(facts: ModelFacts, candidates: int, description: float = 0.0) -> RequestSize:
    """A request that shows a query picture and so many candidates as one panorama.

    Args:
        facts: of the model, which is asked with the least effort.
        candidates: how many are shown.
        description: characters of each one's description.
    """
    width, height = grid_size(candidates, query=True, columns=math.ceil(math.sqrt(candidates)))
    prompt = _RULES + math.ceil(candidates * description / 4) + facts.image.tokens(width, height)
    return RequestSize(prompt, completion_tokens(facts.effort(None), candidates))


@dataclass(frozen=True)
class Expected:
    """The expected effort of an evaluation; `cost_usd` and `seconds` are None where unknown.

    `timed_runs` is how many earlier runs the time is judged by, 0 where it is assumed.
    """

    reranker: str
    queries: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    seconds: float | None
    timed_runs: int


def expect(
    eval_set: EvalSet,
    reranker: Reranker | None,
    *,
    rerank_k: int,
    queries: int,
    encoder: str,
    store: RunStore,
) -> Expected:
    """Estimate an evaluation from prompts that are made but not sent, and from earlier runs.

    Args:
        eval_set: queries and gallery; images from the gallery stand for the candidates.
        reranker: None for no reranking.
        rerank_k: how many candidates are reranked.
        queries: how many are asked.
        encoder: the encoder's name.
        store: where earlier runs are.
    """
    name = reranker.name if reranker else None
    earlier = estimate(store, encoder, name, queries)
    seconds, runs = (earlier.seconds, earlier.runs) if earlier else (None, 0)
    if not isinstance(reranker, VisionReranker):
        return Expected(name or "none", queries, 0, 0, 0, 0.0, seconds, runs)
    size, requests = _sizes(eval_set, reranker, rerank_k)
    requests *= queries
    if seconds is None:
        one = _WAIT + size.completion / _RATE
        seconds = requests * one / reranker.concurrency
    return Expected(
        reranker.name,
        queries,
        requests,
        requests * size.prompt,
        requests * size.completion,
        size.cost(reranker.model.facts, requests),
        seconds,
        runs,
    )


def _sizes(eval_set: EvalSet, reranker: VisionReranker, rerank_k: int) -> tuple[RequestSize, int]:
    """The mean request, and how many there are for a query."""
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
