"""Check an eval set and report every problem with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmrag import config
from mmrag.errors import EvalSetError, ImageError
from mmrag.eval_sets.eval_set import (
    POOLS,
    image_root,
    parse_without,
    query_pool,
    read_head,
    read_pools,
)
from mmrag.eval_sets.records import (
    Record,
    RecordError,
    parse_judgment,
    parse_record,
    read_lines,
)
from mmrag.system.files import absent_files
from mmrag.system.names import AmbiguousName, Names, as_on_disk

HEAD_KEYS = (
    "name",
    "version",
    "description",
    "licence",
    "source",
    "image_root",
    "primary_metric",
    "exclude_query_image",
    "notes",
)
CORPUS_KEYS = ("_id", "image", "text", "metadata")
QUERY_KEYS = (
    *CORPUS_KEYS,
    "images",
    "without",
    "pool",
    "category",
    "paraphrases",
    "question",
    "answers",
)
MAX_USUAL_GRADE = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `file` is relative to the eval set's folder."""

    file: str
    line: int | None
    severity: Literal["error", "warning"]
    message: str


@dataclass
class Validation:
    """The findings of `validate`, and how much it checked."""

    images: int = 0
    queries: int = 0
    judgments: int = 0
    problems: list[Problem] = field(default_factory=list)

    def count(self, severity: str) -> int:
        """How many problems are of this severity."""
        return sum(problem.severity == severity for problem in self.problems)


@dataclass
class _Seen:
    """The ids of one file with their lines, and the pictures it names."""

    lines: dict[str, int] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)


def validate(
    folder: Path, *, decode: bool = False, progress: Callable[[int, int], Any] | None = None
) -> Validation:
    """Check every line of an eval set.

    Errors are what would stop `EvalSet.load`, make an image unusable or make a score wrong:
    unreadable files and lines, values of the wrong kind, repeated ids, judgments of
    unknown ids, negative grades, pictures that are missing or outside the image root. Warnings
    are what is probably unintended.

    Args:
        folder: the eval set.
        decode: also decode every picture.
        progress: with `decode`, called after each picture with the number done and in all.
    """
    return _Validator(Path(folder)).run(decode, progress)


