"""What the pages' tests share: one small encoder, pictures, and a labelled set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from mmrag import ImageIndex, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet


@pytest.fixture(autouse=True)
def _only_tiny(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The one encoder here is a small one, and nothing is cached from test to test."""
    shutil.copytree(tiny_folder, tmp_path / "shipped" / "tiny")
    monkeypatch.setattr("mmrag.encoders.folders.SHIPPED_DIR", tmp_path / "shipped")
    monkeypatch.setenv("MMRAG_ENCODER", "tiny")
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def photos(folder: Path, tiny: Encoder) -> Path:
    """Twelve pictures in a collection, two of them described."""
    records = [
        {"image_path": "a/01.png", "description": "a red mug", "colour": "red"},
        {"image_path": "a/03.png", "description": "**a** <b>blue</b> mug", "colour": "blue"},
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, records)))
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        index.add(open_gallery(folder, folder / "m.jsonl"))
    return folder


@pytest.fixture
def mugs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalSet:
    """The twelve pictures as an eval set with six queries, which the dashboard knows by name.

    A query's picture is in the gallery and its only right answer, so that any encoder finds it
    where there is no text beside it (q0, q2, q4).
    """
    images = open_gallery(photos).images
    queries = [
        EvalQuery(f"q{i}", image.path, f"mug {i}" if i % 2 else None, category="ab"[i % 2])
        for i, image in enumerate(images[:6])
    ]
    qrels = {f"q{i}": {image.image_id: 1} for i, image in enumerate(images[:6])}
    made = EvalSet("mugs", tmp_path / "sets" / "mugs", photos.resolve(), images, queries, qrels)
    made.save()
    monkeypatch.setattr("mmrag.eval_sets.known_sets.SHIPPED_SETS", tmp_path / "sets")
    return EvalSet.load(made.folder)
