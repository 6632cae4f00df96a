"""A machine whose power fails: below a folder only what was put through to the disk remains.

`power.c` notes at each `fsync`, of whatever library, what is on the disk from then on; here the
folder is made to hold just that. A name whose folder was not put through is as it was before, and
a file whose content was not is empty, as journalling file systems leave it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from ..helpers import ROOT

SOURCE = Path(__file__).with_name("power.c")


def build(library: Path) -> bool:
    """Compile the part that is loaded into each process; False without a C compiler."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return False
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return True


class Power:
    """The power of the machine that has the folder `root`.

    Args:
        root: what is in it at first is on the disk.
        library: as `build` made it.
    """

    def __init__(self, root: Path, library: Path) -> None:
        self.root, self.library = root.resolve(), library
        self.notes = root.with_name(root.name + ".power")

    def until_it_fails(
        self, command: Sequence[str], syncs: int = 10**9, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, or to the sync of that number; then the power fails."""
        self._begin()
        noted = {
            "LD_PRELOAD": str(self.library),
            "MMRAG_POWER_ROOT": str(self.root),
            "MMRAG_POWER_KEPT": str(self.notes),
            "MMRAG_POWER_SYNCS": str(syncs),
        }
        try:
            done = subprocess.run(
                [sys.executable, *command],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={**os.environ, **noted, **env},
                timeout=300,
            )
        finally:
            self._end_all()
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._restore(self._inode, self.root)
        return done

    def syncs(self) -> int:
        """How often the last program put something through."""
        return int((self.notes / "count").read_text())

    def _begin(self) -> None:
        shutil.rmtree(self.notes, ignore_errors=True)
        self.notes.mkdir()
        self._inode = self.root.stat().st_ino
        for folder, folders, files in os.walk(self.root):
            lines = []
            for kind, names in (("d", folders), ("f", files)):
                for name in names:
                    path = Path(folder, name)
                    inode = path.stat().st_ino
                    lines.append(f"{kind} {inode} {name}\n")
                    if kind == "f":
                        shutil.copyfile(path, self.notes / f"f-{inode}")
                        os.link(path, self.notes / f"pin-{inode}")
            (self.notes / f"d-{Path(folder).stat().st_ino}").write_text("".join(lines))

    def _end_all(self) -> None:
        """Servers that a program left behind have no power either."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("MMRAG_POWER_KEPT") == str(self.notes):
                    process.kill()
                    process.wait()

    def _restore(self, inode: int, folder: Path) -> None:
        try:
            lines = (self.notes / f"d-{inode}").read_text().splitlines()
        except FileNotFoundError:
            return
        parts = [line.split(" ", 2) for line in lines]
        # Of a name the last line holds.
        for name, (kind, of) in {name: (kind, int(of)) for kind, of, name in parts}.items():
            path = folder / name
            if kind == "d":
                path.mkdir()
                self._restore(of, path)
            else:
                content = self.notes / f"f-{of}"
                path.write_bytes(content.read_bytes() if content.exists() else b"")
