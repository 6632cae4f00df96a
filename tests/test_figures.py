"""Figures of the documents are those of data and result files, each kept once.

`docs/figures.json` has those that no other file holds. What looks measured in a document and is in
no file fails.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bench import capacity, judging, label_walk, schedule
from bench.dashboard import tables

from . import mutation
from .helpers import ROOT

FILES = [json.loads(path.read_text()) for path in ROOT.glob("bench/results/*.json")]
# The latest last.
RESULTS = [
    one for file in sorted(FILES, key=lambda file: file["datetime"]) for one in file["benchmarks"]
]
SCALING = json.loads((ROOT / "docs" / "scaling.json").read_text())
LOAD = json.loads((ROOT / "docs" / "load.json").read_text())
JUDGING = json.loads((ROOT / "docs" / "judging.json").read_text())
WALKS = json.loads((ROOT / "docs" / "label-walk.json").read_text())["walks"]
CIRCO = json.loads((ROOT / "docs" / "circo.json").read_text())
MUTANTS = json.loads(mutation.RESULTS.read_text())
KEPT = json.loads((ROOT / "docs" / "figures.json").read_text())["figures"]
PAGES = ["README.md", *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
MEASURED = re.compile(
    r"(?<![\w.,/-])\d[\d,.]*(?:e-\d+)? ?(?:ms|s|[MG]B(?:/s)?|images/s|%|×|hours|minutes)(?![\w/=])"
    r"|\b0\.\d{3}\b"
)
# Not measured: definitions, settings, sizes and bounds.
GIVEN = re.compile(
    r"95 %|probability of 80 %|p < 0.001|640 × 480|1 × 100,000|by 3 % or more|cosine 0.999"
    r"|60 % of its bf16|over 20 % more|up to 0.2 s more on a server|\(90 KB\)|1e-5"
    r"|[\d.]+ GB, once|\(0.4 GB\)|(?:[Dd]own|up)load[^.]*GB|within 1 %|20 MB a file|\d+ MB a"
    r"|with up to 1 GB|10 s(?:econds)? and 1 GB|beyond 5 MB|\(512 MB in|two minutes|30 minutes"
    r"|fails within \d+ s|\(50 MB each|24 GB, no GPU"
)


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its first two lines."""
    section = (ROOT / "docs" / document).read_text("utf-8").split(f"# {heading}\n")[1]
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
    for encoder, gflop, loop, *precisions, share in rows("scaling.md", "Rates"):
        assert is_one_of(loop, per_second(f"test_tutorial_loop[{encoder}-cpu-fp32]")), encoder
        for precision, shown in zip(("fp32", "bf16", "int8"), precisions, strict=True):
            name = f"test_encode[{encoder}-cpu-{precision}-files-batches]"
            assert is_one_of(shown, per_second(name)), (encoder, precision)
        name = f"test_encode[{encoder}-cpu-bf16-files-batches]"
        infos = [one["extra_info"] for one in RESULTS if one["name"] == name]
        assert is_one_of(share.rstrip("%"), [100 * one["limit_share"] for one in infos]), encoder
        assert is_one_of(gflop, [one["gflop_per_item"] for one in infos]), encoder


def test_speed_has_the_rates_of_scaling() -> None:
    base = next(row for row in rows("scaling.md", "Rates") if row[0] == "visualized-bge-base")
    text = (ROOT / "docs" / "speed.md").read_text("utf-8")
    lines = re.findall(r"^\|[^|]+\| ([\d.]+) \| ([\d.]+) \| (?:(\d+) %)?", text, re.M)
    assert [rate for rate, _, _ in lines] == base[2:6]
    for precision, (_, times, share) in zip(("fp32", "bf16", "int8"), lines[1:], strict=True):
        name = f"test_encode[visualized-bge-base-cpu-{precision}-files-batches]"
        infos = [one["extra_info"] for one in RESULTS if one["name"] == name]
        assert is_one_of(times, [one["times_tutorial"] for one in infos]), precision
        assert is_one_of(share, [100 * one["limit_share"] for one in infos]), precision


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


def last(name: str) -> dict[str, Any]:
    """The latest result of a benchmark."""
    return [one for one in RESULTS if one["name"] == name][-1]


