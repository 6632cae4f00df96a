"""The Speed page's logic, without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmrag.errors import Cancelled
from mmrag.system.durable import write_file
from mmrag.system.jobs import Progress
from mmrag.ui import speed_jobs
from tests.helpers import wait_until

from .pages import captions, click, open_page, run, texts


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kept results are looked for."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr("mmrag.measurements.SHIPPED_RESULTS", folder)
    return folder


def keep(
    folder: Path, when: str, commit: str, *benchmarks: dict[str, Any], cpu: str = "AMD EPYC"
) -> None:
    document = {
        "machine_info": {"cpu": cpu, "cores": 2, "gpus": [], "quick": False},
        "commit_info": {"id": commit, "dirty": False},
        "datetime": when,
        "benchmarks": list(benchmarks),
    }
    (folder / f"{commit}.json").write_text(json.dumps(document))


def benchmark(group: str, name: str, seconds: float, **extra: Any) -> dict[str, Any]:
    stats = {"median": seconds, "q1": seconds, "q3": seconds, "stddev": 0.0, "rounds": 5}
    return {"group": group, "name": name, "stats": stats, "extra_info": extra}


def encode(seconds: float) -> dict[str, Any]:
    params = {"encoder": "demo", "device": "cpu", "precision": "fp32", "batch_size": 8}
    return benchmark(
        "encode",
        "test_encode[demo]",
        seconds,
        params={**params, "source": "files"},
        items=10,
        unit="img/s",
        limit_share=0.5,
    )


def test_without_results_it_says_how_to_make_them(results: Path) -> None:
    page = open_page("speed")
    assert "No results are kept yet" in page.info[0].value


def test_a_result_that_cannot_be_read_is_named_and_the_others_are_shown(results: Path) -> None:
    keep(results, "2026-01-01T00:00:00", "a" * 40, encode(2.0))
    (results / "half.json").write_text('{"machine_info": {"cpu"')
    page = open_page("speed")
    assert not page.exception
    assert "half.json is not a result" in texts(page)
    assert "aaaaaaaa" in texts(page)


def test_kept_results_are_shown_with_hours_and_money(results: Path) -> None:
    keep(results, "2026-01-01T00:00:00", "a" * 40, encode(2.0))
    keep(results, "2026-01-02T00:00:00", "b" * 40, encode(1.0))
    page = open_page("speed")
    assert "amd-epyc-2-cores" in texts(page)
    money = next(f.value for f in page.dataframe if "USD for a million" in f.value)
    assert money["images an hour"].tolist() == [36_000]
    assert money["USD for a million"].tolist() == pytest.approx([1e6 / 36_000])
    page.number_input(key="price").set_value(2.0)
    money = next(f.value for f in run(page).dataframe if "USD for a million" in f.value)
    assert money["USD for a million"].tolist() == pytest.approx([2e6 / 36_000])
    history = page.dataframe[-1].value
    assert history["commit"].tolist() == ["a" * 8, "b" * 8]
    assert history["value"].tolist() == [5.0, 10.0]
    assert history["datetime"].dt.day.tolist() == [1, 2], "dates, not texts"
    first, last = (json.loads(one.proto.spec) for one in page.get("vega_lite_chart"))
    assert first["layer"][0]["encoding"]["color"]["field"] == "place", "machine and device"
    assert last["description"] == "images a second by commit, a line for each way of encoding"
    assert page.dataframe[0].value["limit_share"].tolist() == [0.5]


def test_decoding_is_shown_for_each_size(results: Path) -> None:
    decode = [
        benchmark(
            "decode",
            f"test_decode[jpg-{height}-{workers}]",
            1.0,
            params={"format": "jpg", "width": 640, "height": height, "workers": workers},
            items=100 * workers,
            unit="img/s",
        )
        for height in (480, 9000)
        for workers in (1, 2)
    ]
    keep(results, "2026-01-01T00:00:00", "a" * 40, encode(1.0), *decode)
    page = open_page("speed")
    assert not page.exception
    assert "640 × 480" in texts(page)
    assert "640 × 9000" in texts(page)
    # One for the encoder, one for each size, and the history's.
    assert len(page.get("vega_lite_chart")) == 4


def test_search_and_latency_have_their_tabs(results: Path) -> None:
    search = benchmark("search", "test_search[5000]", 0.004, params={"rows": 5000})
    latency = benchmark("query", "test_query[demo]", 0.05, params={"encoder": "demo"})
    keep(results, "2026-01-01T00:00:00", "a" * 40, search, latency)
    page = open_page("speed")
    shown = [value for frame in page.dataframe for value in frame.value["value"].tolist()]
    assert 4.0 in shown
    assert "50" in shown
    assert page.dataframe[-1].value["name"].tolist() == ["Query (demo)"]
    assert captions(page).count("No encoding was measured.") == 3


def test_searches_are_a_line_for_each_index(results: Path) -> None:
    rows = [
        benchmark(
            "search",
            f"test_search[{size}-{index}-lite]",
            size / 1e6,
            params={"rows": size, "index": index, "where": "lite"},
        )
        for size in (1000, 5000)
        for index in ("FLAT", "HNSW")
    ]
    keep(results, "2026-01-01T00:00:00", "a" * 40, *rows)
    chart = json.loads(open_page("speed").get("vega_lite_chart")[0].proto.spec)
    assert (chart["mark"]["type"], chart["encoding"]["color"]["field"]) == ("line", "kind")
    assert chart["encoding"]["x"]["field"] == "rows"


def test_load_is_drawn_by_clients_and_by_recall(results: Path) -> None:
    rows = [
        benchmark(
            "load",
            f"test_load[lite-{clients}-{ef}]",
            1.0,
            params={"where": "lite", "index": "HNSW", "size": 50, "clients": clients, "ef": ef},
            items=100 * clients,
            unit="queries/s",
            recall=0.9,
            p50_ms=2.0,
            p95_ms=3.0,
        )
        for clients, ef in ((1, 128), (8, 128), (1, 16))
    ]
    keep(results, "2026-01-01T00:00:00", "a" * 40, *rows)
    page = open_page("speed")
    assert not page.exception
    charts = [json.loads(one.proto.spec) for one in page.get("vega_lite_chart")]
    assert [chart["description"].partition(",")[0] for chart in charts] == [
        "searches a second over clients at once",
        "milliseconds",
    ]
    (shown,) = [frame.value for frame in page.dataframe if "recall" in frame.value]
    assert shown["value"].tolist() == [100.0, 100.0, 800.0]


def test_a_measurement_that_fails_is_a_sentence(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page("speed")
    monkeypatch.setattr("sys.executable", "/bin/false")
    click(page, "Measure this machine")
    for job in speed_jobs.queue().jobs():
        assert speed_jobs.queue().wait(job.job_id, 60).is_over
    assert "The measurement did not finish" in texts(open_page("speed")), "another visitor sees it"


def test_what_one_visitor_measures_all_see_and_none_starts_again(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(on_progress: Any, should_stop: Callable[[], bool]) -> str:
        on_progress(Progress("measuring, per cent", 40, 100))
        assert wait_until(should_stop, 60)
        raise Cancelled("Stopped.")

    monkeypatch.setattr(speed_jobs, "_measure", measure)
    click(open_page("speed"), "Measure this machine")
    assert wait_until(lambda: speed_jobs.queue().jobs()[0].progress is not None)
    page = open_page("speed")
    (bar,) = page.get("progress")
    assert (bar.proto.value, bar.proto.text) == (40, "measuring, per cent")
    assert next(one for one in page.button if one.label == "Measure this machine").disabled
    speed_jobs.submit()
    (job,) = speed_jobs.queue().jobs()
    click(page, "Cancel")
    assert speed_jobs.queue().wait(job.job_id, 60).state == "cancelled"
    row = {"name": "encode[demo-cpu]", "value": 12.34, "unit": "img/s", "figures": {}}
    write_file(speed_jobs._kept(), json.dumps({"when": "2026-01-02T03:04:05+00:00", "rows": [row]}))
    page = open_page("speed")
    assert "Measured 2026-01-02 03:04 UTC" in captions(page), "it is there for whoever comes later"
    assert page.dataframe[-1].value["what"].tolist() == ["Encode (demo-cpu)"]


def test_a_device_without_a_result_keeps_a_place_with_the_command(results: Path) -> None:
    keep(results, "2026-01-01T00:00:00", "a" * 40, encode(1.0))
    page = open_page("speed")
    assert "No GPU was measured with demo yet" in texts(page)
    assert "--device cuda" in page.code[0].value
    chart = json.loads(page.get("vega_lite_chart")[0].proto.spec)
    assert chart["description"].startswith("images a second by way, machine and device")
    assert "GPU: no result yet" in chart["layer"][0]["encoding"]["y"]["sort"]


def test_a_result_of_another_machine_is_taken_in(results: Path, tmp_path: Path) -> None:
    keep(results, "2026-01-01T00:00:00", "a" * 40, encode(1.0))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    keep(elsewhere, "2026-01-02T00:00:00", "c" * 40, encode(0.5), cpu="Grace")
    page = open_page("speed")
    page.file_uploader(key="result_file").upload("x.json", b"{}", "application/json")
    assert "The file is not a result" in texts(click(page, "Add"))
    data = (elsewhere / f"{'c' * 40}.json").read_bytes()
    page.file_uploader(key="result_file").upload("x.json", data, "application/json")
    assert "cccccccc" in texts(click(page, "Add"))
    assert page.dataframe[0].value["machine"].tolist() == ["grace-2-cores", "amd-epyc-2-cores"]
