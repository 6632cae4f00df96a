"""The notebooks of the documents: `python -m tests.notebooks` runs them and writes what they show.

One kernel runs all of them, each with names of its own. The vision model is the server of
`vision_server`, which the kernel's environment names.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from bench.awaiting import awaited

from .helpers import ROOT
from .vision_server import VisionServer

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
_FRESH = "get_ipython().run_line_magic('reset', '-f')"
# What differs each time: pictures, whose bytes depend on a library's version, and ids of runs.
_VARIES = re.compile(r"<img[^>]*>|\b\d{8}-\d{6}-[0-9a-f]{6}\b")


@contextmanager
def kernel(home: Path) -> Iterator[tuple[Any, Any]]:
    """A kernel whose state is in `home`, and which asks the stand-in for a vision model."""
    with VisionServer() as server:
        own = {"MMRAG_HOME": str(home), "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "any"}
        manager, client = start_new_kernel(
            startup_timeout=120, cwd=str(ROOT), env={**os.environ, **own}
        )
        try:
            yield manager, client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def executed(path: Path, running: tuple[Any, Any]) -> Any:
    """The notebook with fresh outputs; bars, warnings and plain text of tables are left out."""
    manager, client = running
    notebook = nbformat.read(path, as_version=4)
    work = NotebookClient(notebook, km=manager, timeout=300, record_timing=False)
    work.kc = client
    client.execute_interactive(_FRESH, timeout=60)

    async def run() -> None:
        # Left open for the next notebook.
        await work.async_execute(reset_kc=False, cleanup_kc=False)

    awaited(run())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = [
                one
                for one in cell.outputs
                if one.get("name") != "stderr" and "application/vnd.jupyter" not in str(one)
            ]
            for one in cell.outputs:
                if "text/html" in one.get("data", {}):
                    # All that a run holds, and paths of this machine.
                    one.data.pop("text/plain", None)
    return notebook


def shown(notebook: Any) -> list[str]:
    """What each code cell shows, as text, without what differs each time."""
    return ["".join(map(_text, cell.outputs)) for cell in notebook.cells if "outputs" in cell]


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    data = output.data
    return _VARIES.sub("", data.get("text/html") or data.get("text/plain", ""))


def main() -> int:
    """Run all notebooks, or those that are named, and write them with their outputs."""
    chosen = [path for path in NOTEBOOKS if not sys.argv[1:] or path.stem in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as home, kernel(Path(home)) as running:
        for path in chosen:
            nbformat.write(executed(path, running), path)
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