class _Validator:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result = Validation()
        self.head: dict[str, Any] = {}
        self.known: dict[str, int] = {}
        self.named: dict[str, tuple[str, ...]] = {}
        self.pools: dict[int, tuple[str, ...]] = {}

    def run(self, decode: bool, progress: Callable[[int, int], Any] | None) -> Validation:
        root, known_root = self.folder.resolve(), False
        try:
            self.head = read_head(self.folder)
            root, known_root = image_root(self.folder, self.head), True
        except RecordError as error:
            self.add("eval_set.json", error.line, "error", error.what)
        except EvalSetError as error:
            self.add("eval_set.json", None, "error", str(error).removesuffix("."))
            return self.result
        for key in self.head.keys() - set(HEAD_KEYS):
            if close := difflib.get_close_matches(key, HEAD_KEYS, 1, 0.8):
                self.add("eval_set.json", None, "warning", f"{key!r}: is {close[0]!r} meant?")
        corpus = self.records("corpus.jsonl", CORPUS_KEYS, partial(self.image, root=str(root)))
        self.known = corpus.lines
        read = partial(read_pools, self.folder / POOLS, self.known)
        self.named = self.check(POOLS, read) or {}
        queries = self.records("queries.jsonl", QUERY_KEYS, partial(self.query, root=str(root)))
        self.result.images, self.result.queries = len(corpus.lines), len(queries.lines)
        self.judgments(corpus, queries)
        if known_root:
            self.pictures(root, corpus, queries, decode, progress)
        order = {name: i for i, name in enumerate(("eval_set.json", "corpus.jsonl"))}
        self.result.problems.sort(key=lambda p: (order.get(p.file, 2), p.file, p.line or 0))
        return self.result

    def add(
        self, file: str, line: int | None, severity: Literal["error", "warning"], message: str
    ) -> None:
        self.result.problems.append(Problem(file, line, severity, message))

    def lines(self, file: str) -> Iterable[tuple[int, bytes]]:
        try:
            return list(read_lines(self.folder / file))
        except EvalSetError as error:
            self.add(file, None, "error", str(error).removesuffix("."))
            return []

    def check(self, file: str, get: Callable[[], T]) -> T | None:
        """The result of `get`; its error becomes a problem, and None is returned."""
        try:
            return get()
        except RecordError as error:
            self.add(file, error.line, "error", error.what)
            return None

    def records(
        self, file: str, keys: tuple[str, ...], look: Callable[[Record, str], str | None]
    ) -> _Seen:
        """Check each line; `look` checks what is specific to the file and returns the image."""
        seen, unknown = _Seen(), dict[str, list[int]]()
        whole = self.folder / file
        for number, line in self.lines(file):
            record = self.check(file, partial(parse_record, whole, number, line))
            if record is None:
                continue
            one = self.check(file, record.id)
            path = look(record, file)
            if one is not None:
                first = seen.lines.setdefault(one, number)
                if first != number:
                    self.add(file, number, "error", f"the id {one!r} also stands in line {first}")
                elif path is not None:
                    seen.images[one] = path
            for key in ("text", "category", "question"):
                self.check(file, partial(record.text, key))
            self.check(file, partial(record.object, "metadata"))
            for key in record.values.keys() - set(keys):
                unknown.setdefault(key, []).append(number)
        for key, numbers in sorted(unknown.items()):
            more = f" (in {len(numbers)} lines)" if len(numbers) > 1 else ""
            self.add(file, numbers[0], "warning", f"the key {key!r} is not used{more}")
        if not seen.lines:
            self.add(file, None, "error", "holds no records")
        return seen

    def image(self, record: Record, file: str, root: str) -> str | None:
        path = self.check(file, partial(record.image, root))
        if record.values.get("image") in (None, ""):
            self.add(file, record.line, "error", "'image' is missing")
        return path

    def query(self, record: Record, file: str, root: str) -> str | None:
        paths = self.check(file, partial(record.pictures, root))
        path = paths[0] if paths else None
        self.check(file, partial(parse_without, record, root))
        pool = self.check(file, partial(query_pool, record, self.named, self.known))
        self.pools[record.line] = pool or ()
        values = record.values
        if not any(_filled(values.get(key)) for key in ("image", "text")) and not paths:
            self.add(file, record.line, "error", "a query needs an image, a text, or both")
        paraphrases = self.check(file, partial(record.strings, "paraphrases"))
        answers = self.check(file, partial(record.strings, "answers"))
        if answers and not values.get("question"):
            self.add(file, record.line, "warning", "has answers but no question")
        if values.get("question") and answers == ():
            self.add(file, record.line, "warning", "has a question but no answers")
        if paraphrases and not _filled(values.get("text")):
            self.add(file, record.line, "warning", "has paraphrases but no text")
        if any(not text.strip() for text in (*(paraphrases or ()), *(answers or ()))):
            self.add(file, record.line, "warning", "an empty text among paraphrases or answers")
        return path

    def judgments(self, corpus: _Seen, queries: _Seen) -> None:
        file = "qrels/test.tsv"
        asked, known = Names(queries.lines), Names(corpus.lines)
        seen: dict[str, dict[str, tuple[int, int]]] = {}
        for number, line in self.lines(file):
            judgment = self.check(file, partial(parse_judgment, self.folder / file, number, line))
            if judgment is None:
                continue
            query_id, image_id, grade = judgment
            query_id = self.meant(asked, query_id, file, number)
            image_id = self.meant(known, image_id, file, number)
            if query_id not in queries.lines:
                self.add(file, number, "error", f"the query {query_id!r} is unknown")
            if image_id not in corpus.lines:
                self.add(file, number, "error", f"the image {image_id!r} is unknown")
            if grade < 0:
                self.add(file, number, "error", f"the grade {grade} is negative")
            elif grade > MAX_USUAL_GRADE:
                self.add(file, number, "warning", f"the grade {grade} is unusually high")
            self.result.judgments += 1
            first, before = seen.setdefault(query_id, {}).setdefault(image_id, (number, grade))
            if before != grade:
                self.add(file, number, "error", f"graded {before} in line {first}")
            elif first != number:
                self.add(file, number, "warning", f"also stands in line {first}")
        if not seen:
            message = "holds no judgments: rankings can be exported, but not scored"
            self.add(file, None, "warning", message)
            return
        for query_id, line_number in queries.lines.items():
            judged = seen.get(query_id, {})
            right = {image_id for image_id, (_, grade) in judged.items() if grade > 0}
            own = queries.images.get(query_id)
            if not judged:
                message = f"the query {query_id!r} has no judgments"
            elif not right:
                message = f"the query {query_id!r} has no right image"
            elif (
                own is not None
                and self.head.get("exclude_query_image")
                and any(corpus.images.get(image_id) == own for image_id in right)
            ):
                message = f"the query {query_id!r} asks for its own image, which is left out"
            elif (pool := self.pools.get(line_number)) and not right <= set(pool):
                message = f"a right image of the query {query_id!r} is none of its candidates"
            else:
                continue
            self.add("queries.jsonl", line_number, "warning", message)

    def meant(self, names: Names, name: str, file: str, number: int) -> str:
        """The id that a judgment means, else the name it gives."""
        try:
            return names.find(name) or name
        except AmbiguousName as error:
            self.add(file, number, "error", str(error))
            return name

    def pictures(
        self,
        root: Path,
        corpus: _Seen,
        queries: _Seen,
        decode: bool,
        progress: Callable[[int, int], Any] | None,
    ) -> None:
        places = [
            (path, file, seen.lines[one])
            for file, seen in (("corpus.jsonl", corpus), ("queries.jsonl", queries))
            for one, path in seen.images.items()
        ]
        first: dict[str, int] = {}
        for path, file, line in places:
            if file == "corpus.jsonl" and first.setdefault(path, line) != line:
                message = f"the picture of line {first[path]} under another id"
                self.add(file, line, "warning", message)
        if not root.is_dir() and places:
            message = f"the image root {root} is not there, so no picture is"
            self.add("eval_set.json", None, "error", message)
            return
        try:
            there = as_on_disk(str(root), (path for path, _, _ in places))
        except AmbiguousName as error:
            self.add("corpus.jsonl", None, "error", str(error))
            there = {}
        places = [(there.get(path, path), file, line) for path, file, line in places]
        bad = absent_files(str(root), (path for path, _, _ in places))
        if decode:
            rest = [
                path for path in dict.fromkeys(path for path, _, _ in places) if path not in bad
            ]
            bad.update(_undecodable(rest, progress or (lambda _, __: None)))
        for path, file, line in places:
            if path in bad:
                name = path[len(str(root).rstrip("/")) + 1 :]
                self.add(file, line, "error", f"the picture {name!r}: {bad[path]}")


def _filled(value: Any) -> bool:
    """Whether a value is there; values of the wrong kind are reported elsewhere."""
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _undecodable(paths: list[str], progress: Callable[[int, int], Any]) -> dict[str, str]:
    from mmrag.images.decode import load_image

    def problem(path: str) -> str | None:
        try:
            load_image(path)
        except ImageError as error:
            return str(error)
        return None

    bad = {}
    with ThreadPoolExecutor(config.decode_workers()) as pool:
        for done, (path, reason) in enumerate(zip(paths, pool.map(problem, paths), strict=True), 1):
            progress(done, len(paths))
            if reason:
                bad[path] = reason
    return bad
