"""The examples of CONTRIBUTING.md, followed to the letter."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from mmrag import encoders, load_encoder, rerank
from mmrag.encoders import registry
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.metrics import table
from mmrag.metrics.metrics import score_rankings
from mmrag.types import GalleryImage, Hit, Query, SearchResult

from .helpers import ROOT

FIRST_LINE = re.compile(r"# (\w+): (\S+)")
EXAMPLES = {
    found.group(1): (found.group(2), code)
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    if (found := FIRST_LINE.match(code))
}


def added(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example as a module of that name in the package; gives the module's name."""
    path, code = EXAMPLES[kind]
    package = ".".join(Path(path).parent.parts)
    (folder / Path(path).name).write_text(code)
    parent: ModuleType = importlib.import_module(package)
    monkeypatch.setattr(parent, "__path__", [*parent.__path__, str(folder)])
    name = f"{package}.{Path(path).stem}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_the_places_are_there() -> None:
    assert set(EXAMPLES) == {"metric", "encoder", "reranker", "page"}
    for path, _ in EXAMPLES.values():
        assert (ROOT / path).parent.is_dir()


def test_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "METRICS", dict(table.METRICS))
    exec(compile(EXAMPLES["metric"][1], "CONTRIBUTING.md", "exec"), vars(table))
    monkeypatch.setattr("mmrag.metrics.metrics.METRICS", table.METRICS)
    queries = [EvalQuery(str(n), None, "x") for n in range(2)]
    images = [GalleryImage(name, name) for name in "abc"]
    qrels = {"0": {"b": 1}, "1": {"c": 1}}
    eval_set = EvalSet("two", Path(), Path(), images, queries, qrels)
    found = score_rankings({"0": ["a", "b"], "1": ["a", "b"]}, eval_set, ["first_place@2"])
    assert list(found.values["first_place@2"]) == [2, 3]
    assert not table.higher_is_better("first_place@2")


def test_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = added("encoder", tmp_path, monkeypatch)
    monkeypatch.setattr(registry, "FAMILIES", (name, *registry.FAMILIES))
    assert "average-colour" in [one.name for one in encoders.list_encoders()]
    for precision in ("fp32", "bf16"):
        encoder = load_encoder("average-colour", device="cpu", precision=precision)
        vectors = encoder.encode([Image.new("RGB", (9, 9), c) for c in ("red", "maroon", "blue")])
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_reranker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = added("reranker", tmp_path, monkeypatch)
    monkeypatch.setattr(rerank, "KINDS", (*rerank.KINDS, name))
    hits = [Hit(n, str(n), "", 0.5, n, text, {}) for n, text in enumerate(("long", "a", "ab"), 1)]
    result = SearchResult(Query(text="x"), hits, {})
    shown = rerank.load_reranker("shortest-text").rerank(result)
    assert [hit.text for hit in shown.hits] == ["a", "ab", "long"]
    first_two = rerank.load_reranker("shortest-text", depth=2).rerank(result)
    assert [hit.text for hit in first_two.hits] == ["a", "long", "ab"]


def test_a_page() -> None:
    st.cache_resource.clear()
    page = AppTest.from_string(EXAMPLES["page"][1]).run(timeout=60)
    assert not page.exception
    assert page.title[0].value == "Costs"
