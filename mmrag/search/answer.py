"""Answers to questions, from the best match and its description or without retrieval."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag.errors import ImageError, MmragError
from mmrag.system.words import counted
from mmrag.types import Hit, Query, Usage
from mmrag.vision.model import VisionModel
from mmrag.vision.prompt import DATA_RULE, Picture, Prompt, data
from mmrag.vision.reply import Reply
from mmrag.vision.stream import ReplyStream

if TYPE_CHECKING:
    import openai

MAX_TOKENS = 1000
_SIDE = 1024
_LONGEST_DESCRIPTION = 4000
_LONGEST_QUESTION = 4000

_FROM_MATCHES = """A picture search has found what a person is asking about. Answer the person's \
question from the picture or pictures and their descriptions, in the language of the question, and \
shortly. Where they do not tell, say so instead of guessing."""
_FROM_QUERY = """Answer a person's question about the picture or the text that they give, in the \
language of the question, and shortly. Where it does not tell, say so instead of guessing."""
# For answers that can be compared with an accepted one.
_VALUE_ALONE = """Say nothing but the value that is asked for: a number with its unit, a price, a \
name, a material, a colour, yes or no. No sentence and no explanation; "unknown" where it is not \
told."""
_JUDGE = """Say whether the given answer to a question means the same as one of the accepted \
answers: other words, units and roundings are fine, another fact is not. Say yes or no, no more."""


@dataclass(frozen=True)
class Answer:
    """An answer and its sources.

    `image_ids` and `texts` are the matches sent, best first, and the description of each ("" if it
    has none); both are empty for an answer without retrieval. `problem` says in a sentence why the
    answer is missing (a refusal) or broke off, else it is None.
    """

    question: str
    answer: str
    model: str
    image_ids: tuple[str, ...]
    texts: tuple[str, ...]
    usage: Usage
    problem: str | None = None


