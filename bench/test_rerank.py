"""Pairs per second of rerankers that compute here, in the precision that `auto` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.models import DEPTH, made_result, open_bench_reranker
from mmrag.encoders.device import resolve_device, resolve_precision
from mmrag.errors import MmragError

from .test_encode import first_of_fresh_process


@pytest.mark.benchmark(group="rerank")
def test_rerank(reranked_by: tuple[str, str], benchmark: Any, tmp_path: Path, quick: bool) -> None:
    """Time from files of 640 x 480 to the new order, with descriptions."""
    name, device = reranked_by
    depth = 4 if quick else DEPTH
    try:
        reranker = open_bench_reranker(name, device, depth)
    except MmragError as error:
        pytest.skip(str(error))
    first = first_of_fresh_process(name, device, "pairs")
    result = made_result(tmp_path, depth)
    report = reranker.rerank(result).rerank
    assert report is not None
    assert report.status == "complete", report.problems
    benchmark.pedantic(reranker.rerank, (result,), rounds=1 if quick else 3)
    precision = resolve_precision("auto", resolve_device(device))
    benchmark.extra_info.update(
        params={"reranker": name, "device": device, "precision": precision, "depth": depth},
        items=depth,
        unit="pairs/s",
        seconds_per_query=round(benchmark.stats.stats.median, 4),
        **{key: round(value, 3) for key, value in first.items()},
    )
