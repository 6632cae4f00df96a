"""JSON one record after the other, so that a long list is not held as objects all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def json_records(text: str) -> Iterator[tuple[int, Any]]:
    """(number, record) of a list, of a single record, or of JSON Lines.

    The number is the line of JSON Lines, and the position (from 1) in a list. NaN and infinities
    are None.

    Raises:
        ValueError: "line N: not JSON (REASON)", once what stands before it has been given.
    """
    begin = _skip(text, 0)
    if text.startswith("[", begin):
        yield from _list(text, begin + 1)
        return
    try:
        record, end = _DECODER.raw_decode(text, begin)
        single = _skip(text, end) == len(text)
    except (ValueError, RecursionError):
        single = False
    if single:
        yield 1, record
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line, parse_constant=lambda _: None)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: not JSON ({error})") from error


def _list(text: str, at: int) -> Iterator[tuple[int, Any]]:
    at, number = _skip(text, at), 0
    if text.startswith("]", at):
        at += 1
    else:
        while True:
            try:
                record, at = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                raise _wrong(text, at, str(error)) from error
            number += 1
            yield number, record
            at = _skip(text, at) + 1
            if text.startswith("]", at - 1):
                break
            if not text.startswith(",", at - 1):
                raise _wrong(text, at - 1, "expected a comma or the end of the list")
            at = _skip(text, at)
    if _skip(text, at) != len(text):
        raise _wrong(text, at, "there is more behind the list")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _wrong(text: str, at: int, reason: str) -> ValueError:
    line = text.count("\n", 0, at) + 1
    return ValueError(f"line {line}: not JSON ({reason})")
