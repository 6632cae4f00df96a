"""Write the files of the eval set; pictures are drawn by several processes."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from eval_sets.make_catalogue.attributes import Combo, is_seen
from eval_sets.make_catalogue.queries import COMPOSED, Asked, Item, make_gallery, make_queries
from eval_sets.make_catalogue.scene import encoded, render
from mmrag.encoders.device import keep_freed_memory

VERSION = "1.1"
FOLDERS = ("images", "query_images", "qrels")
# File, combination, seed, key within the seed, theme.
Job = tuple[str, Combo, int, tuple[int, int], str | None]


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the bytes of a picture."""
    return {"pillow": PIL.__version__, "numpy": np.__version__, "opencv": cv2.__version__}


def _draw(job: Job) -> None:
    path, combo, seed, key, theme = job
    Path(path).write_bytes(encoded(render(combo, seed, key, theme)))


def _jobs(out: Path, items: list[Item], queries: list[Asked], seed: int) -> list[Job]:
    jobs: list[Job] = [
        (str(out / _image(item)), item.combo, seed, (1, item.number), None) for item in items
    ]
    for place, asked in enumerate(queries):
        if asked.shows:
            path = str(out / f"query_images/{asked.query_id}.webp")
            jobs.append((path, asked.shows, seed, (2, place), asked.theme))
    return jobs


def _image(item: Item) -> str:
    return f"images/{item.image_id}.webp"


def _corpus(items: list[Item]) -> list[dict[str, Any]]:
    return [
        {
            "_id": item.image_id,
            "image": _image(item),
            "text": item.text,
            "metadata": {
                **item.combo._asdict(),
                "price": item.known["price"],
                "material": item.known["material"],
                "size": " ".join(filter(None, (item.known["size"], item.known["unit"]))),
                "seen": is_seen(item.combo),
            },
        }
        for item in items
    ]


def _query(asked: Asked) -> dict[str, Any]:
    record: dict[str, Any] = {"_id": asked.query_id}
    if asked.shows:
        record["image"] = f"query_images/{asked.query_id}.webp"
    if asked.text:
        record["text"] = asked.text
    record["category"] = asked.category
    if asked.paraphrases:
        record["paraphrases"] = asked.paraphrases
    if asked.question:
        record["question"], record["answers"] = asked.question, asked.answers
    target: dict[str, str] = asked.target._asdict()
    if asked.kind == "product+pattern":
        del target["colour"]
    elif asked.kind == "product+colour":
        del target["pattern"]
    metadata: dict[str, Any] = {"target": target, "unseen": not is_seen(asked.target)}
    if len(target) < 3:
        del metadata["unseen"]
    if asked.shows and asked.category != "theme":
        metadata["shows"] = asked.shows._asdict()
    elif asked.theme:
        metadata["theme"] = asked.theme
    if asked.kind:
        metadata["asks"] = asked.kind
    record["metadata"] = metadata
    return record


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(lines, encoding="utf-8", newline="\n")


def write_set(
    out: Path, seed: int, split: str, images: int, queries: int, workers: int, variety: int = 0
) -> dict[str, float]:
    """Write the whole eval set under `out` and count what was written.

    Raises OSError when a file cannot be written.
    """
    start = time.perf_counter()
    for folder in FOLDERS:
        (out / folder).mkdir(parents=True, exist_ok=True)
    items = make_gallery(seed, images, split)
    asked = make_queries(items, seed, queries, split, variety)
    jobs = _jobs(out, items, asked, seed)
    _remove_stale(out, {job[0] for job in jobs})
    if workers == 1:
        for job in jobs:
            _draw(job)
    else:
        # Spawned: a forked process would inherit the locks of threads that it does not have.
        with multiprocessing.get_context("spawn").Pool(workers, keep_freed_memory) as pool:
            for _ in pool.imap_unordered(_draw, jobs, chunksize=32):
                pass
    command = f"python -m eval_sets.make_catalogue OUT --seed {seed} --split {split}"
    further = f" --variety {variety}" if variety else ""
    about = {
        "name": "catalogue" if split == "ship" else "catalogue-train",
        "version": VERSION,
        "description": "Drawn product pictures with labelled queries: by theme, by a change of "
        "colour, pattern or product, by text and by image.",
        "licence": "Apache-2.0",
        "source": f"{command} --images {images} --queries {queries}{further}",
        "image_root": ".",
        "primary_metric": "hit_rate@1",
        "exclude_query_image": False,
        "seed": seed,
        "split": split,
        "drawn_with": versions(),
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (out / "eval_set.json").write_text(text, encoding="utf-8", newline="\n")
    _write_lines(out / "corpus.jsonl", _corpus(items))
    _write_lines(out / "queries.jsonl", map(_query, asked))
    rows = [
        f"{one.query_id}\t{items[number].image_id}\t{grade}\n"
        for one in asked
        for number, grade in sorted(one.grades.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    table = "query-id\tcorpus-id\tscore\n" + "".join(rows)
    (out / "qrels/test.tsv").write_text(table, encoding="utf-8", newline="\n")
    return {
        "images": len(items),
        "queries": len(asked),
        "composed": sum(one.category in COMPOSED for one in asked),
        "query_images": len(jobs) - len(items),
        "seconds": time.perf_counter() - start,
    }


def _remove_stale(out: Path, wanted: set[str]) -> None:
    """Remove pictures of an earlier, larger set, to which nothing refers any more."""
    for folder in ("images", "query_images"):
        for path in (out / folder).glob("*.webp"):
            if str(path) not in wanted:
                path.unlink()
