"""`ask`: retrieve, then answer from the best match."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import (
    encoder_options,
    json_option,
    open_encoder,
    print_json,
    printable,
    store_options,
    warn_of_other_pictures,
)
from mmrag.cli.query_options import query_options
from mmrag.cli.rerank_options import (
    RerankChoice,
    open_answering_model,
    open_reranker,
    open_rewriter,
    rerank_line,
    rerank_options,
    usage_line,
)

if TYPE_CHECKING:
    from mmrag.search.answer import Answer, AnswerStream
    from mmrag.types import Query


@click.command()
@click.argument("question")
@query_options
@click.option(
    "--model", metavar="M", default="vision", show_default=True, help="Model that answers."
)
@click.option(
    "--images",
    type=click.IntRange(1, 25),
    default=1,
    show_default=True,
    help="How many of the best matches to send.",
)
@click.option(
    "--compare", is_flag=True, help="Also answer from the query alone, without retrieval."
)
@click.option(
    "-k",
    type=click.IntRange(1, 10_000),
    default=9,
    show_default=True,
    help="How many hits to retrieve.",
)
@click.option("--filter", metavar="EXPR", help='For example: metadata["price"] < 10')
@click.option("--exclude-query-image", is_flag=True, help="Leave the query picture itself out.")
@rerank_options
@store_options
@encoder_options
@json_option
def ask(
    question: str,
    query: Query,
    model: str,
    images: int,
    compare: bool,
    k: int,
    filter: str | None,
    exclude_query_image: bool,
    reranking: RerankChoice,
    uri: str | None,
    collection: str,
    as_json: bool,
    **encoder: Any,
) -> int:
    """Answer QUESTION from the best match for a picture, a text, or both.

    Needs a vision model: OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own.

    \b
    Example:
      mmrag ask "What does it cost?" --image leopard.jpg \\
          --text "phone case with this image theme" --compare
    """
    from mmrag.errors import MmragError
    from mmrag.index.image_index import ImageIndex
    from mmrag.search.answer import stream_answer
    from mmrag.search.searcher import Searcher
    from mmrag.vision.budget import Budget

    budget = Budget(reranking.max_cost)
    answering = open_answering_model(model, reranking, budget)
    reranker = open_reranker(
        reranking, device=encoder["device"], precision=encoder["precision"], budget=budget
    )
    rewriter = open_rewriter(reranking, budget)
    loaded = open_encoder(**encoder)
    with ImageIndex.open(uri, collection, loaded) as opened:
        result = Searcher(opened, loaded, reranker, rewriter).search(
            query,
            reranking.hits_needed(max(k, images), reranker),
            filter=filter,
            exclude_query_image=exclude_query_image,
        )
    warn_of_other_pictures(loaded.info.name, (hit.path for hit in result.hits))
    if not result.hits:
        raise MmragError(
            "No hits to answer from: the collection is empty, or the filter leaves nothing."
        )
    stream = stream_answer(question, answering, hits=result.hits, images=images)
    if not as_json:
        if result.rewrite is not None:
            click.echo(printable(result.rewrite.sentence))
            click.echo(f"({usage_line(result.rewrite.usage)})")
        if result.rerank is not None:
            click.echo(printable(rerank_line(result.rerank)))
        click.echo(f"From {', '.join(map(printable, stream.image_ids))}:")
    answer = _follow(stream, show=not as_json)
    unaided = None
    if compare:
        if not as_json:
            click.echo("Without retrieval:")
        unaided = _follow(stream_answer(question, answering, query=query), show=not as_json)
    if as_json:
        print_json(
            {
                "answer": answer.answer,
                "problem": answer.problem,
                "image_id": answer.image_ids[0],
                "image_ids": list(answer.image_ids),
                "texts": list(answer.texts),
                "model": answer.model,
                "usage": asdict(answer.usage),
                "without_retrieval": asdict(unaided) if unaided else None,
                "hits": result.hits[:k],
                "explanation": result.explanation,
                "rerank": asdict(result.rerank) if result.rerank else {},
                "rewrite": asdict(result.rewrite) if result.rewrite else {},
                "timings_ms": result.timings_ms,
            }
        )
    return 0 if answer.answer else 1


def _follow(stream: AnswerStream, *, show: bool) -> Answer:
    """Show an answer as it is written, with its usage even if it fails."""
    from mmrag.vision.endpoint import RequestFailed

    failed = None
    try:
        for piece in stream:
            if show:
                sys.stdout.write("\n".join(map(printable, piece.split("\n"))))
                sys.stdout.flush()
    except RequestFailed as error:
        failed = str(error)
    answer = stream.answer if failed is None else replace(stream.answer, problem=failed)
    if show:
        click.echo()
        click.echo(f"({printable(answer.model)}: {usage_line(answer.usage)})")
    if answer.problem:
        click.echo(printable(answer.problem), err=True)
    return answer
