"""Writing queries into an eval set, one writer at a time; judgments are written elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.errors import EvalSetError, MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.images.decode import load_image, read_bytes
from mmrag.images.formats import HEAD, ReadFormat, recognise_bytes
from mmrag.labels.judgments import Judgment, JudgmentLog
from mmrag.system.durable import write_file
from mmrag.types import GalleryImage, ImageSource, Query

NOTE, MAX_NOTE = "note", 2000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class AskedQuery:
    """A query as it was asked, the judgments of its hits, and a note.

    `said` holds image and grade; the grade is None where an earlier one is withdrawn.
    """

    query: Query
    said: Sequence[tuple[GalleryImage, int | None]] = ()
    note: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Be the only process that writes `what` in the folder."""
    with (folder / f".{what}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def new_set_folder(name: str) -> Path:
    """The folder for a new eval set of this name, below `MMRAG_HOME/eval_sets`.

    Raises:
        EvalSetError: not a valid name, or the set exists already.
    """
    if not _NAME.fullmatch(name):
        raise EvalSetError(
            "The name of an eval set has up to 60 letters, digits, dots, hyphens and underscores, "
            "and begins with a letter or digit."
        )
    folder = config.home() / "eval_sets" / name
    if folder.exists() or name in known_eval_sets():
        raise EvalSetError(f"There is an eval set {name!r} already; choose it, or another name.")
    return folder


def put_query(folder: str | os.PathLike[str], query: EvalQuery) -> None:
    """Add a query, or replace the one with its id; judgments stay as they are."""
    with locked(Path(folder), "queries"):
        _put(EvalSet.load(folder), query)


def note_query(folder: str | os.PathLike[str], query_id: str, note: str) -> None:
    """Write a note on a query; an empty one removes it.

    Raises:
        EvalSetError: there is no such query.
    """
    with locked(Path(folder), "queries"):
        eval_set = EvalSet.load(folder)
        found = [query for query in eval_set.queries if query.query_id == query_id]
        if not found:
            raise EvalSetError(f"There is no query {query_id!r} in {folder}.")
        _put(eval_set, replace(found[0], metadata=_noted(found[0].metadata, note)))


def save_query(folder: str | os.PathLike[str], asked: AskedQuery, judge: str) -> str:
    """Put a query that was asked, with the judgments of its hits, into an eval set.

    A query (pictures and text) that the set already has keeps its id. Images that the set lacks
    are added if they lie below its `image_root`; a query's picture from elsewhere is
    copied into the set's folder.

    Args:
        folder: of the eval set.
        asked: query and judgments.
        judge: name of the judge.

    Returns:
        The query's id.

    Raises:
        EvalSetError: an image lies outside the set's pictures, or nothing can be written.
        ImageError: a picture of the query cannot be read.
    """
    folder = Path(folder)
    try:
        with locked(folder, "queries"):
            eval_set = EvalSet.load(folder)
            pictures = _Pictures(eval_set)
            images, known = list(eval_set.images), {one.path: one for one in eval_set.images}
            root = str(eval_set.image_root.resolve()).removesuffix("/") + "/"
            ids = {image.image_id for image in images}
            grades: dict[str, int | None] = {}
            for image, grade in asked.said:
                path = str(Path(image.path).resolve())
                stands = known.get(path) or known.get(image.path)
                if stands is None:
                    if not path.startswith(root) or image.image_id in ids:
                        raise EvalSetError(
                            f"{image.image_id!r} is not among the pictures of {eval_set.name!r}: "
                            "save the query to a new eval set, or to one of this collection."
                        )
                    stands = replace(image, path=path)
                    images.append(stands)
                    ids.add(stands.image_id)
                grades[stands.image_id] = grade
            query = _as_labelled(eval_set, asked, pictures)
            _put(replace(eval_set, images=images, image_root=pictures.root), query)
        log = JudgmentLog(folder)
        before = {
            one.image_id
            for one in log.rows()
            if one.query_id == query.query_id and one.judge == judge
        }
        log.add(
            Judgment(query.query_id, image_id, grade, judge)
            for image_id, grade in grades.items()
            if grade is not None or image_id in before
        )
    except OSError as error:
        reason = error.strerror or error
        raise EvalSetError(f"The eval set in {folder} cannot be written: {reason}.") from error
    return query.query_id


def _as_labelled(eval_set: EvalSet, asked: AskedQuery, pictures: _Pictures) -> EvalQuery:
    query = asked.query
    paths = [pictures.path_of(image) for image in query.images]
    without = query.unwanted
    if without is not None:
        without = replace(
            without, image=None, images=[pictures.path_of(image) for image in without.images]
        )
    same = next(
        (
            one
            for one in eval_set.queries
            if (list(one.images), one.text or None) == (paths, query.text or None)
        ),
        None,
    )
    if same is not None:
        metadata = _noted(same.metadata, asked.note) if asked.note.strip() else same.metadata
        return replace(same, metadata=metadata)
    ids, number = {one.query_id for one in eval_set.queries}, len(eval_set.queries) + 1
    while f"query-{number:04}" in ids:
        number += 1
    return EvalQuery(
        f"query-{number:04}",
        paths[0] if paths else None,
        query.text,
        metadata=_noted(asked.metadata, asked.note),
        more_images=tuple(paths[1:]),
        without=without,
        without_weight=query.without_weight,
    )


class _Pictures:
    """Places of the queries' pictures: in the gallery, or copied into the set's folder."""

    def __init__(self, eval_set: EvalSet) -> None:
        self.root = eval_set.image_root.resolve()
        self._folder = eval_set.folder.resolve()
        self._gallery = eval_set.images
        self._of_size: dict[int, list[str]] | None = None

    def path_of(self, image: ImageSource) -> str:
        if isinstance(image, str | os.PathLike):
            path = Path(image).resolve()
            if path.is_relative_to(self.root):
                return str(path)
        data = image if isinstance(image, bytes) else None
        if data is None and isinstance(image, str | os.PathLike):
            data = read_bytes(image)
        if data is None:
            raise MmragError("A query's picture is a file, or the bytes of one.")
        return self._in_gallery(data) or self._copied(data)

    def _in_gallery(self, data: bytes) -> str | None:
        if self._of_size is None:
            self._of_size = {}
            for one in self._gallery:
                with contextlib.suppress(OSError):
                    self._of_size.setdefault(Path(one.path).stat().st_size, []).append(one.path)
        for path in self._of_size.get(len(data), ()):
            with contextlib.suppress(OSError):
                if Path(path).read_bytes() == data:
                    return path
        return None

    def _copied(self, data: bytes) -> str:
        load_image(data)
        known = recognise_bytes(data[:HEAD])
        suffix = known.extensions[0] if isinstance(known, ReadFormat) else ".png"
        path = self._folder / "pictures" / (hashlib.sha256(data).hexdigest()[:32] + suffix)
        write_file(path, data)
        if not path.is_relative_to(self.root):
            self.root = Path(os.path.commonpath([self.root, self._folder]))
        return str(path)


def _put(eval_set: EvalSet, query: EvalQuery) -> None:
    there = [one.query_id for one in eval_set.queries]
    queries = list(eval_set.queries)
    if query.query_id in there:
        queries[there.index(query.query_id)] = query
    else:
        queries.append(query)
    eval_set.with_queries(queries).save(judgments=False)


def _noted(metadata: Mapping[str, Any], note: str) -> dict[str, Any]:
    kept = {key: value for key, value in metadata.items() if key != NOTE}
    note = note.strip()[:MAX_NOTE]
    return {**kept, NOTE: note} if note else kept
