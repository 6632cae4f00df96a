"""Metadata files as various programs write them: JSON Lines, JSON, and tables of any dialect."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mmrag.errors import MmragError
from mmrag.system.json_stream import json_records

PATH_KEYS = ("image_path", "path", "image", "file_path", "file_name", "filename", "file")
TEXT_KEYS = ("description", "text", "caption", "title")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t"}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLOCK = 1 << 20
# The first line of a table is within this many characters.
_HEADER = 1 << 16
# Characters in the longest line of a table that is read.
_LONGEST_LINE = 4_000_000
# The encoding is detected from this many bytes before and after the first that is not UTF-8.
_BEFORE, _BEHIND = 1 << 16, 3 << 16
# A decimal comma, and points between thousands.
_COMMA_NUMBER = re.compile(r"-?(0|[1-9]\d*|[1-9]\d{0,2}(\.\d{3})+),\d+")


@dataclass(frozen=True)
class Reading:
    """How a metadata file is written; None is detected.

    `encoding` is a name that Python knows. `delimiter` is the character between the cells of a
    table, or "tab".
    """

    encoding: str | None = None
    delimiter: str | None = None

    def __post_init__(self) -> None:
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            raise MmragError(
                f"Unknown encoding {self.encoding!r}; examples are utf-8, windows-1252, shift_jis."
            ) from None
        if self.delimiter is not None and len(self.separator or "") != 1:
            raise MmragError(
                f"{self.delimiter!r} cannot stand between cells; use one character, or tab."
            )

    @property
    def separator(self) -> str | None:
        """The character itself."""
        return _NAMED_DELIMITERS.get(self.delimiter or "", self.delimiter)


@dataclass(frozen=True)
class Records:
    """(line number, record) of a file; `notes` say what was assumed to read it."""

    rows: Iterable[tuple[int, Any]]
    notes: tuple[str, ...] = ()


def read_records(path: Path, reading: Reading | None = None) -> Records:
    """The records of a JSON Lines, JSON (a list), CSV or TSV file; a table's numbers as numbers.

    A table's delimiter may be any of `, ; tab |`; unless it is a comma, numbers may have a decimal
    comma. Text is UTF-8, UTF-16 with a byte order mark, or as detected.

    Raises:
        MmragError: names the line (of tables also the column) that cannot be read, and what was
            expected there.
    """
    reading = reading or Reading()
    table = path.suffix.lower() in (".csv", ".tsv")
    try:
        if path.exists() and not path.is_file():
            raise MmragError(f"{str(path)!r} is not a file.")
        encoding, assumed = _encoding(path, reading.encoding)
    except FileNotFoundError:
        raise MmragError(f"No metadata file at {path}.") from None
    # ValueError: a name that no file can have.
    except (OSError, ValueError) as error:
        raise MmragError(f"{str(path)!r} cannot be read: {error}") from error
    said = [f"as {assumed}"] if assumed else []

    def opened() -> TextIO:
        return path.open(encoding=encoding, newline="" if table else "\n")

    if not table:
        return Records(_json_records(path, opened), _note(path, said))
    usual = "\t" if path.suffix.lower() == ".tsv" else ","

    with opened() as file:
        begins = file.read(_HEADER)
    separator, hinted = _separator(path, begins, reading.separator, usual, said)
    if separator != usual and reading.delimiter is None:
        said.append(f"with {_DELIMITERS[separator]} between the cells")
    return Records(_table_records(path, opened, separator, hinted), _note(path, said))


def _note(path: Path, said: list[str]) -> tuple[str, ...]:
    return (f"{path.name} was read {' '.join(said)}.",) if said else ()


def _encoding(path: Path, given: str | None) -> tuple[str, str | None]:
    """A file's encoding, and its name if it is neither given nor marked nor UTF-8."""
    with path.open("rb") as file:
        marked = file.read(2) in _UTF_16
    encoding = given or ("utf-16" if marked else "utf-8-sig")
    wrong = _first_wrong(path, encoding)
    if wrong is None:
        return encoding, None
    if given or marked:
        raise _undecodable(path, wrong, encoding)
    from charset_normalizer import from_bytes

    with path.open("rb") as file:
        file.seek(max(0, wrong - _BEFORE))
        found = from_bytes(file.read(_BEFORE + _BEHIND)).best()
    if found is None or _first_wrong(path, found.encoding) is not None:
        raise _undecodable(path, wrong, "utf-8")
    # If several code pages fit the file, name the usual one.
    usual = "cp1252" if "cp1252" in found.could_be_from_charset else found.encoding
    return found.encoding, usual.replace("cp125", "Windows-125")


