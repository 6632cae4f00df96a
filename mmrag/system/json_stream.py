"""JSON read record by record: neither the whole text nor all objects are held in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

# Longer records are not read.
MOST_CHARACTERS = 4_000_000
_BLOCK = 1 << 16
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_TOO_LONG = f"a record of more than {MOST_CHARACTERS:,} characters"


def json_records(file: TextIO) -> Iterator[tuple[int, Any]]:
    """Read (number, record) from a list, a single record, or JSON Lines.

    The number is the line in JSON Lines, and the position (from 1) in a list. NaN and infinities
    become None.

    Args:
        file: seekable; only "\\n" may end its lines.

    Raises:
        ValueError: "line N: not JSON (REASON)", after the records before it were yielded.
    """
    window = _Window(file)
    window.skip_space()
    if window.take("["):
        yield from _list(window)
        return
    file.seek(0)
    text = file.read(MOST_CHARACTERS + 1)
    if len(text) <= MOST_CHARACTERS:
        begin = _skip(text, 0)
        try:
            record, end = _DECODER.raw_decode(text, begin)
            single = _skip(text, end) == len(text)
        except (ValueError, RecursionError):
            single = False
        if single:
            yield 1, record
            return
    del text
    file.seek(0)
    number = 0
    while line := file.readline(MOST_CHARACTERS + 1):
        number += 1
        if len(line) > MOST_CHARACTERS:
            raise ValueError(f"line {number}: not JSON ({_TOO_LONG})")
        if line.strip():
            try:
                yield number, json.loads(line, parse_constant=lambda _: None)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: not JSON ({error})") from error


class _Window:
    """The part of a file under examination, from `at` on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text, self._at, self._line = "", 0, 1

    def record(self) -> Any:
        """The next value; ValueError if it is malformed or too long."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise self.wrong(str(error)) from error
            else:
                # A number may continue in the next block.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value
            if len(self._text) - self._at > MOST_CHARACTERS:
                raise self.wrong(_TOO_LONG)

    def skip_space(self) -> bool:
        """Skip white space; whether anything follows."""
        while True:
            self._at = _skip(self._text, self._at)
            if self._at < len(self._text):
                return True
            if not self._more():
                return False

    def take(self, character: str) -> bool:
        """Whether the character comes next; if so, it is skipped, with the space after it."""
        found = self._text.startswith(character, self._at)
        if found:
            self._at += 1
            self.skip_space()
        return found

    def wrong(self, reason: str) -> ValueError:
        """The error for what comes next."""
        line = self._line + self._text.count("\n", 0, self._at)
        return ValueError(f"line {line}: not JSON ({reason})")

    def _more(self) -> bool:
        # Doubles what is held, so that a long record is not rescanned too often.
        block = self._file.read(max(_BLOCK, len(self._text) - self._at))
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + block, 0
        return bool(block)


def _list(window: _Window) -> Iterator[tuple[int, Any]]:
    number = 0
    ended = window.take("]")
    while not ended:
        record = window.record()
        number += 1
        yield number, record
        window.skip_space()
        ended = window.take("]")
        if not ended and not window.take(","):
            raise window.wrong("expected a comma or the end of the list")
    if window.skip_space():
        raise window.wrong("there is more behind the list")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
