"""An evaluation's queries over Ray workers, batch by batch; the driver stores what comes back.

Batches are made and computed as in one process, so the metrics are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmrag.distributed.cluster import Cluster, connected, import_ray
from mmrag.distributed.ray_embedder import ray_errors
from mmrag.distributed.worker import EncoderSpec
from mmrag.errors import MmragError
from mmrag.evaluation.stages import Variant, rank_batch
from mmrag.runs.run import Ranked
from mmrag.search.searcher import Searcher

# Restarts of a worker that dies; its batch then goes to it once more.
_RETRIES = 5


class RankingWorker:
    """An actor: holds the encoder and a connection to the index."""

    def __init__(
        self, spec: EncoderSpec, fingerprint: str, threads: int, uri: str, collection: str
    ) -> None:
        from mmrag.index.image_index import ImageIndex

        self.problem: MmragError | None = None
        try:
            encoder = spec.load(threads, fingerprint)
            index = ImageIndex.open(uri, collection, encoder)
            self.searcher = Searcher(index, encoder)
        except MmragError as error:
            # Raised with the first batch: from here Ray would not pass it on.
            self.problem = error

    def rank(self, batch: Sequence[Variant], k: int, exclude_query_image: bool) -> list[Ranked]:
        """As `rank_batch`."""
        if self.problem is not None:
            raise self.problem
        return rank_batch(self.searcher, batch, k, exclude_query_image)


class RayRanker:
    """Ranks batches over Ray workers; an `mmrag.evaluation.stages.Ranker`.

    Workers on other nodes take a Milvus server's token from their own `MMRAG_TOKEN`.

    Args:
        cluster: from `connected`.
        spec: the encoder of `searcher`.
        searcher: with an index that workers can reach.

    Raises:
        MmragError: a local store with a cluster of several nodes.
    """

    def __init__(self, cluster: Cluster, spec: EncoderSpec, searcher: Searcher) -> None:
        index = searcher.index
        if index.store.is_local and cluster.nodes > 1:
            raise MmragError(
                "A local store cannot be reached from other nodes; use a Milvus server (--uri)."
            )
        ray = import_ray()
        self.workers = cluster.workers
        actor = ray.remote(RankingWorker).options(
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
            max_restarts=_RETRIES,
            max_task_retries=_RETRIES,
        )
        what = (spec.absolute(), searcher.encoder.info.fingerprint, cluster.cpus)
        local = index.store.is_local
        uri = str(Path(index.store.uri).expanduser().absolute()) if local else index.store.uri
        where = (uri, index.collection)
        self._actors = [actor.remote(*what, *where) for _ in range(cluster.workers)]

    @property
    def settings(self) -> dict[str, Any]:
        """Notes of a run: its timings come from workers that share machines."""
        return {"engine": "ray", "workers": self.workers}

    def __call__(
        self, batches: Sequence[Sequence[Variant]], k: int, exclude_query_image: bool
    ) -> Iterator[list[Ranked]]:
        """The results of `rank_batch` for each batch, in order."""
        pool = import_ray().util.ActorPool(self._actors)
        with ray_errors():
            yield from pool.map(
                lambda actor, batch: actor.rank.remote(batch, k, exclude_query_image), batches
            )

    def close(self) -> None:
        """Stop the workers."""
        ray = import_ray()
        for actor in self._actors:
            ray.kill(actor)


@contextmanager
def ray_ranker(
    spec: EncoderSpec,
    searcher: Searcher,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[RayRanker]:
    """Workers that rank in this process's place, for as long as the context lasts.

    Args:
        spec: the encoder of `searcher`.
        searcher: with the index to search.
        address: of a Ray cluster, as for `connected`.
        workers: copies of the model, as for `connected`.
    """
    with connected(address, workers, spec.device) as cluster:
        ranker = RayRanker(cluster, spec, searcher)
        try:
            yield ranker
        finally:
            ranker.close()
