"""Eval sets on disk: gallery, queries and graded judgments in the BEIR layout."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.gallery import Gallery
from mmrag.types import GalleryImage, Query, Skipped

Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class EvalQuery:
    """A labelled query; `image` is an absolute path."""

    query_id: str
    image: str | None
    text: str | None
    category: str = ""
    paraphrases: tuple[str, ...] = ()
    question: str | None = None
    answers: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    def query(self) -> Query:
        """What a searcher takes."""
        return Query(self.image, self.text)


@dataclass(frozen=True)
class EvalSet:
    """Gallery, queries and judgments.

    `qrels` maps query id to image id to grade: 0 is judged not relevant (a hard negative),
    1, 2, ... are grades of relevance; what is absent was not judged.
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

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> EvalSet:
        """Read an eval set.

        Raises:
            EvalSetError: a file is absent or a line is wrong; names file and line.
        """
        folder = Path(folder)
        head = _read_head(folder)
        root = (folder / str(head.get("image_root", "."))).resolve()
        images = [_image(root, line) for line in _json_lines(folder / "corpus.jsonl")]
        queries = [_query(root, line) for line in _json_lines(folder / "queries.jsonl")]
        _check_unique((i.image_id for i in images), folder / "corpus.jsonl")
        _check_unique((q.query_id for q in queries), folder / "queries.jsonl")
        return cls(
            name=str(head.get("name", folder.name)),
            folder=folder,
            image_root=root,
            images=images,
            queries=queries,
            qrels=_read_qrels(folder / "qrels" / "test.tsv"),
            version=str(head.get("version", "1")),
            description=str(head.get("description", "")),
            licence=str(head.get("licence", "")),
            source=str(head.get("source", "")),
            primary_metric=str(head.get("primary_metric", "hit_rate@10")),
            exclude_query_image=bool(head.get("exclude_query_image", False)),
        )

    def save(self) -> None:
        """Write the files into `folder`; paths become relative to `image_root`."""
        (self.folder / "qrels").mkdir(parents=True, exist_ok=True)
        root = self.image_root.resolve()
        inside = root.is_relative_to(self.folder.resolve())
        head = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "licence": self.licence,
            "source": self.source,
            "image_root": os.path.relpath(root, self.folder.resolve()) if inside else str(root),
            "primary_metric": self.primary_metric,
            "exclude_query_image": self.exclude_query_image,
        }
        (self.folder / "eval_set.json").write_text(json.dumps(head, indent=1) + "\n")
        _write_json_lines(
            self.folder / "corpus.jsonl",
            (
                {
                    "_id": image.image_id,
                    "image": Path(image.path).relative_to(root).as_posix(),
                    "text": image.text,
                    "metadata": image.metadata,
                }
                for image in self.images
            ),
        )
        _write_json_lines(
            self.folder / "queries.jsonl", (_query_record(query, root) for query in self.queries)
        )
        with (self.folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as out:
            out.write("query-id\tcorpus-id\tscore\n")
            for query_id, judged in self.qrels.items():
                out.writelines(f"{query_id}\t{i}\t{grade}\n" for i, grade in judged.items())

    def gallery(self) -> Gallery:
        """The images as `ImageIndex.add` takes them; absent files are listed as skipped."""
        present = [image for image in self.images if Path(image.path).is_file()]
        absent = [i for i in self.images if not Path(i.path).is_file()]
        return Gallery(present, [Skipped(image.image_id, "file not found") for image in absent])

    def relevant(self, query_id: str) -> set[str]:
        """Ids of the images that are right for a query (grade 1 or more)."""
        return {i for i, grade in self.qrels.get(query_id, {}).items() if grade > 0}

    def with_queries(self, queries: Iterable[EvalQuery]) -> EvalSet:
        """The same set with other queries."""
        return replace(self, queries=list(queries))


def _read_head(folder: Path) -> dict[str, Any]:
    path = folder / "eval_set.json"
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvalSetError(f"{folder} is not an eval set: it has no eval_set.json.") from None
    except (OSError, ValueError) as error:
        raise EvalSetError(f"{path} cannot be read: {error}") from error
    if not isinstance(head, dict):
        raise EvalSetError(f"{path} must hold one object.")
    return head


@dataclass(frozen=True)
class _Line:
    """One record with where it stands, for error messages."""

    path: Path
    number: int
    record: dict[str, Any]

    def error(self, what: str) -> EvalSetError:
        return EvalSetError(f"{self.path}, line {self.number}: {what}.")

    def text(self, key: str) -> str | None:
        value = self.record.get(key)
        if value is None or isinstance(value, str):
            return value or None
        raise self.error(f"{key!r} must be a string")

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.record.get(key) or []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise self.error(f"{key!r} must be a list of strings")

    def metadata(self) -> dict[str, Any]:
        value = self.record.get("metadata") or {}
        if isinstance(value, dict):
            return value
        raise self.error("'metadata' must be an object")

    def id(self) -> str:
        value = self.record.get("_id")
        if not isinstance(value, str | int) or value == "" or "\t" in str(value):
            raise self.error("'_id' is missing or not a plain string")
        return str(value)

    def image(self, root: Path) -> str | None:
        name = self.text("image")
        if name is None:
            return None
        path = os.path.normpath(root / name)
        if not Path(path).is_relative_to(root):
            raise self.error(f"the image path {name!r} leaves the image root")
        return path


def _json_lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise EvalSetError(f"{path}, line {number}: not JSON ({error}).") from error
                if not isinstance(record, dict):
                    raise EvalSetError(f"{path}, line {number}: not an object.")
                yield _Line(path, number, record)
    except (OSError, UnicodeDecodeError) as error:
        raise EvalSetError(f"{path} cannot be read: {error}") from error


def _image(root: Path, line: _Line) -> GalleryImage:
    path = line.image(root)
    if path is None:
        raise line.error("'image' is missing")
    return GalleryImage(line.id(), path, line.text("text") or "", line.metadata())


def _query(root: Path, line: _Line) -> EvalQuery:
    image, text = line.image(root), line.text("text")
    if image is None and text is None:
        raise line.error("a query needs an image, a text, or both")
    return EvalQuery(
        query_id=line.id(),
        image=image,
        text=text,
        category=line.text("category") or "",
        paraphrases=line.strings("paraphrases"),
        question=line.text("question"),
        answers=line.strings("answers"),
        metadata=line.metadata(),
    )


def _query_record(query: EvalQuery, root: Path) -> dict[str, Any]:
    record: dict[str, Any] = {
        "_id": query.query_id,
        "image": Path(query.image).relative_to(root).as_posix() if query.image else None,
        "text": query.text,
        "category": query.category,
        "paraphrases": list(query.paraphrases),
        "question": query.question,
        "answers": list(query.answers),
        "metadata": query.metadata,
    }
    return {key: value for key, value in record.items() if value}


def _read_qrels(path: Path) -> Qrels:
    qrels: Qrels = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                parts = line.rstrip("\n").split("\t")
                if (number == 1 and parts[:1] == ["query-id"]) or not line.strip():
                    continue
                try:
                    query_id, image_id, grade = parts
                    qrels.setdefault(query_id, {})[image_id] = int(grade)
                except ValueError:
                    raise EvalSetError(
                        f"{path}, line {number}: expected query-id, corpus-id and a whole number, "
                        "separated by tabs."
                    ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise EvalSetError(f"{path} cannot be read: {error}") from error
    return qrels


def _check_unique(ids: Iterable[str], path: Path) -> None:
    seen: set[str] = set()
    for number, one in enumerate(ids, start=1):
        if one in seen:
            raise EvalSetError(f"{path}: the id {one!r} stands twice (record {number}).")
        seen.add(one)


def _write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
