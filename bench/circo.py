"""The cost of CIRCO's size: its import, and its 800 test queries from ready vectors; and of queries
with candidates of their own, as many for each as i-CIR has on average.

    python -m bench.circo CIRCO          # the folder with annotations/test.json

The pictures need not be there: COCO's list of them is made up, and so are vectors and judgments.
Import and evaluation run in a process each; the figures go to `docs/circo.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmrag import EvalSet

IMAGES, DIM, K = 123_403, 512, 50
# i-CIR: 202 objects with 3,700 candidates on average, 1,883 queries; all candidates are ranked.
POOLS, CANDIDATES, ALL = 86, 3_700, 10_000
OUT = Path(__file__).parents[1] / "docs" / "circo.json"
_CHUNK = 10_000


def make_source(annotations: Path, folder: Path) -> None:
    """Write the annotations, and a list of as many photos as COCO has, the named ones included."""
    shutil.copytree(annotations, folder / "annotations")
    named: set[int] = set()
    for split in ("val", "test"):
        for entry in json.loads((annotations / f"{split}.json").read_text()):
            named |= {entry["reference_img_id"], *entry.get("gt_img_ids", ())}
            named |= {entry["target_img_id"]} if "target_img_id" in entry else set()
    free = (number for number in range(1, 10 * IMAGES) if number not in named)
    numbers = sorted([*named, *(next(free) for _ in range(IMAGES - len(named)))])
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 480} for n in numbers]
    path = folder / "COCO2017_unlabeled" / "annotations" / "image_info_unlabeled2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"images": images}))


def measure_import(source: Path, folder: Path) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory in MB of an import, in this process."""
    from mmrag.eval_sets.importers import import_eval_set

    started, cpu = time.perf_counter(), time.process_time()
    made = import_eval_set("circo", source, folder, split="test")
    assert (len(made.images), len(made.queries)) == (IMAGES, 800)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def measure_evaluation(folder: Path, uri: Path) -> dict[str, Any]:
    """Seconds and CPU seconds of evaluations with ready vectors, without and with pools."""
    from mmrag import ImageIndex, RunStore, Searcher, evaluate
    from mmrag.encoders.encoder import Encoder, EncoderInfo, Vectors

    def unit(seed: int, n: int) -> Vectors:
        rows = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    class Ready(Encoder):
        def encode(self, images: Any = None, texts: Any = None, *_: Any, **__: Any) -> Vectors:
            self.asked += 1
            return unit(self.asked, len(texts if texts is not None else images))

    encoder = Ready(None, EncoderInfo("ready", DIM, 1, "f", "", "", "cpu", "fp32", 0))  # type: ignore[arg-type]
    encoder.asked = 0  # type: ignore[attr-defined]
    found = EvalSet.load(folder)
    chosen = np.random.default_rng(0).integers(0, IMAGES, (len(found.queries), 5))
    qrels = {
        query.query_id: {found.images[i].image_id: 1 for i in row}
        for query, row in zip(found.queries, chosen, strict=True)
    }
    eval_set = replace(found, qrels=qrels)
    with ImageIndex.open(uri, "circo", encoder) as index, RunStore() as store:
        index.create("image")
        fixed = {"content_hash": "", "row_hash": "", "text": "", "metadata": {}}
        for start in range(0, IMAGES, _CHUNK):
            some = eval_set.images[start : start + _CHUNK]
            vectors = unit(10**6 + start, len(some))
            index.write(
                [
                    {"image_id": image.image_id, "path": image.path, **fixed, "vector": v.tolist()}
                    for image, v in zip(some, vectors, strict=True)
                ]
            )
        index.finish()
        searcher = Searcher(index, encoder)
        searcher.search_vectors([], unit(1, 1)[:0])
        measured: dict[str, Any] = {}
        pooled = with_pools(eval_set)
        ways = {"all": (eval_set, K), "pools": (pooled, K), "pools_whole": (pooled, ALL)}
        for name, (of, k) in ways.items():
            started, cpu = time.perf_counter(), time.process_time()
            run = evaluate(of, searcher, k, store=store)
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
            assert run.finished_queries == 800
            measured[name] = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
    return measured.pop("all") | measured


def with_pools(eval_set: EvalSet) -> EvalSet:
    """The same queries with pools of candidates, each shared by some of them, as in i-CIR."""
    rng = np.random.default_rng(1)
    ids = np.array([image.image_id for image in eval_set.images])
    pools = [tuple(rng.choice(ids, CANDIDATES, replace=False).tolist()) for _ in range(POOLS)]
    queries = [
        replace(query, pool=pools[i * POOLS // len(eval_set.queries)])
        for i, query in enumerate(eval_set.queries)
    ]
    return replace(
        eval_set,
        queries=queries,
        qrels={query.query_id: dict.fromkeys((query.pool or ())[:5], 1) for query in queries},
    )


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description="The import and an evaluation of CIRCO.")
    parser.add_argument("circo", type=Path, help="The folder with annotations/test.json.")
    parser.add_argument("--part", choices=["import", "evaluation"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "import":
        print(json.dumps(measure_import(given.work / "source", given.work / "set")))
        return
    if given.part == "evaluation":
        print(json.dumps(measure_evaluation(given.work / "set", given.work / "gallery.db")))
        return
    with tempfile.TemporaryDirectory() as work:
        make_source(given.circo / "annotations", Path(work) / "source")
        results: dict[str, Any] = {"images": IMAGES, "queries": 800, "dim": DIM, "k": K}
        results |= {"pools": POOLS, "candidates": CANDIDATES}
        environment = {**os.environ, "MMRAG_HOME": str(Path(work) / "home")}
        for part in ("import", "evaluation"):
            command = [sys.executable, "-m", "bench.circo", str(given.circo)]
            command += ["--part", part, "--work", work]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=environment
            )
            results[part] = json.loads(done.stdout.splitlines()[-1])
    OUT.write_text(json.dumps(results, indent=1) + "\n")
    print(OUT.read_text(), end="")


if __name__ == "__main__":
    main()