def _first_wrong(path: Path, encoding: str) -> int | None:
    """The position of the first byte that does not fit this encoding; None if all do."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        at = 0
        while True:
            block = file.read(_BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return at - pending + error.start
            if not block:
                return None
            at += len(block)


def _undecodable(path: Path, wrong: int, encoding: str) -> MmragError:
    line, column = 1, wrong + 1
    with path.open("rb") as file:
        at = 0
        while at < wrong:
            block = file.read(min(_BLOCK, wrong - at))
            if not block:
                break
            line += block.count(b"\n")
            if b"\n" in block:
                column = wrong - at - block.rindex(b"\n")
            at += len(block)
        byte = file.read(1)
    return MmragError(
        f"{path}, line {line}, column {column}: expected text in {encoding}, found the byte "
        f"0x{byte.hex()}; name the right --metadata-encoding, or save it as UTF-8."
    )


def _json_records(path: Path, opened: Callable[[], TextIO]) -> Iterator[tuple[int, Any]]:
    try:
        with opened() as file:
            yield from json_records(file)
    except ValueError as error:
        raise MmragError(f"{path}, {error}.") from error
    except OSError as error:
        raise MmragError(f"{str(path)!r} cannot be read: {error}") from error


def _separator(
    path: Path, text: str, given: str | None, usual: str, said: list[str]
) -> tuple[str, bool]:
    """The delimiter of the cells: the one that gives a column of paths in the first line.

    It may also be in a line of its own before that, as spreadsheets write.
    """
    first = text.partition("\n")[0]
    if hint := re.fullmatch(r"sep=(.)\r?", first):
        return given or hint[1], True
    for separator in [given] if given else dict.fromkeys([usual, *_DELIMITERS]):
        if set(_header(text, separator)) & set(PATH_KEYS):
            return separator, False
    found = ", ".join(map(repr, _header(text, given or usual)[:9])) or "nothing"
    raise MmragError(
        f"{path}, line 1: expected a column called {', '.join(PATH_KEYS[:-1])} or {PATH_KEYS[-1]}, "
        f"found {found}; name the columns in the first line, or what stands between them with "
        "--metadata-delimiter."
    )


def _header(text: str, separator: str) -> list[str]:
    try:
        begins = io.StringIO(text, newline="")
        cells = next(csv.reader(begins, delimiter=separator), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def _table_records(
    path: Path, opened: Callable[[], TextIO], separator: str, hinted: bool
) -> Iterator[tuple[int, Any]]:
    with opened() as file:
        if hinted:
            file.readline()
        yield from _rows(path, csv.reader(_lines(file), delimiter=separator), separator)


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"a line of more than {_LONGEST_LINE:,} characters")
        yield line


def _rows(path: Path, reader: Any, separator: str) -> Iterator[tuple[int, Any]]:
    try:
        header = [cell.strip() for cell in next(reader, [])]
        for cells in reader:
            if any(cells[len(header) :]):
                raise MmragError(
                    f"{path}, line {reader.line_num}, column {len(header) + 1}: expected "
                    f"{len(header)} cells as in the first line, found {len(cells)}; put quotes "
                    f"around cells that hold {_DELIMITERS.get(separator, separator)}."
                )
            if any(cells):
                yield reader.line_num, _record(header, cells, separator)
    # ValueError: the file has changed since it was checked.
    except (csv.Error, OSError, ValueError) as error:
        raise MmragError(f"{path}, line {reader.line_num}: {error}.") from error


def _record(header: list[str], cells: list[str], separator: str) -> dict[str, Any]:
    return {
        key: value if key in PATH_KEYS + TEXT_KEYS else _number(value, separator != ",")
        for key, value in zip(header, cells, strict=False)
        if key and value
    }


def _number(value: str, commas: bool) -> str | int | float:
    """Only what reads back as it was written is a number: "007" and "1e5" stay text."""
    if commas and _COMMA_NUMBER.fullmatch(value):
        return float(value.replace(".", "").replace(",", "."))
    for kind in (int, float):
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            continue
        if str(number) == value and abs(number) < float("inf"):
            return number
    return value
