"""What composed queries need, counted by hand."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from click.testing import CliRunner

from mmrag.cli import main
from mmrag.cli.tables import ablation_lines
from mmrag.errors import MmragError
from mmrag.evaluation.composition import composition, label_depth
from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import summarise
from mmrag.runs.ablation_tables import ablation_tables
from mmrag.runs.compare import compare_runs, comparison_table
from mmrag.runs.labels import LABELS, labels_of
from mmrag.runs.run import RETRIEVAL, EvalSetRef, Run

#            picture, text, both
HITS = {
    "a": (1, 0, 1),
    "b": (1, 0, 0),
    "c": (0, 1, 1),
    "d": (1, 1, 1),
    "e": (0, 0, 1),
    "f": (0, 0, 1),
    "g": (0, 0, 0),
    "h": (0, 0, 0),
}


def scores(part: int, metric: str = "hit_rate@10") -> Scores:
    values = np.array([float(hits[part]) for hits in HITS.values()])
    return Scores(list(HITS), [""] * len(HITS), [()] * len(HITS), {metric: values})


def run(name: str, ablations: dict[str, object], values: Scores) -> Run:
    return Run(
        name,
        name,
        EvalSetRef("set", "", "1", "labels", primary_metric="hit_rate@10"),
        "complete",
        "",
        summaries={RETRIEVAL: summarise(values)},
        scores={RETRIEVAL: values},
        ablations=ablations,
    )


def test_labels_shares_and_gap_by_hand() -> None:
    found = composition(scores(0), scores(1), scores(2), "hit_rate@10")
    assert found["labels"] == {
        "picture suffices": ["a", "b"],
        "text suffices": ["c"],
        "either suffices": ["d"],
        "needs both": ["e", "f"],
        "none finds it": ["g", "h"],
    }
    assert tuple(found["labels"]) == LABELS
    shares = {label: one["mean"] for label, one in found["shares"].items()}
    assert shares["needs both"] == 0.25
    assert sum(shares.values()) == 1
    low, high = found["shares"]["needs both"]["ci95"]
    assert low < 0.25 < high
    # Whole queries find 5 of 8, the picture alone 3.
    assert found["gaps"]["hit_rate@10"]["mean"] == pytest.approx(2 / 5)
    assert found["needs_both"]["hit_rate@10"]["mean"] == 1
    assert found["needs_both"]["hit_rate@10"]["queries"] == 2
    lines = list(ablation_lines("modality", {"queries": 8, "metrics": {}, "composition": found}))
    assert any("needs both" in line and "25.0%" in line and "2 queries" in line for line in lines)
    assert lines[-1].split()[:2] == ["hit_rate@10", "0.400"]
    assert lines[-1].endswith("1.000 (1.000 to 1.000)")
    modality = {"queries": 8, "metrics": {}, "composition": found}
    (_, _, _), (_, by, shares), (_, _, added) = ablation_tables(
        run("a", {"modality": modality}, scores(2)), []
    )
    assert by == "By Hit rate@10."
    assert shares[shares["queries that"] == "needs both"]["count"].tolist() == [2]
    assert added["queries that need both"].tolist() == ["1.000 (1.000 to 1.000)"]
    assert added["composition gap"].iloc[0].startswith("0.400 (")


def test_an_ablation_is_a_table_of_its_metrics() -> None:
    gain = {"delta": 0.25, "ci95": (0.1, 0.4), "p": 0.02}
    metric = {"image": 0.5, "text": 0.25, "composed": 0.75, "gain": gain}
    measured = {"queries": 1234, "metrics": {"hit_rate@10": metric, "RR": metric}}
    made = run("a", {"modality": measured, "index": {"note": "left out"}}, scores(2))
    (title, said, table), (_, note, empty) = ablation_tables(made, ["RR"])
    assert title == "Image alone, text alone, both"
    assert said.startswith("1,234 queries that have both.")
    assert table.columns.tolist() == ["metric", "image alone", "text alone", "both", "change", "p"]
    assert table.iloc[0].tolist()[1:5] == [0.5, 0.25, 0.75, "+0.250 [+0.100, +0.400]"]
    assert len(table) == 1
    assert (note, len(empty)) == ("left out", 0)
    assert len(ablation_tables(made, [])[0][2]) == 2, "all, if none of those was measured"


def test_nothing_found_has_no_gap_and_no_interval_over_nothing() -> None:
    empty = replace(scores(2), values={"hit_rate@10": np.zeros(len(HITS))})
    found = composition(empty, empty, empty, "hit_rate@10")
    assert found["gaps"] == {}
    assert found["needs_both"] == {}
    assert found["shares"]["none finds it"]["mean"] == 1


def test_the_depth_is_the_primary_metrics() -> None:
    assert [label_depth(name, 50) for name in ("hit_rate@5", "RR", "mAP@100")] == [5, 10, 50]


def test_runs_are_compared_on_the_queries_of_one_label() -> None:
    found = composition(scores(0), scores(1), scores(2), "hit_rate@10")
    labelled = run("a", {"modality": {"composition": found}}, scores(2))
    other = run("b", {}, scores(0))
    assert labels_of(labelled)["e"] == "needs both"
    assert labels_of(other) == {}
    compared = compare_runs([other, labelled], label="needs both")
    (pair,) = compared.pairs
    assert pair.queries == 2
    assert asdict(pair.metrics["hit_rate@10"])["delta"] == 1
    assert [row.queries for row in comparison_table(compared).rows] == [2, 2]
    with pytest.raises(MmragError, match="--ablate-modality"):
        compare_runs([other, other], label="needs both")
    done = CliRunner().invoke(main, ["compare", "a", "b", "--label", "unheard of"])
    assert done.exit_code == 2
