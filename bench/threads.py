"""`Searcher.search` called from many threads at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from bench.visitors import Load, Visit, resident_mb


def library(threads: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Call `Searcher.search` under load from threads; every result must equal the first."""
    from mmrag import ImageIndex, Searcher, demo, load_encoder
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.gallery_index import index_eval_set

    eval_set = EvalSet.load(demo.CATALOGUE)
    encoder = load_encoder("demo")
    index: ImageIndex = index_eval_set(eval_set, encoder)[0]
    rows = []
    with index:
        searcher = Searcher(index, encoder)
        asked = [query.query() for query in eval_set.queries if query.image and query.text][:64]
        right = [[hit.image_id for hit in searcher.search(query).hits] for query in asked]

        def work(place: int, until: float, visits: list[Visit]) -> None:
            while time.perf_counter() < until:
                place = (place + 1) % len(asked)
                began = time.perf_counter()
                errors = []
                try:
                    found = [hit.image_id for hit in searcher.search(asked[place]).hits]
                    if found != right[place]:
                        errors.append("other hits than alone")
                # Any error belongs in the table.
                except Exception as error:  # noqa: BLE001
                    errors.append(f"{type(error).__name__}: {error}")
                visits.append(Visit(time.perf_counter() - began, len(right[place]), 0, errors))

        for count in tqdm(threads, desc="threads at once", unit="load"):
            visits: list[Visit] = []
            began = time.perf_counter()
            workers = [
                threading.Thread(target=work, args=(7 * place, began + seconds, visits))
                for place in range(count)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            load = Load(count, time.perf_counter() - began, visits)
            rows.append(load.row("library", resident_mb(os.getpid())))
    return rows
