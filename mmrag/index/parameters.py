"""The parameters of index kinds: names, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmrag.errors import MmragError


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, whole unless `whole` is False."""

    low: int
    high: int
    whole: bool = True

    def holds(self, value: Any) -> bool:
        """Whether it is one of them."""
        kinds = (int,) if self.whole else (int, float)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def __str__(self) -> str:
        return f"a {'whole ' * self.whole}number from {self.low:,} to {self.high:,}"


@dataclass(frozen=True)
class Words:
    """One of several words; truth values are `(True, False)`."""

    words: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether it is one of them."""
        return any(
            value is word or (value == word and isinstance(value, str)) for word in self.words
        )

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.words))


Allowed = Mapping[str, Numbers | Words]

_MANY = 2**31 - 1
_REFINE: Allowed = {
    "refine": Words((True, False)),
    "refine_type": Words(("SQ6", "SQ8", "FP16", "BF16", "FP32")),
}
_REFINE_K: Allowed = {"refine_k": Numbers(1, _MANY, whole=False)}
_HNSW: Allowed = {"M": Numbers(2, 2048), "efConstruction": Numbers(1, _MANY)}
_EF: Allowed = {"ef": Numbers(1, 32_768)}
_IVF: Allowed = {"nlist": Numbers(1, 65_536)}
_NPROBE: Allowed = {"nprobe": Numbers(1, 65_536)}
_SQ: Allowed = {"sq_type": Words(("SQ6", "SQ8", "BF16", "FP16"))}
_PQ: Allowed = {"m": Numbers(1, 32_768), "nbits": Numbers(1, 24)}
# Build and search parameters by kind, as Milvus describes them:
# https://milvus.io/docs/index-explained.md
PARAMETERS: dict[str, tuple[Allowed, Allowed]] = {
    "FLAT": ({}, {}),
    "AUTOINDEX": ({}, {"level": Numbers(1, 10)}),
    "HNSW": (_HNSW, _EF),
    "HNSW_SQ": ({**_HNSW, **_SQ, **_REFINE}, {**_EF, **_REFINE_K}),
    "HNSW_PQ": ({**_HNSW, **_PQ, **_REFINE}, {**_EF, **_REFINE_K}),
    "IVF_FLAT": (_IVF, _NPROBE),
    "IVF_SQ8": (_IVF, _NPROBE),
    "IVF_PQ": ({**_IVF, **_PQ}, _NPROBE),
    "SCANN": (
        {**_IVF, "with_raw_data": Words((True, False))},
        {**_NPROBE, "reorder_k": Numbers(1, _MANY)},
    ),
    "DISKANN": ({}, {"search_list": Numbers(1, 65_535)}),
}


def check_build(kind: str, params: Mapping[str, Any]) -> None:
    """Raise MmragError unless an index of that kind can be built with these parameters.

    Kinds not in `PARAMETERS` are left to the server.
    """
    if kind in PARAMETERS:
        _check(kind, params, PARAMETERS[kind][0], "build")


def check_search(kind: str, params: Mapping[str, Any], k: int = 1) -> None:
    """Raise MmragError unless such an index can be searched for k results with these parameters.

    Kinds not in `PARAMETERS` are left to the server.
    """
    if kind in PARAMETERS:
        _check(kind, params, PARAMETERS[kind][1], "search")
    if params.get("ef", k) < k:
        raise MmragError(f"ef={params['ef']} is less than the {k} results that are asked for.")


def _check(kind: str, params: Mapping[str, Any], allowed: Allowed, when: str) -> None:
    for name, value in params.items():
        if name not in allowed:
            takes = "; ".join(f"{one}, {what}" for one, what in allowed.items()) or "none"
            raise MmragError(f"{kind} has no {when} parameter {name!r}. It takes: {takes}.")
        if not allowed[name].holds(value):
            raise MmragError(
                f"The {when} parameter {name} of {kind} is {allowed[name]}, not {value!r}."
            )
