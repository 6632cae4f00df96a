"""Eval sets on disk: gallery, queries and graded judgments in the BEIR layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mmrag.errors import EvalSetError
from mmrag.eval_sets.protocol import Protocol
from mmrag.eval_sets.records import (
    Qrels,
    Record,
    RecordError,
    is_plain_id,
    parse_judgment,
    read_json,
    read_lines,
    read_records,
)
from mmrag.galleries.gallery import Gallery
from mmrag.system.durable import replacing
from mmrag.system.files import LEAVES_ROOT, absent_files
from mmrag.system.names import Names, as_on_disk
from mmrag.types import GalleryImage, Query, Skipped

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EvalQuery", "EvalSet", "Qrels"]
POOLS = "pools.jsonl"


@dataclass(frozen=True)
class EvalQuery:
    """A labelled query; `image` is an absolute path.

    `more_images` follow the first of several images, `without` is what is not wanted (with paths),
    and `without_weight` its weight; see `mmrag.types.Query`. `pool` holds the ids of its candidate
    images; if empty, all are. Queries may share one.
    """

    query_id: str
    image: str | None
    text: str | None
    category: str = ""
    paraphrases: tuple[str, ...] = ()
    question: str | None = None
    answers: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    more_images: tuple[str, ...] = ()
    without: Query | None = None
    without_weight: float = 0.5
    pool: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """All its pictures."""
        return (self.image, *self.more_images) if self.image else ()

    @property
    def pictures(self) -> tuple[str, ...]:
        """All pictures that asking it reads: its own, and unwanted ones."""
        unwanted = self.without.images if self.without else ()
        return (*self.images, *map(str, unwanted))

    def query(self) -> Query:
        """The query as a searcher takes it."""
        return self.query_of(self.images, self.text)

    def query_of(self, images: Sequence[str], text: str | None) -> Query:
        """The same query with other pictures or another text."""
        return Query(
            text=text, images=images, without=self.without, without_weight=self.without_weight
        )

    def with_paths(self, path_of: Callable[[str], str]) -> EvalQuery:
        """The same query with each picture's path replaced."""
        own = [path_of(path) for path in self.images]
        without = self.without
        if without is not None and without.images:
            others = [path_of(str(path)) for path in without.images]
            without = Query(text=without.text, images=others)
        return replace(
            self, image=own[0] if own else None, more_images=tuple(own[1:]), without=without
        )


