"""The bench suite: what its files say, what it compares, and that it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.models import WORDS, open_bench_encoder, open_bench_reranker
from bench.pictures import make_files
from bench.quality import compare_precisions
from bench.reference import count_operations, product_rate, tutorial_loop
from mmrag.cli import run
from mmrag.cli.bench import family_lines
from mmrag.encoders import SHIPPED_DIR, load_encoder
from mmrag.encoders.device import multiplies_int8, resolve_precision
from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.measurements import (
    BenchRow,
    compare_results,
    list_results,
    machine_name,
    merged,
    newest_and_before,
    read_results,
    results_frame,
)

from .helpers import ROOT, made_file, mmrag


def test_a_quick_run_has_every_kind_of_row(tmp_path: Path) -> None:
    """The suite itself, as a user runs it, with the smallest of everything."""
    only = "(encode and tiny) or (tutorial and tiny) or (decode and jpg-small)"
    only += " or (search and 1000-exact-lite) or (scoring and 1000-50)"
    only += " or (test_load and lite and 8-128) or (test_rerank and qwen3-vl-tiny)"
    options = ["--encoder", "tiny", "--device", "cpu", "--precision", "fp32", "--quick"]
    # Without a Milvus server: a second one beside another test's does not start. And as if not
    # beside other tests, where pytest-benchmark measures nothing, nor refuses to.
    env = {"MMRAG_TEST_MILVUS": "", "PYTEST_XDIST_WORKER": "", "TMPDIR": str(tmp_path)}
    done = mmrag("bench", *options, "--only", only, "--json", env=env)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = {(row["group"], row["name"]): row for row in document["rows"]}
    assert {group for group, _ in rows} == {
        *("encode", "rerank", "tutorial", "decode", "search", "load", "evaluate")
    }
    encode = [row for (group, _), row in rows.items() if group == "encode"]
    assert {row["params"]["source"] for row in encode} == {"files", "arrays", "composed", "texts"}
    for row in encode:
        assert row["figures"]["limit_share"] > 0
    of_files = next(row for row in encode if row["params"]["source"] == "files")
    for figure in ("times_tutorial", "peak_memory_mb", "first_batch_s"):
        assert of_files["figures"][figure] > 0
    assert of_files["unit"] == "img/s"
    pairs = next(row for (group, _), row in rows.items() if group == "rerank")
    assert pairs["unit"] == "pairs/s"
    assert pairs["figures"]["seconds_per_query"] == pytest.approx(4 / pairs["value"], rel=0.01)
    assert pairs["figures"]["peak_memory_mb"] > 0
    search = next(row for (group, _), row in rows.items() if group == "search")
    assert search["figures"]["recall"] == 1.0
    load = next(row for (group, _), row in rows.items() if group == "load")
    assert load["params"]["clients"] == 8
    assert load["unit"] == "queries/s"
    assert load["figures"]["recall"] > 0.9
    assert load["figures"]["p95_ms"] >= load["figures"]["p50_ms"]
    assert document["machine"]["cores"] == os.cpu_count()
    assert document["saved"] is None
    text = json.dumps(document)
    assert os.uname().nodename not in text
    assert str(ROOT) not in text


def test_one_line_for_each_encoder() -> None:
    def row(precision: str, source: str, size: int, value: float) -> BenchRow:
        params = {"encoder": "tiny", "device": "cpu", "precision": precision}
        figures = {"dim": 64, "bytes_per_vector": 256, "peak_memory_mb": 1234}
        params |= {"source": source, "batch_size": size}  # type: ignore[dict-item]
        return BenchRow("encode", "t", params, value, "img/s", 1, 1, 1, 0, 5, figures)

    rates = (("files", 32, 700.0), ("files", 1, 80.0), ("composed", 1, 50.0), ("texts", 32, 9.0))
    auto = resolve_precision("auto", torch.device("cpu"))
    rows = [row("int8", *one) for one in rates] + [row(auto, *one) for one in rates]
    expected = ("tiny", "cpu", auto, "700", "50", "1,234", "64", "256")
    assert family_lines(rows) == [expected]
    assert family_lines(rows[:4]) == [(*expected[:2], "int8", *expected[3:])]
    assert family_lines([replace(rows[0], group="search")]) == []


def test_rows_and_regressions(tmp_path: Path) -> None:
    made_file(tmp_path / "a.json", "2026-01-01T10:00:00", 2.0)
    made_file(tmp_path / "c.json", "2026-01-02T10:00:00", 1.0, gpus=["NVIDIA H200"], cores=16)
    made_file(tmp_path / "b.json", "2026-01-03T10:00:00", 3.0)
    files = list_results(tmp_path)
    assert [file.path.name for file in files] == ["a.json", "c.json", "b.json"]
    assert files[1].machine_name == "nvidia-h200-16-cores"
    frame = results_frame(files)
    assert list(frame[frame["group"] == "encode"]["value"]) == [5.0, 10.0, pytest.approx(10 / 3)]
    assert list(frame[frame["group"] == "query"]["value"]) == [20.0] * 3
    assert set(frame["machine"]) == {"amd-epyc-2-cores", "nvidia-h200-16-cores"}
    new, (old,) = newest_and_before(files)
    assert (new.path.name, old.path.name) == ("b.json", "a.json")
    changes = compare_results(new, old)
    assert [(change.row.name, change.regressed) for change in changes] == [
        ("encode[a]", True),
        ("query", False),
    ]
    assert changes[0].ratio == 1.5
    assert not any(change.regressed for change in compare_results(old, new))
    assert not any(change.regressed for change in compare_results(new, old, threshold=0.6))
    with pytest.raises(MmragError, match="no two results of one machine"):
        newest_and_before(files[:2])


def test_parts_of_one_commit_are_saved_together(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    rows = {"old": [("a", 1), ("b", 2)], "new": [("b", 3), ("c", 4)]}
    for path in (old, new):
        listed = [{"fullname": name, "stats": value} for name, value in rows[path.stem]]
        path.write_text(json.dumps({"benchmarks": listed, "datetime": path.stem}))
    together = json.loads(merged(new, old))
    assert {b["fullname"]: b["stats"] for b in together["benchmarks"]} == {"a": 1, "b": 3, "c": 4}
    assert together["datetime"] == "old"
    assert json.loads(merged(new, tmp_path / "absent")) == json.loads(new.read_text())


def test_what_was_measured_is_saved_when_another_benchmark_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def suite(command: Sequence[str]) -> int:
        made_file(Path(command[-1].removeprefix("--benchmark-json=")), "2026-01-01T10:00:00", 2.0)
        return 1

    monkeypatch.setattr("mmrag.cli.bench._suite", suite)
    monkeypatch.setattr("mmrag.measurements.SHIPPED_RESULTS", tmp_path)
    assert run(["bench", "--save"]) == 1
    assert "Some benchmarks failed, and are not in the result" in capsys.readouterr().err
    assert len(list_results(tmp_path)[0].rows) == 2


def test_noise_is_no_regression(tmp_path: Path) -> None:
    """A slower median within the old quartiles does not count, whatever the threshold."""
    old = read_results(made_file(tmp_path / "a.json", "2026-01-01T10:00:00", 1.00))
    new = read_results(made_file(tmp_path / "b.json", "2026-01-02T10:00:00", 1.09))
    assert compare_results(new, old, threshold=0)[0].ratio == pytest.approx(1.09)
    assert not compare_results(new, old, threshold=0)[0].regressed


def test_compare_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = str(made_file(tmp_path / "a.json", "2026-01-01T10:00:00", 2.0))
    new = str(made_file(tmp_path / "b.json", "2026-01-03T10:00:00", 3.0))
    assert run(["bench", "compare", new, old]) == 1
    shown = capsys.readouterr()
    assert "encode[a]  5       3.33  img/s  01234567   1.50        slower" in shown.out
    assert "1 of 2 benchmarks are more than 10 % slower than before." in shown.err
    assert run(["bench", "compare", old, new, "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert [change["regressed"] for change in changes] == [False, False]
    assert run(["bench", "compare", new]) == 2
    (tmp_path / "bad.json").write_text("[]")
    assert run(["bench", "compare", new, str(tmp_path / "bad.json")]) == 1
    assert "is not a result of" in capsys.readouterr().err


def test_each_benchmark_is_compared_with_the_last_that_measured_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As files of parts of the suite want it: the file just before may have measured others."""

    def keep(name: str, day: int, *benchmarks: tuple[str, float]) -> None:
        path = made_file(tmp_path / f"{name}.json", f"2026-01-{day:02}T10:00:00", 1.0)
        document = json.loads(path.read_text())
        one = document["benchmarks"][0]
        document["commit_info"]["id"] = name * 8
        document["benchmarks"] = [
            {**one, "name": f"test_{what}", "stats": {**one["stats"], "median": median}}
            for what, median in benchmarks
        ]
        path.write_text(json.dumps(document))

    keep("a", 1, ("x", 2.0), ("y", 4.0))
    keep("b", 2, ("x", 1.0))
    keep("c", 3, ("z", 1.0))
    keep("d", 4, ("x", 1.0), ("y", 1.0), ("new", 1.0))
    monkeypatch.setattr("mmrag.measurements.SHIPPED_RESULTS", tmp_path)
    assert run(["bench", "compare", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    compared = {one["name"]: (one["commit_before"], one["ratio"]) for one in told["changes"]}
    assert compared == {"x": ("b" * 8, 1.0), "y": ("a" * 8, 0.25)}
    assert (told["new"], told["without_counterpart"]) == ("d" * 8, 1)
    assert run(["bench", "compare"]) == 0
    assert "1 of 3 benchmarks of dddddddd were not measured before." in capsys.readouterr().out


def test_machine_names() -> None:
    intel = {"cpu": "Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz", "cores": 8, "gpus": []}
    assert machine_name(intel) == "intel-xeon-platinum-8480-cpu-8-cores"
    assert machine_name({**intel, "gpus": ["NVIDIA H200"] * 2}) == "nvidia-h200-8-cores"


@pytest.fixture(scope="module")
def bench_tiny() -> Encoder:
    return open_bench_encoder("tiny", "cpu", "fp32")


def test_the_loop_gives_the_same_vectors(bench_tiny: Encoder, tmp_path: Path) -> None:
    """What is compared does the same work: one at a time by the libraries, and ours."""
    paths = make_files(tmp_path, 3, 120, 90)
    loop = tutorial_loop(bench_tiny)(paths).numpy()
    assert np.allclose(loop, bench_tiny.encode(paths), atol=1e-5)


def test_counted_operations(bench_tiny: Encoder) -> None:
    """A pair costs more than an image; two operations per weight and token at least."""
    image = count_operations(bench_tiny, True, None)
    text = count_operations(bench_tiny, False, WORDS[0])
    pair = count_operations(bench_tiny, True, WORDS[0])
    assert text < image < pair < image + text
    # Vision tower: 4 blocks of 4 d^2 + 3 * d * (8/3 d) weights at 65 tokens; d is 128.
    vision = 2 * 65 * 4 * 12 * 128**2
    assert vision < image < 3 * vision


def test_counted_operations_of_clip() -> None:
    """With those of attention, whose kernel for inference torch's counter does not know."""
    clip = open_bench_encoder("clip:ViT-B-32", "cpu", "fp32")
    tokens, d = 50, 768
    layer = 2 * tokens * 12 * d**2 + 4 * tokens**2 * d
    patches = 2 * 49 * 3 * 32**2 * d
    images = 12 * layer + patches + 2 * d * 512
    assert count_operations(clip, True, None) == pytest.approx(images, rel=0.001)
    assert torch.backends.mha.get_fastpath_enabled()


def test_product_rate_is_of_the_precision() -> None:
    assert product_rate(torch.device("cpu"), "fp32", seconds=0, side=512) > 1e8


@pytest.mark.skipif(
    not (SHIPPED_DIR / "demo" / "config.json").is_file(), reason="the demo encoder is not here"
)
def test_precisions_keep_the_results() -> None:
    """bf16 and int8 against float32 on a third of the catalogue, with the encoder that ships."""
    whole = EvalSet.load(ROOT / "eval_sets" / "catalogue")
    catalogue = replace(whole, images=whole.images[::3], queries=whole.queries[::3])
    full = load_encoder("demo", device="cpu", precision="fp32")
    half = compare_precisions(full, load_encoder("demo", device="cpu", precision="bf16"), catalogue)
    assert half["cosine_min"] >= 0.999
    assert half["same_first_hit"] >= 0.99
    assert abs(half["nDCG@10_change"]) <= 0.005
    if multiplies_int8(torch.device("cpu")):
        low = load_encoder("demo", device="cpu", precision="int8")
        assert abs(compare_precisions(full, low, catalogue)["nDCG@10_change"]) <= 0.005


def test_architectures_of_sentence_transformers_are_measured_with_made_up_weights() -> None:
    encoder = open_bench_encoder("qwen3-vl-tiny", "cpu", "fp32")
    assert encoder.encode(texts=["a red mug"]).shape == (1, 32)
    with pytest.raises(MmragError, match="scores no pairs"):
        open_bench_reranker("encoder:demo", "cpu", 4)
