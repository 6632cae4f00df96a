"""How indexing grows with the gallery: time, memory, disk, search latency by number of images.

    python -m eval_sets.make_catalogue drawn --seed 11 --split train --images 100000 --queries 100
    python -m bench.scaling drawn/images

Each size is indexed by a process of its own into a fresh local store; sizes run one after the
other, the smallest first. The figures go to `docs/scaling.json` and, as a log-log plot, to
`docs/scaling.svg`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SIZES = (1_000, 10_000, 100_000)
ENCODER = "demo"
_QUERIES = 100


def measure(folders: Sequence[Path], size: int, uri: Path) -> dict[str, Any]:
    """Index the first `size` images of `folders` and search them; for a process of its own.

    Returns:
        Seconds (of `add` as a whole: files, encoder, store, index), MB of memory (peak of this
        process, and of the store's server at the end), MB on disk, milliseconds of a search.
    """
    import resource

    import psutil

    from mmrag import ImageIndex, load_encoder, open_gallery
    from mmrag.galleries.gallery import Gallery

    encoder = load_encoder(ENCODER, device="cpu")
    found = [image for folder in folders for image in open_gallery(folder).images]
    if len(found) < size:
        raise SystemExit(f"The folders hold {len(found):,} images, not {size:,}.")
    images = [replace(image, image_id=str(i)) for i, image in enumerate(found[:size])]
    encoder.encode([images[0].path] * encoder.batch_size)
    with ImageIndex.open(uri, encoder=encoder) as index:
        index.create("image")
        started = time.perf_counter()
        report = index.add(Gallery(images, []))
        seconds = time.perf_counter() - started
        assert report.added == size, report
        queries = encoder.encode([image.path for image in images[:: size // _QUERIES]])
        index.search(queries[:1], 10)
        latencies = []
        for query in queries:
            began = time.perf_counter()
            index.search(query[None], 10)
            latencies.append(1000 * (time.perf_counter() - began))
        servers = [p.memory_info().rss for p in psutil.process_iter() if _serves(p, uri)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kilobyte = 1024 if sys.platform == "darwin" else 1
    return {
        "images": size,
        "seconds": round(seconds, 2),
        "images_per_second": round(size / seconds, 1),
        "peak_memory_mb": round(peak / 1024 / kilobyte),
        "server_memory_mb": round(sum(servers) / 2**20),
        "disk_mb": round(_bytes_under(uri) / 1e6, 1),
        "search_p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "search_p95_ms": round(float(np.percentile(latencies, 95)), 2),
    }


def stages(folder: Path, n: int = 2_000) -> dict[str, float]:
    """Milliseconds per image of each stage of indexing, one stage at a time."""
    from mmrag import ImageIndex, load_encoder, open_gallery
    from mmrag.images.decode import read_bytes

    encoder = load_encoder(ENCODER, device="cpu")
    paths = [image.path for image in open_gallery(folder).images[:n]]

    def each(call: Any) -> float:
        started = time.perf_counter()
        call()
        return round(1000 * (time.perf_counter() - started) / len(paths), 4)

    prepared: list[Any] = []
    costs = {
        "read and hash": each(lambda: [hashlib.sha256(read_bytes(path)) for path in paths]),
        "decode and resize": each(
            lambda: prepared.extend(encoder.prepare(path, None) for path in paths)
        ),
    }
    vectors: list[Any] = []
    costs["encode"] = each(
        lambda: vectors.extend(v for _, v in encoder.encode_stream(prepared, lambda item: item))
    )
    rows = [
        {
            "image_id": str(i),
            "content_hash": "",
            "row_hash": "",
            "path": "p",
            "text": "",
            "metadata": {},
            "vector": vector.tolist(),
        }
        for i, vector in enumerate(vectors)
    ]
    with (
        tempfile.TemporaryDirectory() as scratch,
        ImageIndex.open(Path(scratch) / "s.db", encoder=encoder) as index,
    ):
        index.create("image")
        costs["write to the store"] = each(lambda: index.write(rows))
        costs["build the index"] = each(index.finish)
    return costs


def slope(rows: Sequence[dict[str, Any]], key: str = "seconds") -> float:
    """Slope of log(`key`) over log(images), by least squares: 1 is linear growth."""
    x, y = (np.log([float(row[name]) for row in rows]) for name in ("images", key))
    return float(np.polyfit(x, y, 1)[0])


def _serves(process: Any, uri: Path) -> bool:
    import psutil

    try:
        return str(uri) in " ".join(process.cmdline()) and "lite_server" in " ".join(
            process.cmdline()
        )
    except psutil.Error:
        return False


def _bytes_under(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Plot seconds over images on two logarithmic axes, with the fitted line, as SVG."""
    left, top, wide, high = 70, 20, 420, 300
    x, y = (np.log10([float(row[name]) for row in rows]) for name in ("images", "seconds"))
    low_x, high_x = np.floor(x.min()), np.ceil(x.max())
    low_y, high_y = np.floor(y.min()), np.ceil(y.max())

    def at(a: float, b: float) -> tuple[float, float]:
        return (
            left + wide * (a - low_x) / (high_x - low_x),
            top + high * (1 - (b - low_y) / (high_y - low_y)),
        )

    def text(a: float, b: float, words: str, more: str = "") -> str:
        return f'<text x="{a:.1f}" y="{b:.1f}" {more}>{words}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 30} '
        f'{top + high + 60}" font-family="sans-serif" font-size="13" fill="#555">'
    ]
    for power in range(int(low_x), int(high_x) + 1):
        a, b = at(power, low_y)
        parts.append(f'<path d="M{a:.1f} {top}V{b:.1f}" stroke="#bbb" stroke-width=".6"/>')
        parts.append(text(a, b + 20, f"{10**power:,}", 'text-anchor="middle"'))
    for power in range(int(low_y), int(high_y) + 1):
        a, b = at(low_x, power)
        parts.append(f'<path d="M{left} {b:.1f}H{left + wide}" stroke="#bbb" stroke-width=".6"/>')
        parts.append(text(a - 8, b + 4, f"{10.0**power:g} s", 'text-anchor="end"'))
    fitted = np.polyfit(x, y, 1)
    ends = [at(a, float(np.polyval(fitted, a))) for a in (x.min(), x.max())]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in ends)
    parts.append(f'<polyline points="{line}" stroke="#2f6fde" stroke-width="1.5" fill="none"/>')
    for a, b in zip(x, y, strict=True):
        c, d = at(float(a), float(b))
        parts.append(f'<circle cx="{c:.1f}" cy="{d:.1f}" r="5" fill="#2f6fde"/>')
    parts.append(
        text(left + wide / 2, top + high + 48, "images indexed", 'text-anchor="middle"')
        + text(left + 12, top + 22, f"time to index, slope {fitted[0]:.3f}", 'fill="#2f6fde"')
    )
    return "\n".join([*parts, "</svg>\n"])


def main(argv: Sequence[str] | None = None) -> int:
    from bench.machine import describe_machine

    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("images", type=Path, nargs="+", help="folders with as many images")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=DOCS / "scaling.json")
    parser.add_argument("--plot", type=Path, default=DOCS / "scaling.svg")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--uri", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(measure(args.images, args.one, args.uri)))
        return 0
    rows = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "bench.scaling", *map(str, args.images)]
            command += ["--one", str(size), "--uri", str(Path(scratch) / "store.db")]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    result = {
        "machine": describe_machine(),
        "encoder": ENCODER,
        "rows": rows,
        "slope": round(slope(rows), 4),
        "stage_ms": stages(args.images[0], min(2_000, *args.sizes)),
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    args.plot.write_text(plot(rows), encoding="utf-8")
    print(
        f"slope {result['slope']}, stages {result['stage_ms']}; written to {args.out}, {args.plot}"
    )
    return 0


if __name__ == "__main__":
    from mmrag.system.measuring import measure_alone

    sys.exit(measure_alone(main))
