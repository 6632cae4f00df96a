"""The documents and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from .helpers import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])


# Commands behind "$ " with what they print.
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.M | re.S)


INDENTED = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*(?:\n|$))+)")


INLINE = re.compile(r"`((?:MMRAG_\w+=\S+ )*mmrag [^`]+)`")


# Stand for what the reader fills in.
NAMES = {"N": "1", "K": "1"}


def commands(text: str) -> Iterator[str]:
    """The command lines of a document, continued lines joined."""
    blocks = FENCE.findall(text) + INDENTED.findall(FENCE.sub("", text))
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")
    yield from INLINE.findall(text)


def words_of(line: str) -> list[str] | None:
    """What follows `mmrag` in a command line; None for other commands."""
    line = re.split(r"\s#\s|\s[|>]\s|\s&&\s", f"{line} ")[0].strip()
    line = re.sub(r"^(?:[A-Z_]+=\S*\s+)*", "", line)
    if not line.startswith("mmrag ") or "…" in line or "..." in line:
        return None
    return [NAMES.get(word, word) for word in shlex.split(line)[1:]]
