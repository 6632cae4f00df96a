"""Collections and their names: made, completed, switched and removed.

A collection NAME is an alias of a numbered collection, at first NAME__1. Rebuilding makes NAME__2
beside it, and Milvus then moves the alias in one step. Collections of earlier versions have no
alias; they are used as they are, and get one when first replaced.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mmrag.encoders.device import QUANTISED
from mmrag.errors import IndexStoreError, MmragError
from mmrag.index.kinds import BuildOptions, IndexKind, check_kind, index_params
from mmrag.index.schema import collection_schema
from mmrag.index.store import MilvusStore

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mmrag.encoders.encoder import EncoderInfo

EMBED_CHOICES = ("image", "text", "both")
_PROPERTY = "mmrag.encoder"


@dataclass(frozen=True)
class CollectionInfo:
    """A collection's notes on how it was made."""

    name: str
    rows: int
    encoder: str
    fingerprint: str
    dim: int
    embed: str
    precision: str
    index: str = ""
    partition_key: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def notes(encoder: EncoderInfo, embed: str, build: BuildOptions) -> dict[str, Any]:
    """The notes to keep with a collection on how it was made.

    Raises:
        MmragError: `embed` is not one of `EMBED_CHOICES`.
    """
    if embed not in EMBED_CHOICES:
        raise MmragError(f"embed must be one of {', '.join(EMBED_CHOICES)}, not {embed!r}.")
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint_of(embed),
        "weights": encoder.weights,
        "dim": encoder.dim,
        "precision": encoder.precision,
        "settings": dict(encoder.settings),
        "embed": embed,
        "index": build.kind and {"name": build.kind.name, "params": dict(build.kind.params)},
        "partition_key": build.partition_key,
    }


def chosen_kind(notes: dict[str, Any]) -> IndexKind | None:
    """The index kind requested when the collection was made."""
    chosen = notes.get("index")
    return IndexKind(chosen["name"], chosen["params"]) if chosen else None


