"""BEIR's layout: `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`, and the pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.images.decode import read_bytes
from mmrag.system.durable import put_through


def export_set(eval_set: EvalSet, folder: Path) -> None:
    """Write the files, with a copy of every picture below `images`."""
    root, pictures = eval_set.image_root, folder.resolve() / "images"

    def copy(path: str) -> str:
        target = pictures / Path(path).relative_to(root)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_bytes(path))
        return str(target)

    try:
        images = [replace(image, path=copy(image.path)) for image in eval_set.images]
        queries = [query.with_paths(copy) for query in eval_set.queries]
        put_through(pictures)
        made = replace(eval_set, folder=folder, image_root=pictures, images=images, queries=queries)
        # Paths relative to the folder, so that other readers of the layout find the pictures.
        replace(made, image_root=folder.resolve()).save()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
