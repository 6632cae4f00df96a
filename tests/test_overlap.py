"""Rankings compared without labels, and files that repeat an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmrag.cli import main
from mmrag.errors import MmragError
from mmrag.eval_sets.importers import import_eval_set
from mmrag.rerank.shuffles import kendall_tau
from mmrag.runs.importing import read_run
from mmrag.runs.overlap import rank_biased_overlap

from .published_forms import MEMBERS, picture, write, write_cirr


def test_rank_biased_overlap_by_hand() -> None:
    assert rank_biased_overlap("abcd", "abcd") == pytest.approx(1)
    assert rank_biased_overlap("abcd", "efgh") == 0
    # Agreement 0, 1 at depths 1, 2: (1 - p) (0 + p) + p^2.
    assert rank_biased_overlap("ab", "ba", 0.5) == pytest.approx(0.5 * 0.5 + 0.25)
    assert rank_biased_overlap("", "") == 1
    assert rank_biased_overlap("a", "") == 0
    near, far = rank_biased_overlap("abcdef", "abcdfe"), rank_biased_overlap("abcdef", "bacdef")
    assert near > far


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau("abc", "abc") == 1
    assert kendall_tau("abc", "cba") == -1
    assert kendall_tau("abcx", "acby") == pytest.approx(1 / 3)
    assert kendall_tau("ab", "ba") == -1
    assert kendall_tau("ab", "ax") is None


def test_runs_of_a_set_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path / "home"))
    for i in range(3):
        picture(tmp_path / "source" / "images" / f"{i}.png")
    write(tmp_path / "source" / "topics.tsv", "q\tx\nr\ty\n")
    write(tmp_path / "source" / "qrels.txt", "")
    import_eval_set("trec", tmp_path / "source", tmp_path / "set")
    for name, first, second in (("one", "0", "1"), ("two", "1", "0")):
        lines = [f"q Q0 {first} 1 2 {name}\n", f"q Q0 {second} 2 1 {name}\n"]
        lines.append(f"r Q0 2 1 1 {name}\n")
        file = write(tmp_path / f"{name}.trec", "".join(lines))
        command = ["import-run", str(file), "--eval-set", str(tmp_path / "set"), "--name", name]
        assert CliRunner().invoke(main, command).exit_code == 0
    done = CliRunner().invoke(main, ["compare", "one", "two", "--overlap", "--json"])
    (found,) = json.loads(done.stdout)
    assert found["tau"]["mean"] == -1
    assert found["same_first"]["mean"] == 0.5
    assert found["other_first"] == [["q", "0", "1"]]
    text = CliRunner().invoke(main, ["compare", "one", "two", "--overlap"]).output
    assert "same first hit: 0.500" in text


def test_a_published_ranking_that_repeats_an_image(tmp_path: Path) -> None:
    made = import_eval_set("cirr", write_cirr(tmp_path / "cirr"), tmp_path / "set")
    ranking = {
        "version": "rc2",
        "metric": "recall",
        "12060": [MEMBERS[2], MEMBERS[2], MEMBERS[1]],
        "12130": [MEMBERS[4]],
    }
    file = write(tmp_path / "gpt.json", ranking)
    with pytest.raises(MmragError, match="stands twice"):
        read_run(file, made)
    run = read_run(file, made, duplicates="first")
    assert run.ranking()["12060"] == [MEMBERS[2], MEMBERS[1]]
    assert run.notes[0] == "1 query repeats an image; it counts at its first place."
    trec = write(tmp_path / "x.trec", "12060 Q0 dev-1-0-img0 1 2 t\n12060 Q0 dev-1-0-img0 2 1 t\n")
    assert read_run(trec, made, duplicates="first").ranking() == {"12060": ["dev-1-0-img0"]}