def check_settings(name: str, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise IndexStoreError unless a collection with these notes can be updated like that."""
    if held["embed"] != wanted["embed"]:
        raise IndexStoreError(
            f"Collection {name!r} holds embeddings of {held['embed']!r}, "
            f"not of {wanted['embed']!r}; index into another collection."
        )
    for setting, what in (("index", "index"), ("partition_key", "partition key")):
        if wanted[setting] not in (None, held.get(setting)):
            raise IndexStoreError(
                f"Collection {name!r} was made with another {what}; "
                "replace it (--replace) to change that."
            )


def check_encoder(name: str, held: dict[str, Any], ours: EncoderInfo) -> None:
    """Raise IndexStoreError, naming the difference, if the vectors are another encoder's."""
    if ours.can_search(held["fingerprint"], held["embed"]):
        return
    weights = held.get("weights")
    quantised = bool({held["precision"], ours.precision} & {*QUANTISED})
    differs = [
        text
        for text, applies in (
            (f"dimension {held['dim']} instead of {ours.dim}", held["dim"] != ours.dim),
            (
                f"precision {held['precision']} instead of {ours.precision}",
                quantised and held["precision"] != ours.precision,
            ),
            ("other weights", weights and ours.weights and weights != ours.weights),
        )
        if applies
    ]
    if not differs:
        same = weights and weights == ours.weights
        differs = ["other preprocessing" if same else "other weights or preprocessing"]
        if held["embed"] == "both":
            differs[0] += ", or another image weight"
    raise IndexStoreError(
        f"Collection {name!r} was built with encoder {held['name']!r} "
        f"(fingerprint {held['fingerprint']}), not with {ours.name!r} "
        f"({ours.fingerprint_of(held['embed'])}). It has {' and '.join(differs)}. "
        "Search it with that encoder, or index into another collection."
    )


def exists(store: MilvusStore, name: str) -> bool:
    """Whether there is a collection or alias of that name."""
    return store.call(f"Collection {name}", lambda client: bool(client.has_collection(name)))


def describe(store: MilvusStore, name: str) -> tuple[str, dict[str, Any] | None]:
    """The collection that `name` stands for, and the notes made with it.

    Notes are None for collections made by others.

    Raises:
        IndexStoreError: there is no such collection.
    """
    found = store.call(f"Collection {name}", lambda client: client.describe_collection(name))
    raw = found.get("properties", {}).get(_PROPERTY)
    return str(found["collection_name"]), json.loads(raw) if raw else None


def make(
    store: MilvusStore, name: str, settings: dict[str, Any], kind: IndexKind, empty: bool = False
) -> str:
    """Make a numbered collection for `name`, not yet in use, or resume an interrupted run's.

    Remains of runs with other settings are removed; with `empty`, also those with the same ones.

    Returns:
        Its own name.

    Raises:
        IndexStoreError: this Milvus has no index of that kind.
    """
    check_kind(kind, store.is_local)
    noted = {**settings, "collection": name}
    unused = unused_collections(store, name)
    same = [] if empty else [found for found in unused if describe(store, found)[1] == noted]
    for other in unused:
        if other not in same[:1]:
            drop(store, other)
    if same:
        complete(store, same[0], kind)
        return same[0]
    number = 1
    while exists(store, f"{name}__{number}"):
        number += 1
    made = f"{name}__{number}"
    _forget(store, made)
    schema = collection_schema(noted["dim"], noted["partition_key"] is not None)

    def create(client: MilvusClient) -> None:
        # Repeated if the connection is lost, so it may exist already.
        if not client.has_collection(made):
            client.create_collection(
                made,
                schema=schema,
                consistency_level="Strong",
                properties={_PROPERTY: json.dumps(noted)},
            )

    store.call(f"Making collection {name}", create)
    try:
        complete(store, made, kind)
    except IndexStoreError:
        drop(store, made)
        raise
    return made


def complete(store: MilvusStore, name: str, kind: IndexKind) -> None:
    """Give a collection its index and load it, unless a killed run came that far."""

    def request(client: MilvusClient) -> None:
        if not client.list_indexes(name):
            client.create_index(name, index_params(client, kind, store.is_local))
            client.load_collection(name)

    store.call(f"Milvus cannot build an index of kind {kind}", request)


def build_index(store: MilvusStore, name: str, kind: IndexKind) -> None:
    """Flush, and build that kind of index unless it exists."""

    def request(client: MilvusClient) -> None:
        client.flush(name)
        held = client.describe_index(name, "vector")
        if held is None or held["index_type"] != kind.name:
            if held is not None:
                _drop_index(client, name)
            client.create_index(name, index_params(client, kind, store.is_local))
        client.load_collection(name)

    store.call("Building the index", request)


def switch(store: MilvusStore, name: str, made: str) -> str | None:
    """Let `name` stand for `made` from now on; return the collection it stood for.

    If `name` is an alias, that is one step. A collection without one is renamed first, and for some
    milliseconds there is neither: this package's searches wait for that.
    """
    if not exists(store, name):
        store.call("Naming the collection", lambda client: client.create_alias(made, name))
        return None
    old, _ = describe(store, name)
    if old == made:
        return None
    if old != name:
        store.call("Switching collections", lambda client: client.alter_alias(made, name))
        return old
    number = 1
    while exists(store, f"{name}__{number}"):
        number += 1
    aside = f"{name}__{number}"
    store.call("Switching collections", lambda client: client.rename_collection(name, aside))
    try:
        store.call("Switching collections", lambda client: client.create_alias(made, name))
    except IndexStoreError:
        store.call("Switching back", lambda client: client.rename_collection(aside, name))
        raise
    return aside


def unused_collections(store: MilvusStore, name: str) -> list[str]:
    """Numbered collections that `name` does not stand for: left by interrupted runs."""
    names = store.call("Listing collections", lambda client: client.list_collections())
    current = describe(store, name)[0] if exists(store, name) else None
    numbered = [found for found in names if re.fullmatch(re.escape(name) + r"__\d+", found)]
    return sorted(
        found
        for found in numbered
        if found != current and (describe(store, found)[1] or {}).get("collection") == name
    )


def drop(store: MilvusStore, name: str) -> None:
    """Remove a collection with all its rows, its alias, and remains of interrupted runs."""
    for found in unused_collections(store, name):
        store.call("Dropping", partial(_drop_one, found))
        _forget(store, found)
    if exists(store, name):
        current, _ = describe(store, name)
        if current != name:
            store.call("Dropping", lambda client: client.drop_alias(name))
        store.call("Dropping", partial(_drop_one, current))
        _forget(store, current)


def _forget(store: MilvusStore, name: str) -> None:
    if store.row_counts is not None:
        store.row_counts.forget(name)


def _drop_one(name: str, client: MilvusClient) -> None:
    client.drop_collection(name)


def _drop_index(client: MilvusClient, name: str) -> None:
    from pymilvus.exceptions import MilvusException

    for attempt in range(5):
        try:
            client.release_collection(name)
            client.drop_index(name, "vector")
            return
        except MilvusException:
            # Another process's search has loaded the collection in between.
            if attempt == 4:
                raise
            time.sleep(0.2)
