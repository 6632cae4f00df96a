"""Embedding over Ray Data: read, decode and encode in a pool of actors, blocks of results back.

A block goes to one actor and comes back whole: pixels stay where they were decoded. If an actor
dies, its block goes to another.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa  # type: ignore[import-untyped]

from mmrag.distributed.cluster import Cluster, import_ray, own_error
from mmrag.distributed.shards import ShardFolder, shard_table
from mmrag.distributed.sources import Map, Root, open_root, read_image
from mmrag.distributed.tars import TarMember
from mmrag.distributed.worker import EncoderSpec, describe
from mmrag.errors import ImageError, MmragError
from mmrag.index.rows import Candidate, Outcome, Source, check_storable, embed_images, metadata_json
from mmrag.system.words import counted
from mmrag.types import GalleryImage

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder, EncoderInfo

# A block is this many batches: long enough to hide its overhead, short enough to lose. With few
# images blocks are smaller, so that each worker has this many.
_BATCHES = 8
_BLOCKS = 8
_INPUT = pa.schema(
    [
        ("position", pa.int64()),
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("text", pa.string()),
        ("metadata", pa.string()),
        ("tar", pa.string()),
        ("start", pa.int64()),
        ("size", pa.int64()),
        ("held", pa.string()),
    ]
)
_OUTPUT = pa.schema(
    [
        ("position", pa.int64()),
        ("content_hash", pa.string()),
        ("row_hash", pa.string()),
        ("error", pa.string()),
        ("embedded", pa.bool_()),
        ("looks", pa.list_(pa.string())),
        ("vector", pa.binary()),
    ]
)


@dataclass(frozen=True)
class EmbedTask:
    """The instructions that every actor gets.

    Attributes:
        spec: the encoder.
        fingerprint: that the encoder must have on every node.
        root: where the images are; a folder must exist on every node.
        embed: "image", "text" or "both".
        batch_size: images per forward pass.
        threads: for computing, and as many for decoding.
        shards: URL or folder for Parquet shards; vectors then stay there.
    """

    spec: EncoderSpec
    fingerprint: str
    root: Root
    embed: str
    batch_size: int
    threads: int
    shards: str | None = None


class EncodeBlock:
    """An actor: holds the encoder, turns a block of images into a block of results."""

    def __init__(self, task: EmbedTask) -> None:
        self.task = task
        self.encoder: Encoder | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """`_INPUT` rows to `_OUTPUT` rows, in any order; one row without position if it fails."""
        try:
            return pa.Table.from_pylist(self._results(block.to_pylist()), _OUTPUT)
        except MmragError as error:
            # As a result, because Ray Data would pass an exception on only as a traceback.
            return pa.Table.from_pylist([{"error": str(error)}], _OUTPUT)

    def _results(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        task = self.task
        if self.encoder is None:
            if task.root.is_local:
                open_root(task.root.path)
            self.encoder = task.spec.load(task.threads, task.fingerprint)
        images = [_image(record) for record in records]
        positions = {r["image_id"]: r["position"] for r in records}
        held = {r["image_id"]: r["held"] for r in records if r["held"]}
        rows: list[dict[str, Any]] = []
        done: list[tuple[Candidate, Any]] = []
        for candidate, vector in embed_images(
            self.encoder,
            images,
            held,
            embed=task.embed,
            batch_size=task.batch_size,
            workers=task.threads,
            read=read_image,
        ):
            failed = isinstance(vector, ImageError)
            embedded = vector is not None and not failed
            if embedded:
                done.append((candidate, vector))
            rows.append(
                {
                    "position": positions[candidate.image.image_id],
                    "content_hash": candidate.content_hash,
                    "row_hash": candidate.row_hash,
                    "error": str(vector) if failed else None,
                    "embedded": embedded,
                    "looks": list(candidate.looks),
                    "vector": np.asarray(vector).tobytes()
                    if embedded and task.shards is None
                    else None,
                }
            )
        if task.shards is not None and done:
            ShardFolder(task.shards).write(shard_table(done))
        return rows


class RayEmbedder:
    """Embeds over a cluster; an `mmrag.index.rows.Embedder`.

    Args:
        cluster: from `connected`.
        task: for the actors.
    """

    def __init__(self, cluster: Cluster, task: EmbedTask) -> None:
        self.cluster = cluster
        self.task = task

    def writing(self, shards: str) -> RayEmbedder:
        """The same, but actors keep vectors in Parquet shards at this place."""
        return RayEmbedder(self.cluster, replace(self.task, shards=shards))

    def __call__(
        self, images: Sequence[GalleryImage], held: Mapping[str, str]
    ) -> Generator[Outcome]:
        """Outcomes with their vectors, in the order in which blocks come back."""
        for candidate, record in self.stream(images, held):
            if isinstance(record, ImageError):
                yield candidate, record
            elif record["embedded"]:
                yield candidate, np.frombuffer(record["vector"], np.float32)
            else:
                yield candidate, None

    def stream(
        self, images: Sequence[GalleryImage], held: Mapping[str, str]
    ) -> Generator[tuple[Candidate, dict[str, Any] | ImageError]]:
        """Each image with its `_OUTPUT` record, or with the reason it was left out.

        Raises:
            MmragError: workers fail for a reason other than an image; blocks received are good.
        """
        positions = []
        for position, image in enumerate(images):
            try:
                check_storable(image, self.task.embed)
            except ImageError as error:
                yield Candidate(image), error
            else:
                positions.append(position)
        left = set(positions)
        if not positions:
            return
        for block in self._blocks(images, positions, held):
            for record in block.to_pylist():
                if record["position"] is None:
                    raise MmragError(record["error"])
                left.discard(record["position"])
                candidate = Candidate(
                    images[record["position"]],
                    record["content_hash"],
                    record["row_hash"],
                    tuple(record["looks"] or ()),
                )
                yield (
                    candidate,
                    (record if record["error"] is None else ImageError(record["error"])),
                )
        if left:
            # They would count as vanished and be removed.
            raise MmragError(
                f"Ray gave no result for {counted(len(left), 'image')}; run this again."
            )

    def _blocks(
        self, images: Sequence[GalleryImage], positions: Sequence[int], held: Mapping[str, str]
    ) -> Iterator[pa.Table]:
        ray = import_ray()
        size = self._block_size(len(positions))
        tables = [
            _table(images, positions[start : start + size], held)
            for start in range(0, len(positions), size)
        ]
        with ray_errors():
            results = ray.data.from_arrow(tables).map_batches(
                EncodeBlock,
                fn_constructor_args=(self.task,),
                compute=ray.data.ActorPoolStrategy(size=min(self.cluster.workers, len(tables))),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=self.cluster.cpus,
                num_gpus=self.cluster.gpus,
            )
            # No block is held back: what has arrived is written.
            yield from results.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            )

    def _block_size(self, images: int) -> int:
        """Images per block: whole batches and, if possible, enough blocks to end together."""
        batch = self.task.batch_size
        batches = math.ceil(images / (_BLOCKS * self.cluster.workers * batch))
        return batch * min(_BATCHES, batches)


def describe_encoder(cluster: Cluster, spec: EncoderSpec) -> tuple[EncoderInfo, int]:
    """The encoder as the workers have it, and the batch size that suits it there."""
    ray = import_ray()
    task = ray.remote(max_calls=1, num_cpus=cluster.cpus, num_gpus=cluster.gpus)(describe)
    with ray_errors():
        info, batch_size = ray.get(task.remote(spec.absolute(), cluster.cpus))
    return info, batch_size


def map_tasks() -> Map:
    """A way to run a function over items as Ray tasks, in order."""
    ray = import_ray()

    def run(function: Any, items: Sequence[Any]) -> Sequence[Any]:
        task = ray.remote(_apply)
        with ray_errors():
            return list(ray.get([task.remote(function, item) for item in items]))

    return run


@contextmanager
def ray_errors() -> Iterator[None]:
    """Raise Ray's errors as they were in the worker, or as one sentence."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise own_error(error) from error


def _apply(function: Any, item: Any) -> Any:
    return function(item)


def _table(
    images: Sequence[GalleryImage], positions: Sequence[int], held: Mapping[str, str]
) -> pa.Table:
    records = []
    for position in positions:
        image = images[position]
        member = image if isinstance(image, TarMember) else None
        records.append(
            {
                "position": position,
                "image_id": image.image_id,
                "path": image.path,
                "text": image.text,
                "metadata": metadata_json(image.metadata),
                "tar": member and member.tar,
                "start": member and member.start,
                "size": member and member.size,
                "held": held.get(image.image_id, ""),
            }
        )
    return pa.Table.from_pylist(records, _INPUT)


def _image(record: Mapping[str, Any]) -> GalleryImage:
    fields = (record["image_id"], record["path"], record["text"])
    metadata = orjson.loads(record["metadata"])
    if record["tar"] is None:
        return GalleryImage(*fields, metadata)
    return TarMember(*fields, metadata, record["tar"], record["start"], record["size"])


@dataclass(frozen=True)
class RaySource(Source):
    """Images, and Ray workers that embed them."""

    embedder: RayEmbedder
