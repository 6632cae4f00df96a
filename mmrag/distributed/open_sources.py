"""Input of `ImageIndex.add` from Ray workers or from Parquet shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mmrag.distributed.cluster import connected
from mmrag.distributed.parquet import ShardSource
from mmrag.distributed.ray_embedder import (
    EmbedTask,
    RayEmbedder,
    RaySource,
    describe_encoder,
    map_tasks,
)
from mmrag.distributed.sources import list_images, open_root
from mmrag.distributed.worker import EncoderSpec
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.galleries.metadata import Reading
from mmrag.index.rows import Source


@contextmanager
def ray_source(
    folder: str,
    spec: EncoderSpec,
    *,
    metadata: str | None = None,
    reading: Reading | None = None,
    embed: str = "image",
    batch_size: int | None = None,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[RaySource]:
    """Images of a folder, bucket or archives, and Ray workers for as long as the context lasts.

    A collection gets the rows that one process would write: the same ids, hashes, texts and
    metadata, and vectors equal within float rounding. This process does all writing to Milvus.

    Args:
        folder: as `open_root` takes it.
        spec: the encoder.
        metadata: a file joined by path, as for `open_gallery`; may be a URL.
        reading: how that file is written.
        embed: "image", "text" or "both".
        batch_size: images per forward pass; default: what suits the workers' device.
        address: of a Ray cluster, as for `connected`.
        workers: copies of the model, as for `connected`.

    Raises:
        MmragError: no such place, no Ray, or no such encoder on its nodes.
    """
    root = open_root(folder)
    with connected(address, workers, spec.device) as cluster:
        gallery = list_images(root, metadata, map_tasks(), reading)
        info, suits = describe_encoder(cluster, spec)
        task = EmbedTask(
            spec.absolute(), info.fingerprint, root, embed, batch_size or suits, cluster.cpus
        )
        encoder = _known(replace(info, name=spec.name))
        yield RaySource(gallery, encoder, embed, RayEmbedder(cluster, task))


def shard_source(shards: str | os.PathLike[str], folder: str) -> Source:
    """Images and vectors of Parquet shards; nothing is encoded, and Ray is not needed.

    The collection remembers the fingerprint of the encoder that made the vectors: it can only be
    searched with that encoder, and a collection of another one is refused.

    Args:
        shards: their folder or URL.
        folder: where the pictures are, as `open_root` takes it.

    Raises:
        MmragError: no shards there, incomplete ones, or an image that occurs twice.
    """
    source = ShardSource(os.fspath(shards), open_root(folder))
    manifest = source.manifest
    return Source(source.gallery(), _known(manifest.info()), manifest.embed, source)


def _known(info: EncoderInfo) -> Encoder:
    """A stand-in for an encoder elsewhere, for `ImageIndex.open`."""
    return Encoder(None, info)  # type: ignore[arg-type]
