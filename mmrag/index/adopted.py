"""Collections that mmrag did not make: read and searched, never written.

Their fields, and the encoder that made each, are kept in `MMRAG_HOME/adopted.json`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag import config
from mmrag.errors import ImageError, IndexStoreError, MmragError, one_line
from mmrag.system.durable import write_file

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mmrag.encoders.encoder import Encoder, Vectors
    from mmrag.index.store import MilvusStore

_log = logging.getLogger(__name__)

# Cosine of one picture's vectors by the same encoder, whatever the precision.
SAME = 0.99
PROBED = 10


@dataclass(frozen=True)
class Adopted:
    """A collection, the fields of its vectors and paths, and the encoder of the vectors.

    `settings` are the encoder's; relative paths start from `root`. `ids` names images by absolute
    path; other images are named by their stored paths.
    """

    uri: str
    collection: str
    vector_field: str
    path_field: str
    metric: str
    dim: int
    root: str
    encoder: str = ""
    fingerprint: str = ""
    precision: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def path(self, stored: str) -> str:
        """The absolute path of a stored one."""
        return os.path.realpath(os.path.join(self.root, stored))

    def row(self, stored: str) -> dict[str, Any]:
        """A row as `Collection.search` gives it, without a score."""
        path = self.path(stored)
        named = self.ids.get(path, stored)
        return {"image_id": named, "path": path, "content_hash": "", "text": "", "metadata": {}}

    def score(self, distance: float) -> float:
        """The cosine of unit vectors from Milvus's distance."""
        return 1 - distance / 2 if self.metric == "L2" else distance


@dataclass(frozen=True)
class Probe:
    """Stored vectors compared with an encoder's: each picture's cosine, and the unreadable ones."""

    cosines: dict[str, float]
    unreadable: dict[str, str]

    @property
    def is_same(self) -> bool:
        """Whether the encoder made the collection."""
        return bool(self.cosines) and min(self.cosines.values()) >= SAME


def look_at(
    store: MilvusStore, collection: str, vector_field: str, path_field: str, root: str
) -> Adopted:
    """The facts needed to search a collection.

    Raises:
        MmragError: no such collection or field; names the existing ones.
    """

    def request(client: MilvusClient) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if not client.has_collection(collection):
            there = ", ".join(sorted(client.list_collections())) or "none"
            raise MmragError(f"There is no collection {collection!r}; there are: {there}.")
        indexes = [
            client.describe_index(collection, name) for name in client.list_indexes(collection)
        ]
        return client.describe_collection(collection), [one for one in indexes if one]

    described, indexes = store.call(f"Reading collection {collection}", request)
    fields = {one["name"]: one for one in described["fields"]}
    vector = fields.get(vector_field)
    if vector is None or "dim" not in vector.get("params", {}):
        raise MmragError(
            f"Collection {collection!r} has no vector field {vector_field!r}; its fields are "
            f"{', '.join(fields)}. Name it by --vector-field."
        )
    if path_field not in fields and not described.get("enable_dynamic_field"):
        raise MmragError(
            f"Collection {collection!r} has no field {path_field!r}; its fields are "
            f"{', '.join(fields)}. Name the one with the pictures' paths by --path-field."
        )
    metrics = [one["metric_type"] for one in indexes if one.get("field_name") == vector_field]
    metric = str(metrics[0]).upper() if metrics else "COSINE"
    if metric not in ("COSINE", "IP", "L2"):
        raise MmragError(
            f"Collection {collection!r} is compared by {metric}, not by COSINE, IP or L2."
        )
    dim = int(vector["params"]["dim"])
    return Adopted(store.uri, collection, vector_field, path_field, metric, dim, root)


def probe(store: MilvusStore, adopted: Adopted, encoder: Encoder) -> Probe:
    """Re-encode ten of the pictures and compare the vectors with the stored ones.

    Raises:
        MmragError: other dimensions, no paths in that field, or no picture that can be read.
    """
    if encoder.info.dim != adopted.dim:
        raise MmragError(
            f"{encoder.info.name} has {encoder.info.dim} dimensions, collection "
            f"{adopted.collection!r} has {adopted.dim}: another encoder made it."
        )
    rows = store.call(
        f"Reading collection {adopted.collection}",
        lambda client: _loaded(client, adopted.collection).query(
            adopted.collection,
            filter="",
            limit=PROBED,
            output_fields=[adopted.vector_field, adopted.path_field],
        ),
    )
    cosines: dict[str, float] = {}
    unreadable: dict[str, str] = {}
    for row in rows:
        stored = _path_of(row, adopted)
        try:
            [vector] = encoder.encode([adopted.path(stored)])
        except ImageError as error:
            unreadable[stored] = str(error)
            continue
        held = np.asarray(row[adopted.vector_field], np.float32)
        cosines[stored] = float(vector @ held / max(float(np.linalg.norm(held)), 1e-12))
    if not cosines:
        reason = next(iter(unreadable.values()), "it is empty")
        raise MmragError(
            f"None of {len(rows)} pictures of {adopted.collection!r} can be read ({reason}). Paths "
            f"that are not absolute begin from {adopted.root}; --image-root names another folder."
        )
    return Probe(cosines, unreadable)