def computed() -> dict[str, list[str]]:
    """Sentences by their documents, written from result files and other tables."""
    indexed, query, grid, cold = (
        last(f"test_{name}[cpu]")["stats"]["median"]
        for name in ("index_catalogue", "composed_query", "query_to_grid", "command_line_from_cold")
    )
    base = "test_encode[visualized-bge-base-cpu-{}-batches]"
    bf16, int8 = (last(base.format(f"{one}-files")) for one in ("bf16", "int8"))
    shares = [
        last(base.format(f"{one}-arrays"))["extra_info"]["limit_share"] for one in ("bf16", "int8")
    ]
    rates = [one["extra_info"]["items"] / one["stats"]["median"] for one in (bf16, int8)]
    times = [one["extra_info"]["times_tutorial"] for one in (bf16, int8)]
    library = [
        last(f"test_encode[bge-vl-base-cpu-{one}-arrays-batches]")["extra_info"]["times_library"]
        for one in ("fp32", "bf16")
    ]
    slower = []
    for encoder in ("demo", "visualized-bge-base"):
        found = last(f"test_two_workers_against_one_process[{encoder}]")["extra_info"]
        slower.append(1 - found["ray_with_start"] / found["one_process_with_start"])
    card = rows("../mmrag/encoders/shipped/README.md", "photos")
    photos = {row[0].strip("*"): row[2] for row in card}
    reworded = next(row for row in card if "other words" in row[0])
    return {
        "README.md": [f"{100 * float(photos['all']):.1f} % of 825 queries"],
        "docs/fine-tune.md": [
            f"put together | {photos['all']} | {photos['variety']} | {reworded[2].strip('*')} |"
        ],
        "docs/load.md": tables(LOAD).splitlines(),
        "docs/trust.md": mutation.table(MUTANTS).splitlines(),
        "docs/labels.md": [
            *judging.table(JUDGING).splitlines(),
            *label_walk.table(WALKS).splitlines(),
        ],
        "docs/eval-sets.md": [
            f"{CIRCO['images']:,} images took {CIRCO['import']['seconds']:.1f} s and "
            f"{CIRCO['import']['peak_memory_mb']} MB",
            f"{CIRCO['queries']} queries from ready vectors took "
            f"{CIRCO['evaluation']['seconds']:.0f} s",
        ],
        "docs/encoders.md": [
            f"base takes {1 / library[0]:.3f} times the library's time in fp32, "
            f"{1 / library[1]:.3f} in bf16"
        ],
        "docs/gpu.md": [f"16 such cores feed {16 * 215:,} images/s"],
        "docs/speed.md": [
            f"indexes the catalogue's 900 files in {indexed:.1f} s; a composed query takes "
            f"{1000 * query:.0f} ms, with its grid {1000 * grid:.0f} ms.",
            f"From a cold start of the command line it took {cold:.1f} s",
            f"makes {rates[0]:.1f} images/s in bf16, {times[0]:.2f} × the loop of "
            f"{rates[0] / times[0]:.1f}, and {rates[1]:.1f} in int8, {times[1]:.2f} ×; from ready "
            f"arrays bf16 reaches {shares[0]:.0%} of the limit and int8 {shares[1]:.0%}.".replace(
                "%", " %"
            ),
        ],
        "docs/scaling.md": [
            f"Ray was {slower[0]:.0%} slower than one process for `demo` and "
            f"{slower[1]:.0%} slower".replace("%", " %"),
            f"log images is {SCALING['slope']:.3f}",
            f"take {100_000 * 768 * 4 / 1e6:.0f} MB in float32 and {100_000 * 768 / 1e6:.0f} MB in",
        ],
    }


def prose(document: str) -> str:
    """Its text in one line, without tables and code."""
    text = (ROOT / document).read_text("utf-8")
    return " ".join(re.sub(r"^```.*?^```|^(?:\|| {4})[^\n]*$", "", text, flags=re.M | re.S).split())


def sentences(document: str) -> list[str]:
    """All that a document has to say with figures from files."""
    kept = [
        sentence.format(**one["values"])
        for one in KEPT
        for sentence in one["shown"].get(document, ())
    ]
    return kept + computed().get(document, [])


@pytest.mark.parametrize("document", PAGES)
def test_sentences_have_the_figures_of_the_files(document: str) -> None:
    """And what looks measured is in one of them, in a table that is compared, or generated."""
    text = " ".join((ROOT / document).read_text("utf-8").split())
    said = sentences(document)
    assert [one for one in said if " ".join(one.split()) not in text] == []
    left = prose(document)
    for one in said:
        left = left.replace(one, "")
    assert [found.group() for found in MEASURED.finditer(GIVEN.sub("", left))] == []


def test_circo_keeps_its_bounds() -> None:
    assert CIRCO["import"]["seconds"] < 15
    assert CIRCO["import"]["peak_memory_mb"] < 200
    assert CIRCO["evaluation"]["seconds"] < 20


def test_capacity_and_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main([]) == 0
    assert capsys.readouterr().out in (ROOT / "docs" / "scaling.md").read_text("utf-8")
    for wish, *shown in rows("gpu.md", "What a wished rate needs"):
        need = schedule.needs(float(wish.replace(",", "")), decode=215, file_kb=90)
        assert shown == [
            str(need.cores),
            f"{need.disk_mb:.0f} MB/s",
            f"{need.copy_gb:.2f} GB/s",
            f"{need.tflop:.0f} TFLOP/s",
        ]
