"""Run in a process of its own, to measure the first batch of a fresh process.

`python -m bench.first_batch ENCODER DEVICE PRECISION` prints JSON: seconds to load the encoder
(after imports), seconds of its first batch, and the peak memory in MB: the GPU's largest
allocation, or the largest resident size of the process. With "pairs" instead of a precision, it
measures a reranker and its first query of 20 hits.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from bench.models import DEPTH, made_result, open_bench_encoder, open_bench_reranker
from bench.pictures import make_picture
from mmrag.system.measuring import measure_alone


def main() -> int:
    """Measure and print the result."""
    name, device, precision = sys.argv[1:]
    pictures = [make_picture(640, 480, i) for i in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        if precision == "pairs":
            result = made_result(Path(folder), DEPTH)
            started = time.perf_counter()
            reranker = open_bench_reranker(name, device, DEPTH)
            loaded = time.perf_counter()
            reranker.rerank(result)
            first = time.perf_counter()
        else:
            started = time.perf_counter()
            encoder = open_bench_encoder(name, device, precision)
            loaded = time.perf_counter()
            encoder.encode(pictures)
            first = time.perf_counter()
            encoder.encode(pictures * (encoder.batch_size // len(pictures) + 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if sys.platform == "darwin":
        peak /= 1024
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    times = {"load_s": loaded - started, "first_batch_s": first - loaded}
    print(json.dumps({**times, "peak_memory_mb": round(peak)}))
    return 0


if __name__ == "__main__":
    sys.exit(measure_alone(main))
