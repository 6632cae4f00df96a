"""Runs the command line as if the power failed at its end: what was not synced is lost.

`python -m tests.faults.power FOLDER COMMAND...`. Below FOLDER a file whose content was not put
through to the disk before it was renamed is empty afterwards, as journalling file systems leave
it, and a name that was not put through either is as it was before.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

_synced: dict[tuple[int, int], tuple[int, int]] = {}
# Names that would be lost: the path, and a copy of what it was before, if it was.
_pending: dict[str, str | None] = {}
_fsync, _replace = os.fsync, os.replace


def main() -> int:
    root = os.path.realpath(sys.argv[1])

    def below(path: object) -> bool:
        return os.path.realpath(os.fspath(path)).startswith(root)  # type: ignore[call-overload]

    def fsync(file: object) -> None:
        handle = file if isinstance(file, int) else file.fileno()  # type: ignore[attr-defined]
        _fsync(handle)
        seen = os.fstat(handle)
        _synced[seen.st_dev, seen.st_ino] = seen.st_size, seen.st_mtime_ns
        if stat.S_ISDIR(seen.st_mode):
            for name in list(_pending):
                if os.path.samestat(seen, Path(name).parent.stat()):
                    del _pending[name]

    def replace(source: object, target: object, **_: object) -> None:
        if below(target) and Path(source).is_file():  # type: ignore[arg-type]
            seen = Path(source).stat()  # type: ignore[arg-type]
            if _synced.get((seen.st_dev, seen.st_ino)) != (seen.st_size, seen.st_mtime_ns):
                os.truncate(source, 0)  # type: ignore[arg-type]
            name = os.path.realpath(os.fspath(target))  # type: ignore[call-overload]
            before = None
            if Path(name).exists():
                before = f"{name}.before"
                shutil.copy2(name, before)
            _pending.setdefault(name, before)
        _replace(source, target)  # type: ignore[arg-type]

    os.fsync, os.replace, os.rename = fsync, replace, replace  # type: ignore[assignment]
    from mmrag.cli import run

    status = run(sys.argv[2:])
    for name, before in _pending.items():
        if before is None:
            Path(name).unlink(missing_ok=True)
        else:
            _replace(before, name)
    for copy in Path(root).rglob("*.before"):
        copy.unlink()
    return status


if __name__ == "__main__":
    sys.exit(main())
