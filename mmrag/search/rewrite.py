"""Queries rewritten by a language model before they are encoded, as CIReVL does.

S. Karthik et al.: "Vision-by-Language for Training-Free Compositional Image Retrieval", ICLR 2024,
describe the wanted picture in words and search by them alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag.errors import ImageError, MmragError
from mmrag.images.unreadable import query_problem
from mmrag.rerank.prompt_files import read_prompt
from mmrag.rerank.reranker import GaveUp
from mmrag.types import Query, Usage

if TYPE_CHECKING:
    import openai

    from mmrag.vision.budget import Budget
    from mmrag.vision.model import VisionModel
    from mmrag.vision.prompt import Picture, Prompt

FOLDER = Path(__file__).parent / "prompts"
DEFAULT_PROMPT = "describe-1"
ENCODED = ("text", "both")
_SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}},
    "required": ["query"],
    "additionalProperties": False,
}
_MAX_TOKENS = 300
_SIDE = 512
_LONGEST = 2000
# This many queries in a row without any answer mean that the server is gone.
_GIVE_UP = 5


@dataclass(frozen=True)
class RewritePrompt:
    """The texts of a prompt, and what is encoded: "text", the new text alone, or "both"."""

    name: str
    sha256: str
    encode: str
    task: str
    form: str


@lru_cache(maxsize=16)
def load_rewrite_prompt(name: str) -> RewritePrompt:
    """A prompt by its name, or by the path of a `.toml` file.

    Raises:
        MmragError: there is none, or it lacks something; says what.
    """
    read, digest = read_prompt(name, FOLDER, ("encode", "task", "form"))
    if read["encode"] not in ENCODED:
        raise MmragError(f'In the prompt {name}, `encode` must be "text" or "both".')
    return RewritePrompt(name, digest, read["encode"], read["task"], read["form"])


@dataclass(frozen=True)
class Rewritten:
    """A query in other words.

    `query` is what is encoded. `text` is its new wording; None if the model gave none, for the
    reason in `problem`, a sentence: then the query is unchanged. `ms` is the time it took.
    """

    query: Query
    text: str | None
    problem: str | None
    usage: Usage
    ms: float


class Rewriter:
    """Rewrites queries with a model; earlier answers come from the cache.

    Args:
        model: the model to ask; it keeps the cache, the budget and the price.
        prompt: the name of a prompt, or the path of a .toml file.
        concurrency: requests under way at once.

    Raises:
        MmragError: no such prompt.
    """

    def __init__(
        self, model: VisionModel, *, prompt: str = DEFAULT_PROMPT, concurrency: int = 4
    ) -> None:
        self.model = model
        self.prompt = load_rewrite_prompt(prompt)
        self.concurrency = concurrency

    @property
    def name(self) -> str:
        """The name, as `--rewrite` takes it."""
        return f"openai:{self.model.name}"

    @property
    def budget(self) -> Budget:
        """The limit on what its requests may cost."""
        return self.model.budget

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything that shapes the outcome, as plain JSON values, without any key."""
        own = {} if self.prompt.name == DEFAULT_PROMPT else {"fingerprint": self.prompt.sha256}
        return {
            "name": self.name,
            "prompt": self.prompt.name,
            "encode": self.prompt.encode,
            **own,
            **self.model.unusual,
        }

    def request(self, query: Query) -> Prompt:
        """The model's prompt for a query.

        Raises:
            ImageError: a picture of the query cannot be read.
        """
        from mmrag.vision.prompt import DATA_RULE, Picture, Prompt, data

        parts: list[str | Picture] = []
        if query.text:
            parts.append(f"Instruction: {data(query.text, _LONGEST)}")
        else:
            parts.append("There is no instruction.")
        if query.images:
            parts.append("Query picture:" if len(query.images) == 1 else "Query pictures:")
            parts += [Picture.read(image, _SIDE) for image in query.images]
        rules = "\n\n".join([self.prompt.task, DATA_RULE, self.prompt.form])
        return Prompt(rules, tuple(parts), _MAX_TOKENS, _SCHEMA)

    def rewritten(self, query: Query, text: str) -> Query:
        """The query to encode, given the new wording."""
        images = query.images if self.prompt.encode == "both" else ()
        return Query(
            text=text, images=images, without=query.without, without_weight=query.without_weight
        )

    def rewrite_many(
        self, queries: Sequence[Query], on_done: Callable[[int, Rewritten], None] | None = None
    ) -> list[Rewritten]:
        """Rewrite queries side by side; a query that gets no usable answer stays as it is.

        Args:
            queries: each is rewritten separately.
            on_done: called in this thread with position and outcome of each as it becomes ready,
                in any order.

        Returns:
            Outcomes in the order of `queries`.

        Raises:
            BudgetReached: before a request that could exceed the limit.
            GaveUp: several queries in a row had no answer.
            ModelServerError: wrong key, unknown model.
        """
        from mmrag.vision.jobs import run_jobs

        outcomes: dict[int, Rewritten] = {}
        # Those without an answer are handed out once another shows that the server is there.
        held: dict[int, Rewritten] = {}

        def hand_out() -> None:
            for position, one in held.items():
                outcomes[position] = one
                if on_done is not None:
                    on_done(position, one)
            held.clear()

        jobs = [partial(self._rewrite, query) for query in queries]
        with closing(run_jobs(jobs, self.model.async_client, self.concurrency)) as running:
            for position, outcome in running:
                held[position] = outcome
                if outcome.problem is None:
                    hand_out()
                elif len(held) == _GIVE_UP:
                    raise GaveUp(
                        f"{_GIVE_UP} queries in a row could not be rewritten, the last one "
                        f"because: {outcome.problem} What is finished is kept.",
                        [one.usage for one in held.values()],
                    )
        hand_out()
        return [outcomes[i] for i in range(len(queries))]

    async def _rewrite(self, query: Query, client: openai.AsyncOpenAI) -> Rewritten:
        from mmrag.vision.endpoint import RequestFailed

        started = time.perf_counter()
        text, problem, usage = None, None, Usage()
        try:
            prompt = await asyncio.to_thread(self.request, query)
            reply, usage = await self.model.complete(client, prompt)
            problem = reply.problem
            text = None if problem else _read(reply.text)
            if text is None:
                problem = problem or "the answer holds no query"
                self.model.forget(prompt)
        except ImageError as error:
            problem = query_problem(error)
        except RequestFailed as error:
            problem, usage = str(error), error.usage
        ms = 1000 * (time.perf_counter() - started)
        asked = query if text is None else self.rewritten(query, text)
        return Rewritten(asked, text, problem and f"{problem.rstrip('.')}.", usage, ms)


