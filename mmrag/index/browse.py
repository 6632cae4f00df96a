"""Browse a collection: which images it holds, and which of them match some words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrag.index.image_index import ImageIndex
from mmrag.system.names import plain
from mmrag.types import GalleryImage

MAX_VALUES = 30
_FOLDER_LEVELS = 3


@dataclass(frozen=True)
class Overview:
    """A collection's ids, sorted, and its facets: label to value to number of images."""

    image_ids: tuple[str, ...]
    facets: dict[str, dict[str, int]]


def matching_ids(
    index: ImageIndex,
    words: str = "",
    where: Mapping[str, Collection[str]] | None = None,
    filter: str | None = None,
) -> tuple[str, ...]:
    """The ids of the images that match, sorted; all if there are no conditions.

    Rows are read in batches and only ids are kept, so a large collection needs little memory.

    Args:
        index: an open collection.
        words: each must occur in the id, the text or a metadata value, ignoring case.
        where: labels (see `labels`), each with the values of which an image must have one.
        filter: a Milvus expression over `text`, `path` and `metadata["key"]`, for experts.

    Raises:
        IndexStoreError: Milvus does not understand the expression.
    """
    wanted, where = words.casefold().split(), where or {}
    fields = ["image_id", "text", "metadata"] if wanted or where else ["image_id"]
    return tuple(
        sorted(
            row["image_id"]
            for row in index.rows(fields, filter)
            if _has_words(row, wanted) and _has_labels(row, where)
        )
    )


def read_images(index: ImageIndex, image_ids: Sequence[str]) -> list[GalleryImage]:
    """Images by id, in that order; those that are gone are left out."""
    rows = index.get(image_ids, ["path", "text", "metadata"])
    return [
        GalleryImage(i, rows[i]["path"], rows[i]["text"], rows[i]["metadata"] or {})
        for i in image_ids
        if i in rows
    ]


def overview(index: ImageIndex, max_values: int = MAX_VALUES) -> Overview:
    """All ids and facets to narrow them by, in one pass over the collection.

    Args:
        index: an open collection.
        max_values: a label with more values than this does not help to narrow, and is left out.
    """
    ids: list[str] = []
    counted: dict[str, Counter[str]] = {}
    for row in index.rows(["image_id", "metadata"]):
        ids.append(row["image_id"])
        for label, value in labels(row["image_id"], row["metadata"] or {}).items():
            values = counted.setdefault(label, Counter())
            # One more than wanted is enough to know that there are too many.
            if value in values or len(values) <= max_values:
                values[value] += 1
    facets = {
        label: dict(values.most_common())
        for label, values in sorted(counted.items())
        if 2 <= len(values) <= max_values
    }
    return Overview(tuple(sorted(ids)), facets)


def labels(image_id: str, metadata: Mapping[str, Any]) -> dict[str, str]:
    """The labels to sort an image by: its folders, and its single metadata values."""
    found = {
        f"folder {level}": name
        for level, name in enumerate(image_id.split("/")[:-1][:_FOLDER_LEVELS], start=1)
    }
    for key, value in metadata.items():
        if isinstance(value, str | int | float) and value != "":
            found[key] = str(value)
    return found


def indexed_folder(index: ImageIndex) -> str | None:
    """The folder that the collection mirrors; None if it is empty or made from an eval set."""
    for row in index.rows(["image_id", "path"]):
        path, image_id = str(row["path"]), plain(str(row["image_id"]))
        # The disk may spell the name differently from the shards it came from.
        below = plain(path).endswith("/" + image_id)
        return path.rsplit("/", image_id.count("/") + 1)[0] if below else None
    return None


def _has_words(row: Mapping[str, Any], wanted: Sequence[str]) -> bool:
    if not wanted:
        return True
    values = _texts(row["metadata"] or {})
    held = "\n".join([row["image_id"], row["text"], *values]).casefold()
    return all(word in held for word in wanted)


def _has_labels(row: Mapping[str, Any], where: Mapping[str, Collection[str]]) -> bool:
    if not where:
        return True
    held = labels(row["image_id"], row["metadata"] or {})
    return all(held.get(label) in values for label, values in where.items())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)