@dataclass(frozen=True)
class EvalSet:
    """Gallery, queries and judgments.

    `qrels` maps query id to image id to grade: 0 is judged not relevant (a hard negative),
    1, 2, ... are grades of relevance; what is absent was not judged. `notes` are sentences by
    its importer. `gallery_kind` is one of `GALLERIES`, `protocol` how it is asked; texts,
    judgments and settings follow it already (see `apply_protocol`).
    """

    name: str
    folder: Path
    image_root: Path
    images: list[GalleryImage]
    queries: list[EvalQuery]
    qrels: Qrels
    version: str = "1"
    description: str = ""
    licence: str = ""
    source: str = ""
    primary_metric: str = "hit_rate@10"
    exclude_query_image: bool = False
    notes: tuple[str, ...] = ()
    gallery_kind: str = ""
    protocol: Protocol | None = None

    def _repr_html_(self) -> str:
        from mmrag import notebook

        return notebook.eval_set_html(self)

    def to_pandas(self) -> pd.DataFrame:
        """The queries, one a row, with the ids of their right images."""
        from mmrag import notebook

        return notebook.queries_frame(self)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> EvalSet:
        """Read an eval set.

        Pictures need not exist: `gallery` says which do. They are found even if the disk or the
        judgments write their names in another Unicode form, or with other separators. 123,403
        images are read in about a second (one CPU core).

        Raises:
            EvalSetError: a file is absent or a line is wrong (names file and line), or a name fits
                several files or images.

        Example:
            >>> grocery = EvalSet.load("eval_sets/grocery")
            >>> len(grocery.images), len(grocery.queries)
            (296, 825)
        """
        folder = Path(folder)
        head = read_head(folder)
        root = image_root(folder, head)
        images = _read_images(folder / "corpus.jsonl", str(root))
        known = {image.image_id for image in images}
        pools = read_pools(folder / POOLS, known)
        queries = _read_queries(folder / "queries.jsonl", str(root), pools, known)
        qrels = read_qrels(folder / "qrels" / "test.tsv")
        return cls(
            name=str(head.get("name", folder.name)),
            folder=folder,
            image_root=root,
            images=images,
            queries=queries,
            qrels=_by_known_ids(qrels, images, queries),
            version=str(head.get("version", "1")),
            description=str(head.get("description", "")),
            licence=str(head.get("licence", "")),
            source=str(head.get("source", "")),
            primary_metric=str(head.get("primary_metric", "hit_rate@10")),
            exclude_query_image=bool(head.get("exclude_query_image", False)),
            notes=tuple(head.get("notes", ())),
            gallery_kind=str(head.get("gallery", "")),
            protocol=_protocol(head, folder),
        ).as_on_disk()

    def as_on_disk(self) -> EvalSet:
        """The same set with paths of pictures as on disk; paths of absent files stay.

        Raises:
            AmbiguousName: a path fits several files.
        """
        paths = [image.path for image in self.images]
        paths += [path for query in self.queries for path in query.pictures]
        there = as_on_disk(str(self.image_root), paths)
        if not there:
            return self
        return replace(
            self,
            images=[replace(one, path=there.get(one.path, one.path)) for one in self.images],
            queries=[one.with_paths(lambda path: there.get(path, path)) for one in self.queries],
        )

    def save(self, judgments: bool = True) -> None:
        """Write the files into `folder`; paths become relative to `image_root`.

        Args:
            judgments: False leaves `qrels/test.tsv` to a process that judges at the same time.

        Raises:
            EvalSetError: an id does not fit in a TSV file, or a picture is not below `image_root`.
        """
        root, folder = self.image_root.resolve(), self.folder.resolve()
        relative = root.is_relative_to(folder)
        for one in (*(i.image_id for i in self.images), *(q.query_id for q in self.queries)):
            if not is_plain_id(one):
                raise EvalSetError(f"The id {one!r} is empty or holds a tab or a line break.")
        head = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "licence": self.licence,
            "source": self.source,
            "image_root": os.path.relpath(root, folder) if relative else str(root),
            "primary_metric": self.primary_metric,
            "exclude_query_image": self.exclude_query_image,
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"gallery": self.gallery_kind} if self.gallery_kind else {}),
            **({"protocol": self.protocol.as_json()} if self.protocol else {}),
        }
        corpus = (
            {
                "_id": image.image_id,
                "image": _relative(image.path, root),
                "text": image.text,
                "metadata": image.metadata,
            }
            for image in self.images
        )
        pools: dict[tuple[str, ...], str] = {}
        for query in self.queries:
            if query.pool:
                pools.setdefault(query.pool, str(len(pools)))
        queries = (_query_record(query, root, pools) for query in self.queries)
        qrels = (
            f"{query_id}\t{image_id}\t{grade}\n".encode()
            for query_id, judged in self.qrels.items()
            for image_id, grade in judged.items()
        )
        _write(folder / "corpus.jsonl", map(_json_line, corpus))
        _write(folder / "queries.jsonl", map(_json_line, queries))
        if pools:
            held = ({"_id": name, "images": ids} for ids, name in pools.items())
            _write(folder / POOLS, map(_json_line, held))
        else:
            (folder / POOLS).unlink(missing_ok=True)
        if judgments:
            _write(folder / "qrels" / "test.tsv", [b"query-id\tcorpus-id\tscore\n", *qrels])
        # Last: a folder without it is no eval set, so an incomplete one is never taken for one.
        _write(folder / "eval_set.json", [orjson.dumps(head, option=orjson.OPT_INDENT_2), b"\n"])

    def gallery(self) -> Gallery:
        """The images as `ImageIndex.add` takes them; absent files are listed as skipped."""
        absent = absent_files(str(self.image_root), (image.path for image in self.images))
        if not absent:
            return Gallery(list(self.images), [])
        present = [image for image in self.images if image.path not in absent]
        skipped = [Skipped(i.image_id, absent[i.path]) for i in self.images if i.path in absent]
        return Gallery(present, skipped)

    def present(self, image_ids: Iterable[str]) -> dict[str, GalleryImage]:
        """The images that can be shown, by id: their files exist below `image_root`."""
        wanted = set(image_ids)
        images = [image for image in self.images if image.image_id in wanted]
        absent = absent_files(str(self.image_root), (image.path for image in images))
        return {image.image_id: image for image in images if image.path not in absent}

    def missing(self) -> list[Skipped]:
        """Every picture of gallery and queries that cannot be used, by path, with the reason."""
        paths = [image.path for image in self.images]
        paths += [path for query in self.queries for path in query.pictures]
        absent = absent_files(str(self.image_root), paths)
        root = self.image_root
        return [Skipped(_relative(path, root), reason) for path, reason in sorted(absent.items())]

    def relevant(self, query_id: str) -> set[str]:
        """Ids of the images that are right for a query (grade 1 or more)."""
        return {i for i, grade in self.qrels.get(query_id, {}).items() if grade > 0}

    def with_queries(self, queries: Iterable[EvalQuery]) -> EvalSet:
        """The same set with other queries."""
        return replace(self, queries=list(queries))


