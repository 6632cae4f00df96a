"""Other packages add encoders; one that is broken harms nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmrag.encoders import plugins

ENCODER = """
import numpy as np, torch

class Colours(torch.nn.Module):
    dim, image_size, abilities = 12, 32, frozenset()

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def preprocess(self, image):
        return np.asarray(image.resize((32, 32)))

    def embed(self, pixels, texts):
        if pixels is None:
            return torch.ones(len(texts), 12, dtype=self.scale.dtype)
        tiles = pixels.to(self.scale.dtype).reshape(-1, 2, 16, 2, 16, 3)
        return (tiles.mean((2, 4)).reshape(len(pixels), 12) + 1) * self.scale
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder on the path with two installed packages, one of which cannot be imported."""
    folder = tmp_path / "site"
    for name, code in (("colours", ENCODER), ("broken", "import a_module_that_is_not_here")):
        info = folder / f"{name}_encoder-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}_encoder.py").write_text(code)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}-encoder\nVersion: 1.0\nLicense-Expression: MIT\n"
        )
        (info / "entry_points.txt").write_text(
            f"[mmrag.encoders]\n{name} = {name}_encoder:Colours\n"
        )
    return folder


def _mmrag(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mmrag", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(packages)},
        timeout=300,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_installed_package_adds_an_encoder_that_searches(
    packages: Path, folder: Path, tmp_path: Path, precision: str
) -> None:
    store = ("--uri", str(tmp_path / "gallery.db"), "--collection", "own", "--encoder", "colours")
    done = _mmrag(packages, "index", str(folder), *store, "--precision", precision, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 12
    wanted = sorted(folder.rglob("*.png"))[3]
    done = _mmrag(
        packages, "search", "--image", str(wanted), *store, "--precision", precision, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hits"][0]["path"] == str(wanted)


def test_what_cannot_be_done_is_said(packages: Path) -> None:
    listed = json.loads(_mmrag(packages, "encoders", "--json").stdout)
    added = {one["name"]: one for one in listed if one["source"].endswith("-encoder")}
    assert added["colours"]["licence"] == "MIT"
    for arguments, words in (
        (("search", "--text", "x", "--encoder", "broken"), "broken-encoder cannot be imported"),
        (("train", "eval_sets/catalogue", "--encoder", "colours", "--out", "x"), "trained"),
        (("download", "colours"), "its package brings it"),
    ):
        refused = _mmrag(packages, *arguments)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr


def test_doctor_names_a_package_that_cannot_be_imported(packages: Path) -> None:
    report = json.loads(_mmrag(packages, "doctor", "--json").stdout)
    (problem,) = report["plugins"]
    assert "broken-encoder" in problem
    assert "a_module_that_is_not_here" in problem
    assert "colours" in report["encoders"], "the others work"


def test_the_list_says_what_the_package_says_of_its_licence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [{"License-Expression": "MIT", "License": "x"}, {"License": "BSD"}, {}]
    points = {
        str(number): SimpleNamespace(dist=SimpleNamespace(name="theirs", metadata=metadata))
        for number, metadata in enumerate(told)
    }
    points["no package"] = SimpleNamespace(dist=None)  # type: ignore[assignment]
    monkeypatch.setattr(plugins.entry_points, "added", lambda group: points)
    assert [one.licence for one in plugins.describe()] == ["MIT", "BSD", "unknown", "unknown"]