def load_rewriter(
    name: str,
    *,
    prompt: str = DEFAULT_PROMPT,
    concurrency: int = 4,
    max_cost: float | Budget | None = None,
    **model: Any,
) -> Rewriter:
    """A rewriter by name.

    Args:
        name: `vision`, or `openai:MODEL` with any model of the server; a text-only one will do if
            queries have no picture.
        prompt: as `Rewriter`.
        concurrency: as `Rewriter`.
        max_cost: US dollars that the requests may cost together.
        model: more arguments of `VisionModel`.

    Raises:
        MmragError: no such prompt, or an option out of its range.
        ModelServerError: no key; says what to set.
    """
    from mmrag.vision.budget import Budget
    from mmrag.vision.model import VisionModel

    if name != "vision" and not name.startswith("openai:"):
        raise MmragError(
            f"Queries are rewritten by vision or by openai:MODEL, not by {name!r}, for example "
            "--rewrite openai:gpt-6-luna."
        )
    budget = max_cost if isinstance(max_cost, Budget) else Budget(max_cost)
    asked = VisionModel(name.removeprefix("openai:"), budget=budget, **model)
    return Rewriter(asked, prompt=prompt, concurrency=concurrency)


def _read(text: str) -> str | None:
    """The new wording in an answer: from its JSON, else its first line; None if there is none."""
    from mmrag.vision.reply import json_documents

    found = json_documents(text, lambda one: isinstance(one.get("query"), str))
    said = found[-1]["query"] if found else text
    if not found and said.lstrip().startswith(("{", "```")):
        return None
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = lines[0].strip("\"“”'") if lines else ""
    return words[:_LONGEST] or None