def all_rows(
    adopted: Adopted, send: Callable[..., Any], *, vectors: bool = False
) -> Iterator[dict[str, Any]]:
    """Every row, as `Adopted.row`, with its unit "vector" if `vectors` are wanted.

    `send` makes a request that needs the collection loaded.
    """
    fields = [adopted.path_field, *([adopted.vector_field] if vectors else [])]
    iterator = send(
        lambda client: client.query_iterator(
            adopted.collection, batch_size=1000, filter="", output_fields=fields
        )
    )
    try:
        while batch := iterator.next():
            for row in batch:
                found = adopted.row(_path_of(row, adopted))
                if vectors:
                    held = np.asarray(row[adopted.vector_field], np.float32)
                    found["vector"] = held / max(float(np.linalg.norm(held)), 1e-12)
                yield found
    finally:
        iterator.close()


def nearest(
    client: MilvusClient, adopted: Adopted, vectors: Vectors, k: int, filter: str | None
) -> list[list[dict[str, Any]]]:
    """As `Collection.search`."""
    found = client.search(
        adopted.collection,
        data=[vector.tolist() for vector in vectors],
        anns_field=adopted.vector_field,
        limit=k,
        filter=filter or "",
        output_fields=[adopted.path_field],
        search_params={"metric_type": adopted.metric},
    )
    return [
        [
            {
                **adopted.row(_path_of(hit["entity"], adopted)),
                "score": adopted.score(hit["distance"]),
            }
            for hit in hits
        ]
        for hits in found
    ]


def keep(adopted: Adopted, encoder: Encoder) -> Adopted:
    """Remember an adopted collection, replacing what was known of it."""
    info = encoder.info
    made = Adopted(
        **{
            **asdict(adopted),
            "encoder": info.name,
            "fingerprint": info.fingerprint,
            "precision": info.precision,
            "settings": dict(info.settings),
            "ids": {},
        }
    )
    others = [one for one in _all() if not _is(one, made.uri, made.collection)]
    text = json.dumps([asdict(one) for one in [*others, made]], indent=1)
    config.home().mkdir(parents=True, exist_ok=True)
    write_file(_file(), text)
    return made


def find(uri: str, collection: str) -> Adopted | None:
    """The facts about a collection; None if it was not adopted."""
    return next((one for one in _readable() if _is(one, uri, collection)), None)


def names(uri: str) -> list[str]:
    """The adopted collections of a Milvus."""
    return sorted(one.collection for one in _readable() if _place(one.uri) == _place(uri))


def refuse(collection: str) -> IndexStoreError:
    """The error for an attempt to write to an adopted collection."""
    return IndexStoreError(
        f"Collection {collection!r} was adopted: it is searched and evaluated, never written to. "
        "Index into a collection of another name."
    )


def _loaded(client: MilvusClient, collection: str) -> MilvusClient:
    client.load_collection(collection)
    return client


def _path_of(row: Any, adopted: Adopted) -> str:
    path = row.get(adopted.path_field)
    if not isinstance(path, str) or not path or "\0" in path:
        raise MmragError(
            f"A row of {adopted.collection!r} has no path in {adopted.path_field!r}; name the "
            "field with the pictures' paths by --path-field."
        )
    return path


def _is(one: Adopted, uri: str, collection: str) -> bool:
    return one.collection == collection and _place(one.uri) == _place(uri)


def _place(uri: str) -> str:
    return uri.rstrip("/") if "://" in uri else str(Path(uri).resolve())


def _file() -> Path:
    return config.home() / "adopted.json"


def _readable() -> Sequence[Adopted]:
    """All adopted collections; none, and a warning, if the file is damaged: others still work."""
    try:
        return _all()
    except MmragError as error:
        _log.warning("%s", error)
        return []


def _all() -> Sequence[Adopted]:
    try:
        held = json.loads(_file().read_text(encoding="utf-8"))
        return [Adopted(**one) for one in held]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise MmragError(
            f"{_file()} cannot be read ({one_line(error)}). `mmrag doctor --repair` moves it "
            "aside; then adopt the collections again with `mmrag adopt`."
        ) from error
