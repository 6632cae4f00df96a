"""`adopt`: search and evaluate a collection that somebody else made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmrag.cli.options import encoder_options, json_option, open_encoder, print_json, printable


@click.command()
@click.option("--uri", metavar="U", help="Milvus. Default: MMRAG_URI, else the local store.")
@click.option("--collection", metavar="C", required=True, help="Collection in that Milvus.")
@click.option(
    "--vector-field",
    metavar="F",
    default="vector",
    show_default=True,
    help="Field with the vectors.",
)
@click.option(
    "--path-field",
    metavar="P",
    default="image_path",
    show_default=True,
    help="Field that holds the pictures' paths.",
)
@click.option(
    "--image-root",
    metavar="DIR",
    default=".",
    help="Folder that relative paths start from. Default: this folder.",
)
@encoder_options
@json_option
def adopt(
    uri: str | None,
    collection: str,
    vector_field: str,
    path_field: str,
    image_root: str,
    as_json: bool,
    **encoder: Any,
) -> int:
    """Take over a Milvus collection made by another program, to search and evaluate it.

    Nothing is written to it. Ten of its pictures are re-encoded to check that the encoder is the
    one that made it; then `search`, `ask` and `evaluate --collection` accept it by name.

    \b
    Example:
      mmrag adopt --uri http://localhost:19530 --collection multimodal_rag_demo \\
          --encoder visualized-bge-base --image-root tutorial
    """
    from mmrag.errors import MmragError
    from mmrag.index import adopted
    from mmrag.index.store import MilvusStore

    store = MilvusStore(uri)
    try:
        root = str(Path(image_root).resolve())
        found = adopted.look_at(store, collection, vector_field, path_field, root)
        loaded = open_encoder(**encoder)
        probe = adopted.probe(store, found, loaded)
    finally:
        store.close()
    lowest = min(probe.cosines.values())
    if not probe.is_same:
        raise MmragError(
            f"{loaded.info.name} did not make {collection!r}: of {len(probe.cosines)} pictures "
            f"that were encoded anew one has a cosine of {lowest:.3f} with the stored vector. Name "
            "the encoder that made it, with the same weights and settings."
        )
    kept = adopted.keep(found, loaded)
    if as_json:
        document = {key: value for key, value in asdict(kept).items() if key != "ids"}
        print_json({**document, "probe": asdict(probe)})
        return 0
    click.echo(
        f"{printable(collection)}: {kept.dim} dimensions, {kept.metric}. {len(probe.cosines)} "
        f"pictures encoded anew have a cosine of {lowest:.4f} or more with what is stored: "
        f"{loaded.info.name} made it."
    )
    for path, reason in probe.unreadable.items():
        click.echo(f"Not read: {printable(path)}: {printable(reason)}")
    click.echo(f"Next: mmrag search --collection {collection} --encoder {loaded.info.name} …")
    return 0