class AnswerStream:
    """The pieces of an answer, as they are written; `answer` is set after the last one.

    Raises:
        ModelServerError: during iteration: no answer, or one that broke off; the usage of `answer`
            is the usage until then.
        BudgetReached: the request could exceed the limit; it was not sent.
    """

    def __init__(
        self, model: VisionModel, prompt: Prompt, question: str, hits: Sequence[Hit]
    ) -> None:
        self._pieces = ReplyStream(model, prompt)
        self._model = model.name
        self._question = question
        self._hits = hits

    def __iter__(self) -> Iterator[str]:
        yield from self._pieces

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The matches sent, best first: those that can be read."""
        return tuple(hit.image_id for hit in self._hits)

    @property
    def answer(self) -> Answer:
        """The answer, and the pictures and texts it was made from."""
        return _answer(
            self._question, self._model, self._hits, self._pieces.reply, self._pieces.usage
        )


def stream_answer(
    question: str,
    model: VisionModel,
    *,
    hits: Sequence[Hit] = (),
    query: Query | None = None,
    images: int = 1,
    value_alone: bool = False,
) -> AnswerStream:
    """Ask a vision model about the best matches, or about a query without any retrieval.

    Args:
        question: the user's question.
        model: the model that answers.
        hits: matches, best first; the first `images` that can be read are sent with their
            descriptions.
        query: sent instead, picture and text, if `hits` is empty.
        images: how many matches to send.
        value_alone: ask for the value alone, "48.50 dollars", instead of a sentence.

    Raises:
        MmragError: no question, nothing to send, or no picture that can be read.
    """
    prompt, sent = answer_prompt(question, hits, query, images, value_alone)
    return AnswerStream(model, prompt, question, sent)


async def complete_answer(
    question: str,
    model: VisionModel,
    client: openai.AsyncOpenAI,
    *,
    hits: Sequence[Hit] = (),
    query: Query | None = None,
    images: int = 1,
    value_alone: bool = False,
) -> Answer:
    """As `stream_answer`, in one piece, beside other requests on one event loop.

    Raises:
        MmragError, ModelServerError, BudgetReached: as `stream_answer` and `VisionModel.complete`.
    """
    asked = (question, hits, query, images, value_alone)
    prompt, sent = await asyncio.to_thread(answer_prompt, *asked)
    reply, usage = await model.complete(client, prompt)
    return _answer(question, model.name, sent, reply, usage)


def answer_prompt(
    question: str, hits: Sequence[Hit], query: Query | None, images: int, value_alone: bool
) -> tuple[Prompt, list[Hit]]:
    """The request that `stream_answer` makes from its arguments, and the hits in it.

    Raises:
        MmragError: as `stream_answer`.
    """
    if not question.strip():
        raise MmragError("Ask a question.")
    if images < 1:
        raise MmragError(f"At least one image must be sent, not {images}.")
    sent: list[Hit] = []
    parts: list[str | Picture] = []
    unreadable: list[str] = []
    for hit in hits:
        if len(sent) == images:
            break
        try:
            picture = Picture.read(hit.path, _SIDE)
        except ImageError as error:
            unreadable.append(f"{hit.image_id}: {error}")
            continue
        sent.append(hit)
        described = data(hit.text, _LONGEST_DESCRIPTION) if hit.text else "it has none"
        parts += [f"Match {len(sent)}, its description: {described}", picture]
    if hits and not sent:
        raise MmragError(f"None of the matches can be read: {unreadable[0]}.")
    if not hits:
        if query is None:
            raise MmragError("There is nothing to answer from: no hits, and no query.")
        parts = _query_parts(query)
    parts.append(f"Question: {data(question, _LONGEST_QUESTION)}")
    rules = [_FROM_MATCHES if hits else _FROM_QUERY, *([_VALUE_ALONE] if value_alone else [])]
    return Prompt("\n\n".join([*rules, DATA_RULE]), tuple(parts), MAX_TOKENS), sent


def _answer(question: str, model: str, sent: Sequence[Hit], reply: Reply, usage: Usage) -> Answer:
    return Answer(
        question=question,
        answer=reply.text.strip(),
        model=model,
        image_ids=tuple(hit.image_id for hit in sent),
        texts=tuple(hit.text for hit in sent),
        usage=usage,
        problem=_problem(reply),
    )


def answer(
    question: str,
    model: VisionModel,
    *,
    hits: Sequence[Hit] = (),
    query: Query | None = None,
    images: int = 1,
) -> Answer:
    """As `stream_answer`, in one piece.

    Raises:
        MmragError, ModelServerError, BudgetReached: as `stream_answer` and `AnswerStream`.
    """
    stream = stream_answer(question, model, hits=hits, query=query, images=images)
    for _ in stream:
        pass
    return stream.answer


async def judge_answer(
    question: str,
    given: str,
    accepted: Sequence[str],
    model: VisionModel,
    client: openai.AsyncOpenAI,
) -> tuple[bool, Usage]:
    """Whether a model says that an answer means the same as an accepted one; it sees only text.

    Raises:
        ModelServerError, BudgetReached: as `VisionModel.complete`.
    """
    told = [f"Question: {data(question, _LONGEST_QUESTION)}"]
    told += [f"Accepted answer: {data(one)}" for one in accepted]
    told.append(f"Given answer: {data(given, _LONGEST_DESCRIPTION)}")
    prompt = Prompt(f"{_JUDGE}\n\n{DATA_RULE}", ("\n".join(told),), MAX_TOKENS)
    reply, usage = await model.complete(client, prompt)
    return reply.text.strip().lower().startswith("yes"), usage


def _query_parts(query: Query) -> list[str | Picture]:
    parts: list[str | Picture] = []
    if query.text:
        parts.append(f"The person's text: {data(query.text, _LONGEST_DESCRIPTION)}")
    for image in query.images:
        try:
            parts += ["The person's picture:", Picture.read(image, _SIDE)]
        except ImageError as error:
            named = os.fspath(image) if isinstance(image, str | os.PathLike) else None
            raise ImageError(f"{named or 'The query picture'}: {error}") from error
    return parts


def _problem(reply: Reply) -> str | None:
    if reply.problem is not None:
        return f"{reply.problem[0].upper()}{reply.problem[1:].rstrip('.')}."
    if reply.cut:
        tokens = reply.completion_tokens or MAX_TOKENS
        return f"The answer was cut off after {counted(tokens, 'token')}."
    return None
