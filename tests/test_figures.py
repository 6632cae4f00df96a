"""Figures of the documents are those of the result files that stand beside them."""

from __future__ import annotations

import json
import re
from typing import Any

from .helpers import ROOT

RESULTS = [
    one
    for path in sorted(ROOT.glob("bench/results/*.json"))
    for one in json.loads(path.read_text())["benchmarks"]
]
SCALING = json.loads((ROOT / "docs" / "scaling.json").read_text())


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its first two lines."""
    section = (ROOT / "docs" / document).read_text("utf-8").split(f"## {heading}\n")[1]
    lines = re.findall(r"(?:^\|.*\n)+", section, re.M)[0].splitlines()[2:]
    return [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]


def per_second(name: str) -> list[float]:
    """The medians of a benchmark in all results."""
    found = [one for one in RESULTS if one["name"] == name]
    return [one["extra_info"]["items"] / one["stats"]["median"] for one in found]


def is_one_of(shown: str, measured: list[float]) -> bool:
    """Whether it is one of them, with as many digits as are shown."""
    digits = len(shown.partition(".")[2])
    return any(f"{value:.{digits}f}" == shown for value in measured)


def test_rates() -> None:
    for encoder, _, loop, *precisions, _ in rows("scaling.md", "Rates"):
        assert is_one_of(loop, per_second(f"test_tutorial_loop[{encoder}-cpu-fp32]")), encoder
        for precision, shown in zip(("fp32", "bf16", "int8"), precisions, strict=True):
            name = f"test_encode[{encoder}-cpu-{precision}-files-batches]"
            assert is_one_of(shown, per_second(name)), (encoder, precision)


def test_speed_has_the_rates_of_scaling() -> None:
    base = next(row for row in rows("scaling.md", "Rates") if row[0] == "visualized-bge-base")
    text = (ROOT / "docs" / "speed.md").read_text("utf-8")
    assert re.findall(r"^\|[^|]+\| ([\d.]+) \|", text, re.M) == base[2:6]


def test_growth_and_stages() -> None:
    for shown, measured in zip(rows("scaling.md", "Growth"), SCALING["rows"], strict=True):
        assert [float(re.sub(r"[^\d.]", "", cell)) for cell in shown] == [
            measured["images"],
            measured["seconds"],
            int(measured["images_per_second"] + 0.5),
            measured["peak_memory_mb"],
            measured["server_memory_mb"],
            measured["disk_mb"],
        ]
    stages = rows("scaling.md", "What an image costs, stage by stage")
    for (name, shown), (stage, ms) in zip(stages, SCALING["stage_ms"].items(), strict=True):
        assert name == stage
        assert abs(float(shown) - ms) <= 0.0006


def test_kinds_of_index() -> None:
    where = {"local store": "lite", "Milvus 2.3.5": "server"}
    for store, kind, vectors, *shown, _ in rows("scaling.md", "Kinds of index"):
        name = f"test_search[{vectors.replace(',', '')}-{kind}-{where[store]}]"
        (found,) = [one["extra_info"] for one in RESULTS if one["name"] == name]
        names = ("recall", "p50_ms", "p95_ms", "write_s", "build_s")
        for cell, key in zip(shown, names, strict=True):
            number = cell.split()[0]
            off = abs(float(number) - found[key])
            assert off <= 0.51 * 10 ** -len(number.partition(".")[2]), (name, key)


def test_two_workers() -> None:
    for encoder, images, *shown in rows("scaling.md", "Two workers"):
        name = f"test_two_workers_against_one_process[{encoder.split('`')[0]}]"
        (found,) = [one["extra_info"] for one in RESULTS if one["name"] == name]
        assert int(images.replace(",", "")) == found["images"]
        keys = ("one_process", "ray", "ratio", "one_process_with_start", "ray_with_start")
        measured: list[Any] = [found[key] for key in keys]
        assert all(is_one_of(s, [m]) for s, m in zip(shown, measured, strict=True))
