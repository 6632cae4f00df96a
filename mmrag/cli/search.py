"""`search`: one query."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.index_options import search_options
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
    open_reranker,
    open_rewriter,
    rerank_line,
    rerank_options,
    usage_line,
)

if TYPE_CHECKING:
    from mmrag.index.kinds import SearchOptions
    from mmrag.rerank.shuffles import ShuffleReport
    from mmrag.types import Query, SearchResult, Usage


@click.command()
@query_options
@click.option(
    "-k",
    type=click.IntRange(1, 10_000),
    default=9,
    show_default=True,
    help="How many hits to show.",
)
@click.option("--filter", metavar="EXPR", help='For example: metadata["price"] < 10')
@click.option("--exclude-query-image", is_flag=True, help="Leave the query picture itself out.")
@click.option("--grid", metavar="OUT.jpg", help="Draw query and hits as one picture.")
@rerank_options
@click.option(
    "--shuffles",
    type=click.IntRange(2, 1000),
    metavar="N",
    help="Also rerank N random orders of the same hits, and report how well they agree.",
)
@search_options
@store_options
@encoder_options
@json_option
def search(
    query: Query,
    k: int,
    filter: str | None,
    exclude_query_image: bool,
    grid: str | None,
    reranking: RerankChoice,
    shuffles: int | None,
    searching: SearchOptions,
    uri: str | None,
    collection: str,
    as_json: bool,
    **encoder: Any,
) -> None:
    """Find images by a picture, a text, or both together.

    \b
    Example:
      mmrag search --image leopard.jpg --text "phone case with this image theme" \\
          --rerank vision --grid result.jpg
      mmrag search --image front.jpg --image back.jpg --without-text "leather"
    """
    if shuffles and not reranking.rerank:
        raise click.UsageError("--shuffles needs --rerank.")
    # Read when NumPy is imported: for one query's small products, threads would only wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mmrag.index.image_index import ImageIndex
    from mmrag.rerank.shuffles import shuffle_agreement
    from mmrag.search.searcher import Searcher
    from mmrag.types import Usage

    reranker = open_reranker(reranking, device=encoder["device"], precision=encoder["precision"])
    rewriter = open_rewriter(reranking, reranker=reranker)
    # A local store's server starts while the encoder is loaded: a second less from a cold start.
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(ImageIndex.open, uri, collection, options=searching)
        loaded = open_encoder(one_query=True, **encoder)
    with opening.result() as opened:
        result = Searcher(opened, loaded, reranker, rewriter).search(
            query,
            reranking.hits_needed(k, reranker),
            filter=filter,
            exclude_query_image=exclude_query_image,
        )
    warn_of_other_pictures(loaded.info.name, (hit.path for hit in result.hits))
    agreement = None
    if reranker is not None and shuffles:
        reranked = result.hits[: reranker.depth]
        reranked = sorted(reranked, key=lambda hit: hit.retrieval_rank)
        agreement = shuffle_agreement(reranker, [replace(result, hits=reranked)], shuffles)
    result = replace(result, hits=result.hits[:k])
    asked = (result.rewrite, result.rerank, agreement)
    usage = sum((one.usage for one in asked if one is not None), Usage())
    if grid:
        from mmrag.images.grid import result_grid, save_grid

        save_grid(result_grid(result), grid)
    if as_json:
        print_json(
            {
                "asked": query.text,
                "hits": result.hits,
                "notes": result.notes,
                "explanation": result.explanation,
                "rerank": asdict(result.rerank) if result.rerank else {},
                "rewrite": asdict(result.rewrite) if result.rewrite else {},
                "shuffles": _shuffles_json(agreement) if agreement else None,
                "usage": asdict(usage),
                "timings_ms": result.timings_ms,
                "grid": grid,
            }
        )
        return
    _show(result, agreement, usage)
    if grid:
        click.echo(f"Grid: {grid}")


def _show(result: SearchResult, agreement: ShuffleReport | None, usage: Usage) -> None:
    if result.rewrite is not None:
        click.echo(printable(result.rewrite.sentence))
        click.echo(f"({usage_line(result.rewrite.usage)})")
    for hit in result.hits:
        line = f"{hit.rank:3}  {hit.score:.4f}  {printable(hit.image_id)}"
        if result.rerank is not None:
            line += f"  (was {hit.retrieval_rank})"
        click.echo(line + (f"  {printable(hit.text)[:80]}" if hit.text else ""))
    if not result.hits:
        click.echo("No hits: the collection is empty, or the filter leaves nothing.")
    for note in result.notes:
        click.echo(printable(note))
    if result.explanation:
        click.echo(f"Why the first: {printable(result.explanation)}")
    if result.rerank is not None:
        click.echo(printable(rerank_line(result.rerank)))
    if agreement is not None and agreement.tau is not None:
        click.echo(
            f"{agreement.shuffles} shuffles: Kendall's tau {agreement.tau:.3f} between rankings, "
            f"{agreement.same_best:.0%} of the pairs agree on the first hit"
        )
    if agreement is not None:
        click.echo(f"All requests together: {usage_line(usage)}")
    click.echo("  ".join(f"{stage} {ms:.0f} ms" for stage, ms in result.timings_ms.items()))


def _shuffles_json(agreement: ShuffleReport) -> dict[str, Any]:
    return {
        "shuffles": agreement.shuffles,
        "kendall_tau": agreement.tau,
        "same_best": agreement.same_best,
        "best": agreement.best[0],
        "statuses": agreement.statuses,
        "usage": asdict(agreement.usage),
    }
