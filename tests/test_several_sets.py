"""A folder of eval sets, evaluated set by set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .helpers import invoke
from .published_forms import write_fashioniq


def test_fashioniq_is_scored_by_category_and_by_their_mean(
    tmp_path: Path, tiny_folder: Path
) -> None:
    source = write_fashioniq(tmp_path / "source")
    sets = tmp_path / "fiq"
    done = invoke("eval-set", "import", "fashioniq", str(source), str(sets))
    assert done.returncode == 0, done.stderr
    options = ["--encoder", str(tiny_folder), "--uri", str(tmp_path / "g.db"), "-k", "10"]
    done = invoke("evaluate", str(sets), *options, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    names = [run["eval_set"]["name"] for run in document["runs"]]
    assert names == ["fashioniq-dress-val", "fashioniq-shirt-val", "fashioniq-toptee-val"]
    for metric, mean in document["mean"].items():
        values = [run["metrics"][metric] for run in document["runs"]]
        assert mean == pytest.approx(sum(values) / 3)
    assert "hit_rate@10" in document["mean"]
