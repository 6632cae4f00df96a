"""Data of the Gallery page, computed once for all visitors and kept for a short while.

`state` stands for the content of a collection; when it changes, everything is read anew.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import streamlit as st

from mmrag.images.thumbnails import SIDE, data_url
from mmrag.index import browse
from mmrag.index.collections import CollectionInfo
from mmrag.index.embedding_map import MAX_POINTS, Projection, project, read_vectors, sample_ids
from mmrag.index.near_duplicates import MAX_IMAGES, near_duplicates
from mmrag.index.odd_pictures import count as count_odd
from mmrag.types import GalleryImage
from mmrag.ui import resources

_SECONDS = 60
THRESHOLDS = (0.98, 0.985, 0.99, 0.995, 1.0)
FEW_PAIRS, MOST_PAIRS = 12, 0.05
_TEXT = 120
Where = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Pair:
    """Two images with nearly the same vector; `same_file` when their bytes agree."""

    first: str
    second: str
    cosine: float
    same_file: bool


@dataclass(frozen=True)
class Duplicates:
    """The closest pairs, their number in all, and the number of images compared."""

    pairs: list[Pair]
    found: int
    compared: int


@dataclass(frozen=True)
class Map:
    """Images and their positions: row i of all four belongs to one image.

    `labels` are the overview's facets.
    """

    image_ids: list[str]
    texts: list[str]
    labels: list[dict[str, str]]
    projection: Projection


def state(info: CollectionInfo) -> str:
    """A text that changes when the collection does, as far as its description shows."""
    return f"{info.fingerprint}|{info.embed}|{info.rows}"


def forget() -> None:
    """Drop cached data: a collection has changed."""
    resources.collections.clear()
    for cached in (overview, matches, embedding_map, duplicates, odd_pictures):
        cached.clear()


@st.cache_resource(ttl=_SECONDS, max_entries=8, show_spinner=False)
def overview(uri: str, name: str, state: str) -> browse.Overview:
    """All ids, and the facets to narrow them by."""
    return browse.overview(resources.index(uri, name))


@st.cache_resource(ttl=_SECONDS, max_entries=32, show_spinner="Looking through the collection …")
def matches(
    uri: str, name: str, state: str, words: str, where: Where, filter: str
) -> tuple[str, ...]:
    """The matching ids; see `browse.matching_ids`."""
    return browse.matching_ids(resources.index(uri, name), words, dict(where), filter or None)


@st.cache_resource(ttl=600, max_entries=8, show_spinner="Drawing the map …")
def embedding_map(uri: str, name: str, state: str, method: str) -> Map:
    """At most `MAX_POINTS` images in two dimensions."""
    index, seen = resources.index(uri, name), overview(uri, name, state)
    ids, vectors = read_vectors(index, sample_ids(seen.image_ids, MAX_POINTS))
    rows = index.get(ids, ["text", "metadata"])
    texts, labels = [], []
    for image_id in ids:
        row = rows.get(image_id, {"text": "", "metadata": {}})
        held = browse.labels(image_id, row["metadata"] or {})
        texts.append(textwrap.shorten(row["text"], _TEXT, placeholder="…"))
        labels.append({label: value for label, value in held.items() if label in seen.facets})
    with resources.model_turns().turn():
        return Map(ids, texts, labels, project(vectors, method))


@st.cache_resource(ttl=600, max_entries=16, show_spinner="Comparing every image with every other …")
def duplicates(uri: str, name: str, state: str, threshold: float) -> Duplicates:
    """Pairs with a cosine of at least `threshold`, among at most `MAX_IMAGES` images."""
    index = resources.index(uri, name)
    sample = sample_ids(overview(uri, name, state).image_ids, MAX_IMAGES)
    ids, vectors = read_vectors(index, sample)
    with resources.model_turns().turn():
        close = near_duplicates(vectors, threshold)
    involved = sorted({ids[row] for pair in close.pairs for row in pair[:2]})
    hashes = {i: row["content_hash"] for i, row in index.get(involved, ["content_hash"]).items()}
    pairs = [
        Pair(ids[a], ids[b], cosine, hashes.get(ids[a], "a") == hashes.get(ids[b], "b"))
        for a, b, cosine in close.pairs
    ]
    return Duplicates(pairs, close.found, len(ids))


@st.cache_resource(ttl=600, max_entries=8, show_spinner=False)
def odd_pictures(uri: str, name: str, state: str) -> dict[str, int]:
    """How many pictures are flat, tiny or repeated; see `index.odd_pictures.count`."""
    rows = resources.index(uri, name).rows(["content_hash"])
    return count_odd(row["content_hash"] for row in rows)


def fitting_threshold(uri: str, name: str, state: str) -> float:
    """A threshold that leaves few enough pairs to inspect; it depends on the encoder."""
    for threshold in THRESHOLDS[:-1]:
        close = duplicates(uri, name, state, threshold)
        if close.found <= max(FEW_PAIRS, MOST_PAIRS * close.compared):
            return threshold
    return THRESHOLDS[-1]


@st.cache_resource
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="mmrag-thumbnails")


def thumbnails(images: Sequence[GalleryImage], side: int = SIDE) -> list[str | None]:
    """`data:` URLs of small pictures, made in parallel; None for an unreadable one."""
    return list(_pool().map(lambda image: data_url(image.path, side), images))
