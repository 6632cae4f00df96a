"""WebDataset archives, read sample by sample in a stream."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.system.durable import write_file

_LARGEST = 256 << 20


def samples(archives: list[Path]) -> Iterator[tuple[Path, str, dict[str, bytes]]]:
    """(archive, key, what follows the key's dot to content) for each sample.

    A sample is a run of plain files whose names agree up to the first dot.

    Raises:
        EvalSetError: an archive cannot be read.
    """
    for path in archives:
        key, parts = "", dict[str, bytes]()
        try:
            with tarfile.open(path, "r|") as members:
                for member in members:
                    if not member.isreg() or not 0 <= member.size <= _LARGEST:
                        continue
                    above, slash, name = member.name.removeprefix("./").rpartition("/")
                    stem, _, suffix = name.partition(".")
                    if above + slash + stem != key:
                        if parts:
                            yield path, key, parts
                        key, parts = above + slash + stem, {}
                    file = members.extractfile(member)
                    assert file is not None
                    parts[suffix.lower()] = file.read()
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise EvalSetError(f"{path} cannot be read: {error}.") from error
        if parts:
            yield path, key, parts


def record_of(parts: dict[str, bytes]) -> dict[str, Any]:
    """The record of a sample; empty if it has no readable one."""
    try:
        held = json.loads(parts.get("json", b"{}"))
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def keep(path: Path, data: bytes) -> str:
    """Write a picture unless it exists; return its path."""
    if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
    return str(path)
