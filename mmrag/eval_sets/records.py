"""Reading JSON, JSON Lines and TSV files record by record, so that errors name file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mmrag.errors import EvalSetError
from mmrag.system.text_files import as_utf8

Qrels = dict[str, dict[str, int]]
_NOT_IN_TSV = re.compile(r"[\t\n\r\0]")


class RecordError(EvalSetError):
    """One wrong record; `line` counts lines (or, in a JSON list, entries) from 1."""

    def __init__(self, path: Path, line: int | None, what: str, unit: str = "line") -> None:
        super().__init__(f"{path}{'' if line is None else f', {unit} {line}'}: {what}.")
        self.path, self.line, self.what = path, line, what


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object and its position. The getters raise `RecordError`."""

    path: Path
    line: int
    values: dict[str, Any]
    unit: str = "line"

    def error(self, what: str) -> RecordError:
        """The error to raise for this record."""
        return RecordError(self.path, self.line, what, self.unit)

    def text(self, key: str) -> str | None:
        """A string; None when it is absent or blank."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            return value if value.strip() else None
        raise self.error(f"{key!r} must be a string")

    def required(self, key: str) -> str:
        """A string that is not blank."""
        value = self.text(key)
        if value is None:
            raise self.error(f"{key!r} is missing or empty")
        return value

    def words(self, key: str) -> str | None:
        """A string that must be there, but may be blank, which gives None."""
        if key not in self.values:
            raise self.error(f"{key!r} is missing")
        return self.text(key)

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty when absent."""
        value = self.values.get(key) or []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise self.error(f"{key!r} must be a list of strings")

    def integer(self, key: str) -> int:
        """A whole number."""
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise self.error(f"{key!r} must be a whole number")

    def object(self, key: str) -> dict[str, Any]:
        """An object, empty when absent."""
        value = self.values.get(key) or {}
        if isinstance(value, dict):
            return value
        raise self.error(f"{key!r} must be an object")

    def id(self, key: str = "_id") -> str:
        """A string or a whole number that fits in a TSV file."""
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and is_plain_id(value):
            return value
        raise self.error(f"{key!r} is missing or not a plain string")

    def image(self, root: str, key: str = "image") -> str | None:
        """The absolute path of a picture below `root` (absolute, normal); None when absent."""
        name = self.text(key)
        if name is None:
            return None
        return self._inside(root, name)

    def pictures(self, root: str) -> tuple[str, ...]:
        """The absolute paths under "image" or, for several, "images"; empty when absent."""
        names = self.strings("images")
        if names and self.text("image") is not None:
            raise self.error("give 'image', or 'images' for several, not both")
        if names:
            return tuple(self._inside(root, name) for name in names)
        one = self.image(root)
        return () if one is None else (one,)

    def _inside(self, root: str, name: str) -> str:
        path = inside(root, name)
        if path is None:
            raise self.error(f"the image path {name!r} leaves the image root")
        return path


def inside(root: str, name: str) -> str | None:
    """`root`/`name` in normal form, or None if that is not below `root`.

    Only names are checked; `absent_files` checks links.
    """
    if "\0" in name:
        return None
    path = os.path.normpath(os.path.join(root, name))
    return path if path.startswith(root if root.endswith("/") else root + "/") else None


def is_plain_id(text: str) -> bool:
    """Whether an id fits in a TSV file."""
    return bool(text) and not _NOT_IN_TSV.search(text)


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of every line that is not blank, without its end; numbers count from 1."""
    for number, line in enumerate(_read(path).split(b"\n"), start=1):
        if line and not line.isspace():
            yield number, line


def parse_record(path: Path, number: int, line: bytes) -> Record:
    """Parse one line of a JSON Lines file."""
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RecordError(path, number, f"not JSON ({error.msg})") from None
    if not isinstance(values, dict):
        raise RecordError(path, number, "not an object")
    return Record(path, number, values)


def read_records(path: Path) -> Iterator[Record]:
    """The records of a JSON Lines file."""
    return (parse_record(path, number, line) for number, line in read_lines(path))


def read_json(path: Path) -> Any:
    """Read a whole JSON document; errors are reported with their line."""
    try:
        return orjson.loads(_read(path))
    except orjson.JSONDecodeError as error:
        raise RecordError(path, error.lineno, f"not JSON ({error.msg})") from None


def read_json_list(path: Path) -> list[Record]:
    """The objects of a JSON list; their `line` is their position in the list, from 1."""
    values = read_json(path)
    if not isinstance(values, list):
        raise RecordError(path, None, "must hold a list")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise RecordError(path, number, "not an object", "entry")
    return [Record(path, number, value, "entry") for number, value in enumerate(values, start=1)]


def read_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of every line of a TSV file that is not blank."""
    for number, line in read_lines(path):
        try:
            yield number, line.decode().rstrip("\r").split("\t")
        except UnicodeDecodeError:
            raise RecordError(path, number, "not UTF-8") from None


def parse_judgment(path: Path, number: int, line: bytes) -> tuple[str, str, int] | None:
    """(query id, image id, grade) of one line of a qrels file; None for its header."""
    try:
        cells = line.decode().rstrip("\r").split("\t")
        if number == 1 and cells[0] == "query-id":
            return None
        query_id, image_id, grade = cells
        return query_id, image_id, parse_grade(grade)
    except ValueError:
        raise RecordError(
            path,
            number,
            "expected query-id, corpus-id and a whole number, separated by tabs",
        ) from None


def parse_grade(text: str) -> int:
    """A grade of relevance as qrels files write it; ValueError for anything but ASCII digits."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise ValueError(f"not a whole number: {text!r}")
    return int(text)


def _read(path: Path) -> bytes:
    try:
        return as_utf8(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise EvalSetError(f"{path} cannot be read: {reason or error}") from error