def read_head(folder: Path) -> dict[str, Any]:
    """Read `eval_set.json`.

    Raises:
        EvalSetError: there is none, or a value is of the wrong kind.
    """
    path = folder / "eval_set.json"
    if not path.exists():
        raise EvalSetError(f"{folder} is not an eval set: it has no eval_set.json.")
    head = read_json(path)
    if not isinstance(head, dict):
        raise RecordError(path, None, "must hold one object")
    for key in (
        "name",
        "description",
        "licence",
        "source",
        "image_root",
        "primary_metric",
        "gallery",
    ):
        if not isinstance(head.get(key, ""), str):
            raise RecordError(path, None, f"{key!r} must be a string")
    if not isinstance(head.get("exclude_query_image", False), bool):
        raise RecordError(path, None, "'exclude_query_image' must be true or false")
    notes = head.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise RecordError(path, None, "'notes' must be a list of strings")
    return head


def _protocol(head: dict[str, Any], folder: Path) -> Protocol | None:
    if head.get("protocol") is None:
        return None
    if not isinstance(head["protocol"], dict):
        raise RecordError(folder / "eval_set.json", None, "'protocol' must be an object")
    return Protocol.parse(head["protocol"], str(folder / "eval_set.json"))


def image_root(folder: Path, head: dict[str, Any]) -> Path:
    """The folder that holds the pictures: an absolute path without links."""
    try:
        return (folder / head.get("image_root", ".")).resolve()
    except (OSError, ValueError, RuntimeError):
        raise RecordError(folder / "eval_set.json", None, "'image_root' is no path") from None


def _read_images(path: Path, root: str) -> list[GalleryImage]:
    return [parse_image(record, root) for record in _unique(read_records(path))]


def read_pools(path: Path, known: Container[str]) -> dict[str, tuple[str, ...]]:
    """Read the pools of candidates of `pools.jsonl` by name; none if there is no such file.

    Args:
        path: of the file.
        known: the ids of the images.
    """
    if not path.exists():
        return {}
    return {
        record.id(): parse_pool(record, "images", known) for record in _unique(read_records(path))
    }


def parse_pool(record: Record, key: str, known: Container[str]) -> tuple[str, ...]:
    """Ids of candidates, each of which must be in the gallery."""
    ids = tuple(dict.fromkeys(record.strings(key)))
    unknown = [one for one in ids if one not in known]
    if unknown or not ids:
        what = f"the candidate {unknown[0]!r} is not in the gallery" if ids else f"{key!r} is empty"
        raise record.error(what)
    return ids


def _read_queries(
    path: Path, root: str, pools: Mapping[str, tuple[str, ...]], known: Container[str]
) -> list[EvalQuery]:
    records = list(_unique(read_records(path)))
    queries = [parse_query(record, root, pools, known) for record in records]
    absent = absent_files(root, (path for query in queries for path in query.pictures))
    for record, query in zip(records, queries, strict=True):
        if any(absent.get(path) == LEAVES_ROOT for path in query.pictures):
            raise record.error(f"the image {LEAVES_ROOT}")
    return queries


def _by_known_ids(qrels: Qrels, images: list[GalleryImage], queries: list[EvalQuery]) -> Qrels:
    """Judgments under the set's own ids, where they only spell them differently."""
    known, asked = Names(i.image_id for i in images), Names(q.query_id for q in queries)
    meant: Qrels = {}
    for query_id, grades in qrels.items():
        judged = meant.setdefault(asked.find(query_id) or query_id, {})
        # Exact spellings go first.
        for image_id in sorted(grades, key=known.__contains__, reverse=True):
            judged.setdefault(known.find(image_id) or image_id, grades[image_id])
    return meant


