"""The notebooks of the documents run, and show what they are committed with."""

from __future__ import annotations

from pathlib import Path

import nbformat

from .notebooks import NOTEBOOKS, executed, kernel, shown


def test_notebooks_show_what_is_committed(tmp_path: Path) -> None:
    """One kernel runs all of them, within its event loop."""
    assert [path.stem for path in NOTEBOOKS] == ["milvus", "openai", "own-photos"]
    with kernel(tmp_path) as running:
        for path in NOTEBOOKS:
            committed = nbformat.read(path, as_version=4)
            assert shown(executed(path, running)) == shown(committed), (
                f"{path.name} shows something else; python -m tests.notebooks writes it anew"
            )


def test_notebooks_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in NOTEBOOKS}
    assert max(sizes.values()) < 200_000, sizes
