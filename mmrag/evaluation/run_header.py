"""The header of a run: what it was evaluated on, and with what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.index.image_index import ImageIndex
from mmrag.rerank.reranker import Reranker
from mmrag.runs.provenance import (
    environment,
    eval_set_ref,
    gallery_sha256,
    pictures_sha256,
)
from mmrag.runs.run import Run
from mmrag.runs.store import new_run_id, now
from mmrag.search.searcher import Searcher

T = TypeVar("T")
_ENCODER = ("name", "dim", "image_size", "fingerprint", "device", "precision", "settings")


def indexed_pictures(index: ImageIndex, eval_set: EvalSet) -> dict[str, str]:
    """Content hashes of the images in an index, by id.

    Raises:
        MmragError: it is empty, or holds images that are not in the eval set.
    """
    rows = index.rows(["image_id", "content_hash"])
    hashes = {str(row["image_id"]): str(row["content_hash"]) for row in rows}
    if not hashes:
        raise MmragError(f"Collection {index.collection!r} is empty.")
    strange = hashes.keys() - {image.image_id for image in eval_set.images}
    if strange:
        raise MmragError(
            f"Collection {index.collection!r} holds {len(strange)} images that are not in the "
            f"eval set {eval_set.name!r}, such as {min(strange)!r}; index the set into a "
            "collection of its own with `index_eval_set`."
        )
    return hashes


def new_run(
    eval_set: EvalSet,
    searcher: Searcher,
    hashes: Mapping[str, str],
    pictures: Mapping[str, str],
    name: str,
    settings: Mapping[str, Any],
) -> Run:
    """Create a run, still without rankings.

    Args:
        eval_set: the whole set.
        searcher: encoder, index and reranker.
        hashes: from `indexed_pictures`.
        pictures: from `query_picture_hashes`.
        name: of the run; empty for encoder and reranker.
        settings: everything else that shapes the outcome.
    """
    encoder, index, reranker = searcher.encoder.info, searcher.index, searcher.reranker
    made = index.info()
    return Run(
        run_id=new_run_id(),
        name=name
        or run_label(
            encoder.name,
            reranker.name if reranker else None,
            searcher.rewriter.name if searcher.rewriter else None,
        ),
        eval_set=eval_set_ref(
            eval_set,
            pictures_sha256(hashes, pictures, eval_set.image_root),
            gallery_sha256(hashes),
        ),
        state="running",
        created=now(),
        config={
            "encoder": {
                **{key: getattr(encoder, key) for key in _ENCODER},
                "composed": encoder.fingerprint_of("both"),
            },
            "index": {
                "collection": index.collection,
                "rows": made.rows,
                "embed": made.embed,
                "precision": made.precision,
                "milvus": "local" if index.store.is_local else "server",
            },
            "reranker": _reranker(reranker) if reranker else None,
            **settings,
        },
        environment=environment(encoder.device),
        missing_images=[
            {"image_id": image.image_id, "reason": "not in the index"}
            for image in eval_set.images
            if image.image_id not in hashes
        ],
    )


def run_label(encoder: str, reranker: str | None, rewriter: str | None = None) -> str:
    """The default name of a run."""
    parts = [f"{rewriter} rewrites" if rewriter else None, encoder, reranker]
    return " + ".join(_short(one) for one in parts if one)


def _short(name: str) -> str:
    """A name without the path of a folder in it: "encoder:/home/me/tuned" is "encoder:tuned"."""
    kind, colon, rest = name.rpartition(":")
    return kind + colon + Path(rest).name if Path(rest).is_dir() else name


def _reranker(reranker: Reranker) -> dict[str, Any]:
    """A reranker's configuration, and the fingerprint of its weights where they are local."""
    fingerprint = {"fingerprint": reranker.fingerprint} if reranker.fingerprint else {}
    return {**reranker.configuration, **fingerprint}


def resume_key(run: Run) -> str:
    """A key shared by evaluations that would give the same result."""
    parts = [run.name, asdict(run.eval_set), run.config, run.environment]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sample(queries: Sequence[EvalQuery], limit: int | None, seed: int) -> list[EvalQuery]:
    """All queries, or a random sample of `limit` of them in the order of the set."""
    if limit is not None and limit < 1:
        raise MmragError(f"limit must be at least 1, not {limit}.")
    return list(queries) if limit is None else sample_of(queries, limit, seed)


def sample_of(items: Sequence[T], most: int, seed: int) -> list[T]:
    """A random sample in the order of `items`; all of them if at most `most`."""
    if most >= len(items):
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), most, replace=False)
    return [items[i] for i in sorted(chosen)]


def check_ids(eval_set: EvalSet) -> None:
    """Raise `MmragError` when there are no queries, or an id that no database can hold."""
    if not eval_set.queries:
        raise MmragError(f"The eval set {eval_set.name!r} has no queries.")
    for one in [q.query_id for q in eval_set.queries] + [i.image_id for i in eval_set.images]:
        if "\0" in one:
            raise MmragError(f"The id {one!r} holds a character that cannot be stored.")
