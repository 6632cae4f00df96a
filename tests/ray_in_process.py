"""Ray's part of an index run, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmrag.distributed.cluster import Cluster
from mmrag.distributed.ray_embedder import EmbedTask, EncodeBlock, RayEmbedder, RaySource, _table
from mmrag.distributed.sources import Root
from mmrag.distributed.worker import EncoderSpec
from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError
from mmrag.galleries.gallery import open_gallery
from mmrag.types import GalleryImage


class Here(RayEmbedder):
    """Ray's place taken by this process: the same blocks through the same actor."""

    limit = 1000

    def writing(self, shards: str) -> Here:
        other = Here(self.cluster, replace(self.task, shards=shards))
        other.limit = self.limit
        return other

    def _blocks(
        self, images: Sequence[GalleryImage], positions: Sequence[int], held: Mapping[str, str]
    ) -> Iterator[pa.Table]:
        actor, size = EncodeBlock(self.task), self._block_size(len(positions))
        for start in range(0, len(positions), size):
            self.limit -= 1
            if self.limit < 0:
                raise MmragError("switched off")
            yield actor(_table(images, positions[start : start + size], held))


def source_of(tiny: Encoder, tiny_folder: Path, folder: Path, **options: Any) -> RaySource:
    spec = EncoderSpec(str(tiny_folder), device="cpu", precision="fp32")
    metadata, embed = options.get("metadata"), options.get("embed", "image")
    task = EmbedTask(spec, tiny.info.fingerprint, Root(str(folder.resolve())), embed, 2, 1)
    gallery = open_gallery(folder, metadata)
    return RaySource(gallery, tiny, embed, Here(Cluster(2, 1, 0, 1), task))
