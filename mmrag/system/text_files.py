"""Text files as people's programs write them: UTF-8 with or without a byte order mark, or UTF-16.

Windows puts a byte order mark in front of what it saves; read as a letter, it would change the
first name in a file.
"""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import TextIO

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode(data: bytes) -> str:
    """Decode a whole file, without a byte order mark; line ends stay as they are.

    Raises:
        UnicodeDecodeError: neither UTF-8 nor UTF-16 with a byte order mark.
    """
    return data.decode(_encoding(data))


def as_utf8(data: bytes) -> bytes:
    """Convert to UTF-8 without a byte order mark; UTF-8 is not checked.

    Raises:
        UnicodeDecodeError: the byte order mark says UTF-16, but the rest is not.
    """
    if data.startswith(_UTF_16):
        return decode(data).encode()
    return data.removeprefix(codecs.BOM_UTF8)


def read_text(path: Path) -> str:
    """Read the text of a file, without a byte order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: as for `decode`.
    """
    return decode(path.read_bytes())


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open a file for reading as text; `newline` is as in `open`.

    Raises:
        OSError: it cannot be opened.
    """
    raw = path.open("rb")
    return io.TextIOWrapper(raw, encoding=_encoding(raw.peek(2)), newline=newline)


def _encoding(begins: bytes) -> str:
    return "utf-16" if begins.startswith(_UTF_16) else "utf-8-sig"
