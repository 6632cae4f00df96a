"""Kinds of vector index, and how they are built and searched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmrag.errors import MmragError
from mmrag.index.parameters import check_build

if TYPE_CHECKING:
    from pymilvus import MilvusClient
    from pymilvus.milvus_client import IndexParams

# Up to this many rows, every search looks at all of them, so results are exact.
EXACT_ROWS = 20_000
CONSISTENCY_LEVELS = ("Strong", "Bounded", "Session", "Eventually")
# The kinds that Milvus Lite 3.2 can build; it notices an unknown one only when it has rows.
LITE_KINDS = ("AUTOINDEX", "FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8")
_CELLS = 128


@dataclass(frozen=True)
class IndexKind:
    """A kind of index by Milvus's name ("HNSW") with its build parameters ({"M": 16}).

    The server decides which exist: FLAT, HNSW, IVF_FLAT, IVF_SQ8, IVF_PQ, SCANN,
    DISKANN and AUTOINDEX in Milvus 2.3; newer ones add HNSW_SQ, HNSW_PQ, IVF_RABITQ and others.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.upper())
        object.__setattr__(self, "params", dict(self.params))

    def __str__(self) -> str:
        values = ", ".join(f"{key}={value}" for key, value in sorted(self.params.items()))
        return f"{self.name} ({values})" if values else self.name


@dataclass(frozen=True)
class BuildOptions:
    """How a collection is made.

    Attributes:
        kind: of index. Default: exact search, and HNSW from `EXACT_ROWS` rows on.
        partition_key: name of a metadata value; images that share it are kept together, and a
            search for one value (`SearchOptions.partition`) skips the rest.
        replace: build a new one beside the one in use, then switch.
        bulk_storage: with `replace`, on a server: the server's own storage; rows go there as files
            (`bulk.BulkLoad`), for millions of them.
        prune: remove rows that have lost their picture, however many; without it, a run stops
            rather than remove more than a tenth of the rows (and more than ten).

    Raises:
        MmragError: `bulk_storage` without `replace`.
    """

    kind: IndexKind | None = None
    partition_key: str | None = None
    replace: bool = False
    bulk_storage: str | None = None
    prune: bool = False

    def __post_init__(self) -> None:
        if self.bulk_storage and not self.replace:
            raise MmragError(
                "Bulk loading is for a collection that is built anew: add --replace (replace=True)."
            )


@dataclass(frozen=True)
class SearchOptions:
    """How an index is searched.

    Attributes:
        params: of the index kind, such as {"ef": 64} (HNSW), {"nprobe": 16} (IVF kinds) or
            {"search_list": 100} (DISKANN); without them, most of the index is searched.
        consistency: "Session" (the writes of this process are seen), "Strong" (everybody's are;
            takes a server up to 0.2 s), "Bounded" or "Eventually". A local store is always strong.
        partition: only images with this value of the collection's partition key.

    Raises:
        MmragError: no such consistency level.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    consistency: str = "Session"
    partition: str | None = None

    def __post_init__(self) -> None:
        if self.consistency not in CONSISTENCY_LEVELS:
            raise MmragError(
                f"The consistency level must be one of {', '.join(CONSISTENCY_LEVELS)}, "
                f"not {self.consistency!r}."
            )


def parse_params(texts: Iterable[str]) -> dict[str, Any]:
    """`["M=16", "metric=fast"]` as {"M": 16, "metric": "fast"}: numbers and truth values as such.

    Raises:
        MmragError: one is not KEY=VALUE.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise MmragError(f"{text!r} is not KEY=VALUE, such as M=16.")
        found[key] = _value(value)
    return found


def default_kind(is_local: bool, rows: int) -> IndexKind:
    """Exact search, or HNSW for collections too large for that."""
    if rows > EXACT_ROWS:
        return IndexKind("HNSW", {"M": 16, "efConstruction": 200})
    if is_local:
        # Probing all cells is an exact search too, and in Milvus Lite (which builds 128 of them
        # unless told) faster than FLAT, which copies all vectors for each query.
        return IndexKind("IVF_FLAT", {"nlist": _CELLS})
    return IndexKind("FLAT")


def check_kind(kind: IndexKind, is_local: bool) -> None:
    """Raise MmragError if a local store lacks the kind, or the kind lacks a parameter.

    A server itself reports kinds it lacks when it builds.
    """
    check_build(kind.name, kind.params)
    if is_local and kind.name not in LITE_KINDS:
        raise MmragError(
            f"Milvus Lite has no index of kind {kind.name}, only {', '.join(LITE_KINDS)}; "
            "use a Milvus server for it."
        )


def index_params(client: MilvusClient, kind: IndexKind, is_local: bool) -> IndexParams:
    """The driver's parameters for an index on `vector` by cosine."""
    params: dict[str, Any] = dict(kind.params)
    if is_local:
        # The driver passes parameters flat, where Milvus Lite 3.2 does not look for them.
        params = {"params": params}
    prepared = client.prepare_index_params()
    prepared.add_index("vector", index_type=kind.name, metric_type="COSINE", params=params)
    return prepared


def search_params(k: int, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Search parameters for any index kind: wide by default, narrower or wider if chosen."""
    wide = {"nprobe": _CELLS, "ef": max(128, k), "search_list": max(128, k)}
    return {"metric_type": "COSINE", "params": {**wide, **chosen}}


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
