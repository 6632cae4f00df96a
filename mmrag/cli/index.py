"""`index`: embed a folder and store it."""

from __future__ import annotations

import sys
from typing import Any

import click

from mmrag.cli.options import (
    encoder_options,
    json_option,
    open_encoder,
    print_json,
    printable,
    store_options,
    warn_drawings_only,
)

_SHOWN = 20


@click.command()
@click.argument("folder")
@click.option("--metadata", metavar="FILE", help="JSON Lines, JSON or CSV, joined by path.")
@click.option(
    "--embed",
    type=click.Choice(["image", "text", "both"]),
    default="image",
    show_default=True,
    help="What becomes the vector: the picture, its description, or both composed.",
)
@store_options
@encoder_options
@click.option("--batch-size", type=click.IntRange(1), help="Default: what suits the device.")
@json_option
def index(
    folder: str,
    metadata: str | None,
    embed: str,
    uri: str | None,
    collection: str,
    batch_size: int | None,
    as_json: bool,
    **encoder: Any,
) -> None:
    """Embed the images of FOLDER and store them in a collection.

    Run it again after changes: unchanged images are kept, changed ones replaced, vanished ones
    removed. A run that was interrupted goes on. The collection holds one folder: indexing another
    one into it replaces what it holds.

    \b
    Example:
      python -m mmrag index photos --metadata photos/description.json --collection shop
    """
    from tqdm import tqdm

    from mmrag.gallery import open_gallery
    from mmrag.index.image_index import ImageIndex

    gallery = open_gallery(folder, metadata)
    loaded = open_encoder(**encoder)
    with (
        ImageIndex.open(uri, collection, loaded) as opened,
        tqdm(total=len(gallery.images), unit="img", file=sys.stderr, desc="Indexing") as bar,
    ):
        report = opened.add(gallery, embed=embed, batch_size=batch_size, progress=bar.update)
    warn_drawings_only(loaded.info.name, (image.path for image in gallery.images))
    if as_json:
        print_json(
            {
                "collection": collection,
                "encoder": loaded.info.name,
                "added": report.added,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "removed": report.removed,
                "skipped": report.skipped,
                "seconds": report.seconds,
                "images_per_second": report.images_per_second,
            }
        )
        return
    click.echo(
        f"Collection {collection}: {report.added} added, {report.updated} updated, "
        f"{report.unchanged} unchanged, {report.removed} removed, {len(report.skipped)} skipped, "
        f"in {report.seconds:.1f} s ({report.images_per_second:.1f} images/s)."
    )
    for skipped in report.skipped[:_SHOWN]:
        click.echo(f"  skipped {printable(skipped.path)}: {printable(skipped.reason)}")
    if len(report.skipped) > _SHOWN:
        click.echo(f"  and {len(report.skipped) - _SHOWN} more; --json lists all.")