def _unique(records: Iterable[Record]) -> Iterator[Record]:
    seen: dict[str, int] = {}
    for record in records:
        first = seen.setdefault(record.id(), record.line)
        if first != record.line:
            raise record.error(f"the id {record.id()!r} stands twice (first in line {first})")
        yield record


def parse_image(record: Record, root: str) -> GalleryImage:
    """The image of one line of `corpus.jsonl`."""
    path = record.image(root)
    if path is None:
        raise record.error("'image' is missing")
    text = record.text("text") or ""
    return GalleryImage(record.id(), path, text, record.object("metadata"))


def parse_query(
    record: Record, root: str, pools: Mapping[str, tuple[str, ...]], known: Container[str]
) -> EvalQuery:
    """The query of one line of `queries.jsonl`."""
    images, text = record.pictures(root), record.text("text")
    if not images and text is None:
        raise record.error("a query needs an image, a text, or both")
    without, weight = parse_without(record, root)
    return EvalQuery(
        query_id=record.id(),
        image=images[0] if images else None,
        text=text,
        category=record.text("category") or "",
        paraphrases=record.strings("paraphrases"),
        question=record.text("question"),
        answers=record.strings("answers"),
        metadata=record.object("metadata"),
        more_images=images[1:],
        without=without,
        without_weight=weight,
        pool=query_pool(record, pools, known),
    )


def query_pool(
    record: Record, pools: Mapping[str, tuple[str, ...]], known: Container[str]
) -> tuple[str, ...]:
    """A query's candidates: the name of a pool, or their ids."""
    given = record.values.get("pool")
    if given is None or isinstance(given, list):
        return parse_pool(record, "pool", known) if given else ()
    name = record.id("pool")
    if name not in pools:
        raise record.error(f"the pool {name!r} is not in {POOLS}")
    return pools[name]


def parse_without(record: Record, root: str) -> tuple[Query | None, float]:
    """The unwanted part of a query of `queries.jsonl`, and its weight."""
    values = record.object("without")
    if not values:
        return None, 0.5
    inner = Record(record.path, record.line, values, record.unit)
    images, text = inner.pictures(root), inner.text("text")
    weight = values.get("weight", 0.5)
    if not images and text is None:
        raise record.error("'without' needs an image, a text, or both")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e9:
        raise record.error("the weight of 'without' must be a number from 0")
    return Query(text=text, images=images), float(weight)


def read_qrels(path: Path) -> Qrels:
    """Read judgments in BEIR's form: query id to image id to grade."""
    qrels: Qrels = {}
    for number, line in read_lines(path):
        judgment = parse_judgment(path, number, line)
        if judgment is None:
            continue
        query_id, image_id, grade = judgment
        if qrels.setdefault(query_id, {}).setdefault(image_id, grade) != grade:
            raise RecordError(
                path, number, "the same query and image were graded differently above"
            )
    return qrels


def _query_record(
    query: EvalQuery, root: Path, pools: Mapping[tuple[str, ...], str]
) -> dict[str, Any]:
    without = query.without
    record: dict[str, Any] = {
        "_id": query.query_id,
        **_pictures(query.images, root),
        "text": query.text,
        "category": query.category,
        "paraphrases": list(query.paraphrases),
        "question": query.question,
        "answers": list(query.answers),
        "metadata": query.metadata,
        "pool": pools[query.pool] if query.pool else None,
    }
    if without is not None:
        unwanted = {**_pictures(without.images, root), "text": without.text}
        record["without"] = {
            **{key: value for key, value in unwanted.items() if value},
            "weight": query.without_weight,
        }
    return {key: value for key, value in record.items() if value}


def _pictures(paths: Sequence[Any], root: Path) -> dict[str, Any]:
    names = [_relative(str(path), root) for path in paths]
    return {"images": names} if len(names) > 1 else {"image": names[0] if names else None}


def _relative(path: str, root: Path) -> str:
    prefix = str(root).removesuffix("/") + "/"
    if not path.startswith(prefix):
        raise EvalSetError(f"{path} does not lie below the image root {root}.")
    return path[len(prefix) :]


def _json_line(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        raise EvalSetError(f"{record['_id']!r} cannot be written as JSON: {error}") from error


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with replacing(path) as part, part.open("wb") as out:
        out.writelines(lines)
