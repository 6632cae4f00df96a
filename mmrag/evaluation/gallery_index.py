"""An eval set's gallery in a collection of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.index.image_index import ImageIndex
from mmrag.index.kinds import BuildOptions
from mmrag.index.update import IndexReport


def collection_name(eval_set: EvalSet, encoder: Encoder, embed: str = "image") -> str:
    """Name of an eval set's collection: set and encoder decide the vectors, so both are in it."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", eval_set.name).strip("_")[:60] or "set"
    kind = "" if embed == "image" else f"_{embed}"
    return f"eval_{name}_{encoder.info.fingerprint_of(embed)[:12]}{kind}"


def adopted_index(
    eval_set: EvalSet,
    encoder: Encoder,
    collection: str,
    uri: str | os.PathLike[str] | None = None,
) -> ImageIndex:
    """An adopted collection as the eval set's gallery: its pictures are named by their paths.

    Raises:
        MmragError: it was not adopted.
    """
    index = ImageIndex.open(uri, collection, encoder)
    if index.adopted is None:
        index.close()
        raise MmragError(
            f"Collection {collection!r} was not adopted, and an eval set's gallery has a "
            "collection of its own; leave --collection out, or see `mmrag adopt`."
        )
    index.name_images({os.path.realpath(one.path): one.image_id for one in eval_set.images})
    return index


def index_eval_set(
    eval_set: EvalSet,
    encoder: Encoder,
    uri: str | os.PathLike[str] | None = None,
    *,
    embed: str = "image",
    batch_size: int = 32,
    progress: Callable[[int], Any] | None = None,
) -> tuple[ImageIndex, IndexReport]:
    """Bring the eval set's own collection up to date; unchanged images are not embedded again.

    Args:
        eval_set: its gallery is indexed; absent files are listed as skipped.
        encoder: embeds what is new.
        uri: the Milvus, as for `ImageIndex.open`.
        embed: "image", "text" (the descriptions) or "both" composed.
        batch_size: images per forward pass.
        progress: called with 1 after each image.

    Returns:
        The open index, which the caller closes, and what was done.

    Raises:
        MmragError: none of the pictures exists.
        IndexStoreError: Milvus fails; what was written is kept.
    """
    index = ImageIndex.open(uri, collection_name(eval_set, encoder, embed), encoder)
    try:
        report = index.add(
            eval_set.gallery(),
            embed=embed,
            batch_size=batch_size,
            progress=progress,
            # The set's files alone decide what is in the gallery.
            build=BuildOptions(prune=True),
        )
    except BaseException:
        index.close()
        raise
    return index, report
