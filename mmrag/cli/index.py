"""`index`: embed a folder and store it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.distributed_options import check_engine, encoder_spec, engine_options
from mmrag.cli.index_options import build_options
from mmrag.cli.options import (
    encoder_options,
    json_option,
    open_encoder,
    print_json,
    printable,
    store_options,
    warn_of_other_pictures,
)
from mmrag.cli.rerank_options import usage_line
from mmrag.system.words import counted

if TYPE_CHECKING:
    from mmrag.index.kinds import BuildOptions
    from mmrag.index.rows import Source
    from mmrag.index.update import IndexReport

_SHOWN, _NAMED = 20, 5
_READING = ("metadata_encoding", "metadata_delimiter")
# Exit status: done, but some pictures could not be read.
UNREADABLE = 3


@click.command()
@click.argument("folder")
@click.option(
    "--metadata",
    metavar="FILE",
    help="Descriptions and metadata (JSON Lines, JSON or CSV), joined by path.",
)
@click.option(
    "--metadata-encoding",
    metavar="NAME",
    help="Encoding of that file, such as windows-1252. Default: detected.",
)
@click.option(
    "--metadata-delimiter",
    metavar="CHARACTER",
    help="Separator of a table's cells, such as ';' or tab. Default: detected.",
)
@click.option(
    "--embed",
    type=click.Choice(["image", "text", "both"]),
    default="image",
    show_default=True,
    help="What to embed: the picture, its description, or both composed.",
)
@store_options
@encoder_options
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Pictures per batch. Default: what suits the device.",
)
@build_options
@engine_options
@click.option(
    "--parquet",
    metavar="DIR",
    help="With --engine ray: also keep the rows as Parquet shards in this folder or URL.",
)
@click.option(
    "--store/--no-store",
    default=True,
    help="--no-store: with --parquet, write nothing to Milvus.",
)
@click.option(
    "--from-parquet",
    metavar="DIR",
    help="Load the rows from shards instead of embedding; FOLDER is where the pictures are.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with status 1 instead of 3 when pictures cannot be read."
)
@json_option
def index(
    folder: str,
    metadata: str | None,
    metadata_encoding: str | None,
    metadata_delimiter: str | None,
    embed: str,
    uri: str | None,
    collection: str,
    batch_size: int | None,
    build: BuildOptions,
    engine: str,
    address: str | None,
    workers: int | None,
    parquet: str | None,
    store: bool,
    from_parquet: str | None,
    strict: bool,
    as_json: bool,
    **encoder: Any,
) -> int:
    """Embed the images of FOLDER and store them in a collection.

    Run it again after changes: unchanged images are kept, changed ones replaced, vanished ones
    removed; an image that is there but cannot be read keeps its row and is listed as stale. An
    interrupted run resumes. A collection holds one folder: indexing another into it replaces its
    contents, which needs --prune.

    Exit status 3 means: done, but some pictures could not be read.

    With --engine ray, FOLDER may also be a URL such as s3://bucket/photos, or tar archives in
    WebDataset layout: 'shards/*.tar' or 's3://bucket/shards/*.tar'.

    \b
    Example:
      mmrag index photos --metadata photos/description.json --collection shop
      mmrag index photos --collection shop --index-type HNSW --index-param M=32 --replace
      mmrag index s3://bucket/photos --engine ray --parquet s3://bucket/vectors
      mmrag index s3://bucket/photos --from-parquet s3://bucket/vectors
    """
    check_engine(engine, address=address, workers=workers, parquet=parquet)
    if not store and not parquet:
        raise click.UsageError("--no-store needs --parquet, or nothing would be kept.")
    if from_parquet:
        _refuse_beside_shards("metadata", *_READING, "embed", "batch_size", "engine", *encoder)

    from mmrag.galleries.metadata import Reading

    reading = Reading(metadata_encoding, metadata_delimiter)

    def add(source: Source) -> IndexReport:
        from mmrag.index.image_index import ImageIndex

        # A collection to be replaced may have been made by another encoder.
        expected = None if build.replace else source.encoder
        with ImageIndex.open(uri, collection, expected) as opened, _bar(source) as bar:
            opened.encoder = source.encoder
            return opened.add(
                source.gallery,
                embed=source.embed,
                batch_size=batch_size,
                progress=bar.update,
                embedder=source.embedder,
                build=build,
            )

    if from_parquet:
        from mmrag.distributed.open_sources import shard_source

        source = shard_source(from_parquet, folder)
        report = add(source)
    elif engine == "ray":
        source, report = _over_ray(
            folder,
            encoder,
            parquet,
            add if store else None,
            metadata=metadata,
            reading=reading,
            embed=embed,
            batch_size=batch_size,
            address=address,
            workers=workers,
            prune=build.prune,
        )
    else:
        from mmrag.galleries.gallery import open_gallery
        from mmrag.index.rows import Source

        source = Source(open_gallery(folder, metadata, reading), open_encoder(**encoder), embed)
        report = add(source)
    name = source.encoder.info.name
    # Computing elsewhere is not counted here.
    used = source.encoder.usage if source.embedder is None else None
    warn_of_other_pictures(name, (image.path for image in source.gallery.images))
    status = (1 if strict else UNREADABLE) if report.unreadable else 0
    if as_json:
        print_json(
            {
                "collection": collection if store else None,
                "parquet": parquet or from_parquet,
                "encoder": name,
                "added": report.added,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "removed": report.removed,
                "skipped": report.skipped,
                "other_files": report.others,
                "notes": report.notes,
                "odd": {
                    "flat": len(report.flat),
                    "tiny": len(report.tiny),
                    "repeated": sum(len(ids) - 1 for ids in report.repeated),
                },
                "flat": report.flat,
                "tiny": report.tiny,
                "repeated": report.repeated,
                "unreadable": report.unreadable,
                "stale": report.stale,
                "seconds": report.seconds,
                "images_per_second": report.images_per_second,
                **({"usage": used} if used else {}),
            }
        )
        return status
    click.echo(
        f"{f'Collection {collection}' if store else parquet}: {report.added} added, "
        f"{report.updated} updated, "
        f"{report.unchanged} unchanged, {report.removed} removed, {len(report.skipped)} skipped, "
        f"in {report.seconds:.1f} s"
        + (f" ({report.images_per_second:.1f} images/s)." if report.embedded else ".")
    )
    if used is not None:
        click.echo(f"{printable(name)}: {usage_line(used)}")
    stale = set(report.stale)
    for skipped in report.skipped[:_SHOWN]:
        what = "stale" if skipped.path in stale else "skipped"
        click.echo(f"  {what} {printable(skipped.path)}: {printable(skipped.reason)}")
    if len(report.skipped) > _SHOWN:
        click.echo(f"  and {len(report.skipped) - _SHOWN} more; --json lists all.")
    for what, ids in report.odd():
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        named = printable(", ".join(ids[:_NAMED]))
        click.echo(f"  {what}: {counted(len(ids), 'picture')} ({named}{more})")
    for note in report.notes:
        click.echo(f"  {printable(note)}")
    if report.others:
        from mmrag.galleries.gallery import listed

        click.echo(f"  not pictures: {printable(listed(report.others))}")
    if report.unreadable:
        kept = f"; {len(stale)} of them kept the rows they had" if stale else ""
        click.echo(f"Done, with {report.unreadable} unreadable{kept}.")
    return status


def _over_ray(
    folder: str,
    encoder: dict[str, Any],
    parquet: str | None,
    add: Callable[[Source], IndexReport] | None,
    prune: bool,
    **options: Any,
) -> tuple[Source, IndexReport]:
    """Embed over Ray workers, into a collection, into shards, or into both."""
    from mmrag.distributed.open_sources import ray_source, shard_source

    with ray_source(folder, encoder_spec(encoder), **options) as source:
        if parquet is None:
            assert add is not None
            return source, add(source)
        from mmrag.distributed.parquet import embed_to_shards

        with _bar(source) as bar:
            report = embed_to_shards(source, parquet, progress=bar.update, prune=prune)
    if add is None:
        return source, report
    shards = shard_source(parquet, folder)
    loaded = add(shards)
    return shards, replace(
        loaded,
        embedded=report.embedded,
        skipped=report.skipped + loaded.skipped,
        others=report.others,
        notes=report.notes,
        flat=report.flat,
        tiny=report.tiny,
        unreadable=report.unreadable + loaded.unreadable,
        stale=sorted({*report.stale, *loaded.stale}),
        seconds=report.seconds + loaded.seconds,
    )


def _bar(source: Source) -> Any:
    from mmrag.cli.progress import progress_bar

    total = len(source.gallery.images)
    return progress_bar(total=total, unit="img", desc="Indexing")


def _refuse_beside_shards(*names: str) -> None:
    """Shards bring their own encoder and descriptions."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} does not go with --from-parquet: shards hold vectors, "
                "texts and metadata as they were embedded."
            )
