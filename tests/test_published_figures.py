"""Published figures stand beside a run that asked the same question."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmrag.cli import main
from mmrag.cli.tables import comparison_lines, run_lines
from mmrag.eval_sets.protocols import find_protocol
from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import summarise
from mmrag.runs.compare import compare_runs
from mmrag.runs.published import beside, published, published_page
from mmrag.runs.report import html_report
from mmrag.runs.run import RETRIEVAL, EvalSetRef, Run

ROOT = Path(__file__).parents[1]


def run(hits: int, total: int, name: str, protocol: str, metric: str, **config: Any) -> Run:
    values = np.array([1.0] * hits + [0.0] * (total - hits))
    ids = [str(i) for i in range(total)]
    scores = Scores(ids, [""] * total, [()] * total, {metric: values})
    found = find_protocol(protocol, name.partition("-")[0])
    config = {"encoder": {"name": "visualized-bge-base"}, "protocol": found.as_json(), **config}
    return Run(
        "1",
        "a",
        EvalSetRef(name, "", "1", ""),
        "complete",
        "",
        config=config,
        summaries={RETRIEVAL: summarise(scores)},
        scores={RETRIEVAL: scores},
    )


def test_a_run_of_the_same_question_shows_the_published_figure() -> None:
    same = run(902, 4000, "cirr-val-all", "vista", "hit_rate@5")
    (one,) = beside(same)
    assert one.sentence.startswith("Hit rate@5: published 22.51 (Visualized BGE base, VISTA")
    assert "here 22.55 (2" in one.sentence
    assert one.chance
    (off,) = beside(run(700, 4000, "cirr-val-all", "vista", "hit_rate@5"))
    assert not off.chance
    assert "larger than chance" in off.sentence
    other = {"encoder": {"name": "visualized-bge-base"}, "reranker": {"name": "demo"}}
    for different in (
        run(902, 4000, "cirr-val-all", "vista", "hit_rate@5", encoder={"name": "demo"}),
        run(902, 4000, "cirr-test1-all", "vista", "hit_rate@5"),
        run(902, 4000, "cirr-val", "test-server", "hit_rate@5"),
        replace(same, config={**same.config, "protocol": None}),
        replace(same, config={**same.config, **other}, scores={"reranked": same.scores[RETRIEVAL]}),
    ):
        assert beside(different) == []


def test_it_stands_in_evaluate_compare_and_the_report() -> None:
    same = run(902, 4000, "cirr-val-all", "vista", "hit_rate@5")
    other = replace(same, run_id="2", name="b")
    said = f"{beside(same)[0].sentence}."
    assert said in list(run_lines(same))
    compared = list(comparison_lines(compare_runs([same, other])))
    assert [f"{name}: {said}" in compared for name in ("a", "b")] == [True, True]
    assert said in html_report(same)


def test_a_mean_over_categories_is_compared_with_such_a_mean() -> None:
    parts = [
        run(
            hits,
            2000,
            f"fashioniq-{name}-val",
            "bge-vl",
            "hit_rate@10",
            encoder={"name": "bge-vl-base"},
        )
        for name, hits in (("dress", 500), ("shirt", 700), ("toptee", 714))
    ]
    assert beside(parts[0]) == []
    (one,) = beside(parts)
    assert one.here == pytest.approx(31.9)
    assert one.chance


def test_an_imported_run_is_not_compared_with_every_system_that_has_no_encoder_here() -> None:
    assert any(one.set == "fashioniq" and not one.encoder for one in published())
    names = ("dress", "shirt", "toptee")
    parts = [
        replace(
            run(500, 2000, f"fashioniq-{name}-val", "original", "hit_rate@10"),
            config={"protocol": find_protocol("original", "fashioniq").as_json()},
        )
        for name in names
    ]
    assert beside(parts) == []


def test_the_list_and_its_page() -> None:
    done = CliRunner().invoke(main, ["published", "circo"])
    assert done.exit_code == 0
    assert "34.30" in done.output
    assert "22.51" not in done.output
    rows = json.loads(CliRunner().invoke(main, ["published", "cirr-val", "--json"]).output)
    assert {row["split"] for row in rows} == {"val"}
    parts = json.loads(
        CliRunner().invoke(main, ["published", "genecis-focus-object", "--json"]).output
    )
    assert {row["split"] for row in parts} == {"focus_object"}
    first = rows[0]["commands"]
    assert first[0].endswith("--split val --protocol vista")
    assert (
        "no published figure" in str(CliRunner().invoke(main, ["published", "x"]).exception).lower()
    )
    assert (ROOT / "docs" / "published.md").read_text() == published_page(), (
        "python -m mmrag.runs.published > docs/published.md"
    )


def test_every_figure_names_a_known_protocol_metric_and_source() -> None:
    from mmrag.metrics.metrics import canonical

    for one in published():
        assert canonical(one.metric) == one.metric
        assert 0 < one.value < 100
        assert one.source
        assert one.date
        assert one.note or find_protocol(one.protocol, one.set)
