"""`search`: one query."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from mmrag.cli.options import (
    encoder_options,
    json_option,
    open_encoder,
    print_json,
    printable,
    store_options,
)


@click.command()
@click.option("--image", metavar="P", help="The query picture.")
@click.option("--text", metavar="T", help="The instruction or description.")
@click.option("-k", type=click.IntRange(1, 10_000), default=9, show_default=True)
@click.option("--filter", metavar="EXPR", help='For example: metadata["price"] < 10')
@click.option("--exclude-query-image", is_flag=True, help="Leave the query picture itself out.")
@click.option("--grid", metavar="OUT.jpg", help="Draw query and hits as one picture.")
@store_options
@encoder_options
@json_option
def search(
    image: str | None,
    text: str | None,
    k: int,
    filter: str | None,
    exclude_query_image: bool,
    grid: str | None,
    uri: str | None,
    collection: str,
    as_json: bool,
    **encoder: Any,
) -> None:
    """Find images by a picture, a text, or both together.

    \b
    Example:
      python -m mmrag search --image leopard.jpg --text "phone case with this image theme" \\
          --grid result.jpg
    """
    if not image and not text:
        raise click.UsageError("Give --image, --text, or both.")
    from mmrag.grid import result_grid, save_grid
    from mmrag.index.image_index import ImageIndex
    from mmrag.search import Searcher
    from mmrag.types import Query

    loaded = open_encoder(**encoder)
    with ImageIndex.open(uri, collection, loaded) as opened:
        result = Searcher(opened, loaded).search(
            Query(image, text), k, filter=filter, exclude_query_image=exclude_query_image
        )
    if grid:
        save_grid(result_grid(result), grid)
    if as_json:
        print_json(
            {
                "hits": result.hits,
                "explanation": result.explanation,
                "rerank": asdict(result.rerank) if result.rerank else {},
                "timings_ms": result.timings_ms,
                "grid": grid,
            }
        )
        return
    for hit in result.hits:
        line = f"{hit.rank:3}  {hit.score:.4f}  {printable(hit.image_id)}"
        click.echo(line + (f"  {printable(hit.text)[:80]}" if hit.text else ""))
    if not result.hits:
        click.echo("No hits: the collection is empty, or the filter leaves nothing.")
    click.echo("  ".join(f"{stage} {ms:.0f} ms" for stage, ms in result.timings_ms.items()))
    if grid:
        click.echo(f"Grid: {grid}")
